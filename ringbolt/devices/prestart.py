"""What is done with a device before every start of a container that holds it (opt in).

The kubelet waits 30 s for all of it, and a failure fails the start with the message that is raised
here. Everything blocks: the caller runs it in a thread with a deadline of its own.
"""

import errno
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ringbolt.devices import health
from ringbolt.devices.command_environment import environment
from ringbolt.devices.device import Device
from ringbolt.devices.resource import PreStart
from ringbolt.devices.tree import AttributeReader, SysPath
from ringbolt.linux import command, openers, process, usbdevfs

_LOOK_EVERY_S = 0.1
_SHOWN = 3


class PreStartError(Exception):
    """The container must not start now; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where to look, and how to reset: parameters, so that a test needs no USB bus.

    With `links_dir` the stable links tell whether nodes are back, since a reset may renumber them.
    """

    links_dir: Path | None = None
    read: AttributeReader = health.read_sysfs
    proc: str = "/proc"
    dev: Path = Path("/dev")


def run(device: Device, actions: PreStart, machine: Machine = Machine()) -> None:
    """Do what `actions` asks for: occupancy, USB reset, settle, command, in this order.

    Stays inside `actions.timeout_s` but for the reset itself, which the USB driver bounds. Raises
    PreStartError.
    """
    deadline = time.monotonic() + actions.timeout_s
    if actions.occupancy:
        _refuse_if_open(device, machine)
    if actions.usb_reset:
        _reset(device, machine)
    if actions.settle_s:
        _settle(device, machine, min(deadline, time.monotonic() + actions.settle_s))
    if actions.command:
        _command(device, actions, deadline - time.monotonic())


def _refuse_if_open(device: Device, machine: Machine) -> None:
    if os.getpid() == 1:
        raise PreStartError(
            "occupancy cannot be checked: the agent sees no process but its own; run its pod with "
            "hostPID: true, or set occupancy: false"
        )
    numbers = {
        number for member in device.members if (number := _number(member.dev_node)) is not None
    }
    seen = openers.find_openers(numbers, machine.proc)
    if seen.found:
        raise PreStartError(f"{device.id} is in use: {_holders(seen)}; end what holds it")
    if seen.hidden and "SYS_PTRACE" not in process.effective_capabilities():
        # With it, what stays hidden is what a security module shields from everyone.
        raise PreStartError(
            f"occupancy cannot be checked: {seen.hidden} processes may not be looked into; give "
            "the agent CAP_SYS_PTRACE, or set occupancy: false"
        )


def _number(path: str) -> openers.DeviceNumber | None:
    try:
        return openers.device_number(path)
    except OSError as error:
        raise PreStartError(f"{path} is not there ({error.strerror}); plug it in again") from error


def _holders(seen: openers.Openers) -> str:
    names = [f"{found.command or 'process'} ({found.pid})" for found in dict.fromkeys(seen.found)]
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "") + " has it open"


def _reset(device: Device, machine: Machine) -> None:
    node = find_usb_node(device, machine.read)
    if node is None:
        raise PreStartError(f"{device.id} is no USB device: set usb_reset: false for its resource")
    path = str(machine.dev / node.removeprefix("/dev/"))
    try:
        usbdevfs.reset(path)
    except OSError as error:
        if error.errno == errno.ENODEV:
            # It came back with other descriptors; `settle` waits for the nodes of it.
            return
        raise PreStartError(
            f"{path} cannot be reset ({error.strerror}); plug it in again, and see that the agent "
            "may write to it"
        ) from error


def find_usb_node(device: Device, read: AttributeReader = health.read_sysfs) -> str | None:
    """The node under /dev/bus/usb of the USB device that `device` is or hangs on."""
    place: str = device.anchor.sys_path if device.anchor else ""
    while place.count("/") > 1:
        bus, number = read(SysPath(place), "busnum"), read(SysPath(place), "devnum")
        if bus and number:
            return usbdevfs.node_path(int(bus), int(number))
        place = place.rpartition("/")[0]
    return None


def _settle(device: Device, machine: Machine, deadline: float) -> None:
    """Wait until two looks in a row find every node: one that is about to vanish is found once."""
    times = 0
    verdict = _look(device, machine)
    while (times := times + 1 if verdict.ok else 0) < 2:  # noqa: PLR2004 - see above
        if time.monotonic() >= deadline:
            raise PreStartError(
                f"{device.id} has not come back in time: {verdict.reason or 'it comes and goes'}; "
                "plug it in again, or give it a longer settle"
            )
        time.sleep(_LOOK_EVERY_S)
        verdict = _look(device, machine)


def _look(device: Device, machine: Machine) -> health.Verdict:
    if machine.links_dir is None:
        return health.check_nodes(device, machine.read)
    folder = machine.links_dir / device.id
    members = (
        replace(member, dev_node=str(folder / member.name), sys_path=None)
        for member in device.members
    )
    return health.check_nodes(replace(device, members=tuple(members)), machine.read)


def _command(device: Device, actions: PreStart, left_s: float) -> None:
    try:
        outcome = command.run(actions.command, environment(device), max(left_s, 0.0))
    except OSError as error:
        raise PreStartError(f"{actions.command[0]} cannot be run ({error.strerror})") from error
    if outcome.failure:
        raise PreStartError(f"{actions.command[0]} {outcome.failure}")
