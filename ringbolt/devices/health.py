"""Whether a device is fit to be handed out: how to look, and how many looks make a judgement.

`check` looks once and can block in a driver for as long as the driver likes: whoever calls it does
so in a thread that may be left behind, with a deadline of its own. `judge` is pure.
"""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ringbolt.devices.command_environment import environment
from ringbolt.devices.device import Device, Member
from ringbolt.devices.resource import Check, Health
from ringbolt.devices.tree import AttributeReader, SysPath
from ringbolt.linux import command

_NEVER_OPENED = {
    "tty": "opening raises DTR, which resets many boards and hangs up modems",
    "watchdog": "opening starts the watchdog, which then reboots the machine",
    "scsi_tape": "closing rewinds the tape",
}

_ALIVE = frozenset({errno.EBUSY, errno.EAGAIN, errno.ETXTBSY})
"""Someone uses the device: it works. ALSA answers EAGAIN where others answer EBUSY."""

_NOT_ABOUT_THE_DEVICE = frozenset(
    {errno.EPERM, errno.EACCES, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR}
)
"""What the agent may not or cannot do says nothing about the device. EPERM comes from the device
cgroup of an agent that runs in an unprivileged container."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one look found. `reason` says why it is not `ok`, or what could not be looked at."""

    ok: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether the device is `fit` after all looks so far; `reason` why not.

    `streak` counts the looks in a row that speak against `fit`.
    """

    fit: bool = True
    streak: int = 0
    reason: str = ""


def judge(previous: Judgement, verdict: Verdict, rules: Health) -> Judgement:
    """The next judgement: `rules.failures` bad looks in a row unfit, `recoveries` good ones fit.

    A new device begins as `Judgement()`: fit.
    """
    reason = previous.reason if verdict.ok else verdict.reason
    if verdict.ok == previous.fit:
        return Judgement(previous.fit, 0, "" if previous.fit else reason)
    streak = previous.streak + 1
    if streak < (rules.failures if previous.fit else rules.recoveries):
        return replace(previous, streak=streak)
    return Judgement(verdict.ok, 0, "" if verdict.ok else reason)


def read_sysfs(path: SysPath, name: str, root: Path = Path("/sys")) -> str | None:
    """An AttributeReader that remembers nothing: health is about now."""
    try:
        return (root / path.lstrip("/") / name).read_text(errors="replace").strip()
    except OSError:
        return None


def check(device: Device, rules: Health, read: AttributeReader = read_sysfs) -> Verdict:
    """Look at the device as `rules.check` says. Never raises.

    PRESENCE: every node exists. STAT: and is of the kind and number that sysfs says. OPEN: and can
    be opened, read-only and without blocking; EBUSY is a sign of life, EPERM says nothing about the
    device, and ttys, watchdogs and tapes are not opened at all, since that alone would act on them.
    SYSFS: every attribute of the members, else of the physical device, is as wanted. COMMAND: exits
    with 0 inside `rules.timeout_s`.

    Can block: stat and open in the driver or a dead network file system, SYSFS in the driver;
    COMMAND itself is bounded. `read` must not cache.
    """
    if rules.check is Check.SYSFS:
        return _first_failure(_check_attributes(device, rules, read))
    if rules.check is Check.COMMAND:
        return _check_command(device, rules)
    return _first_failure(_check_node(member, rules.check, read) for member in device.members)


def check_nodes(device: Device, read: AttributeReader = read_sysfs) -> Verdict:
    """STAT for every member."""
    return _first_failure(_check_node(member, Check.STAT, read) for member in device.members)


def _first_failure(verdicts: Iterator[Verdict]) -> Verdict:
    notes: list[str] = []
    for verdict in verdicts:
        if not verdict.ok:
            return verdict
        notes += [verdict.reason] if verdict.reason else []
    return Verdict(ok=True, reason="; ".join(notes))


def _check_node(member: Member, how: Check, read: AttributeReader) -> Verdict:
    try:
        found = Path(member.dev_node).stat()
    except OSError as error:
        return Verdict(ok=False, reason=f"{member.dev_node}: {_words(error)}")
    if how is Check.PRESENCE:
        return Verdict(ok=True)
    if wrong := _wrong_node(member, found, read):
        return Verdict(ok=False, reason=f"{member.dev_node} {wrong}")
    if how is Check.OPEN and (stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)):
        return _check_open(member)
    return Verdict(ok=True)


def _wrong_node(member: Member, found: os.stat_result, read: AttributeReader) -> str:
    """What differs from the kernel's own record; nothing is known of plain paths."""
    if member.sys_path is None:
        return ""
    block = member.subsystem == "block"
    if not (stat.S_ISBLK if block else stat.S_ISCHR)(found.st_mode):
        return f"is no {'block' if block else 'character'} device"
    number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
    known = read(member.sys_path, "dev")
    if known is None:
        return f"has no device behind it: {member.sys_path} is gone"
    return "" if known == number else f"has the number {number}, the device {known}"


def _check_open(member: Member) -> Verdict:
    kind = "watchdog" if Path(member.dev_node).name.startswith("watchdog") else member.subsystem
    if why := _NEVER_OPENED.get(kind):
        return Verdict(ok=True, reason=f"{member.dev_node} was not opened: {why}")
    try:
        os.close(os.open(member.dev_node, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in _ALIVE:
            return Verdict(ok=True)
        if error.errno in _NOT_ABOUT_THE_DEVICE:
            return Verdict(ok=True, reason=f"{member.dev_node} was not opened: {_words(error)}")
        return Verdict(ok=False, reason=f"{member.dev_node} cannot be opened: {_words(error)}")
    return Verdict(ok=True)


def _check_attributes(device: Device, rules: Health, read: AttributeReader) -> Iterator[Verdict]:
    places = [member.sys_path for member in device.members if member.sys_path]
    if device.anchor:
        places.append(device.anchor.sys_path)
    for name, pattern in rules.attributes.items():
        found = next((text for place in places if (text := read(place, name)) is not None), None)
        if found is None:
            yield Verdict(ok=False, reason=f"the attribute {name} is absent")
        elif not pattern.matches(found):
            wanted = f"{name} is {found!r}, wanted {pattern.text!r}"
            yield Verdict(ok=False, reason=wanted)


def _check_command(device: Device, rules: Health) -> Verdict:
    try:
        outcome = command.run(rules.command, environment(device), rules.timeout_s)
    except OSError as error:
        return Verdict(ok=False, reason=f"{rules.command[0]} cannot be run: {_words(error)}")
    if outcome.failure:
        return Verdict(ok=False, reason=f"{rules.command[0]} {outcome.failure}")
    return Verdict(ok=True)


def _words(error: OSError) -> str:
    return error.strerror or str(error)
