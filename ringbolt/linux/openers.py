"""Which processes have a device open, from /proc/<pid>/fd (proc(5))."""

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import NamedTuple


class DeviceNumber(NamedTuple):
    """What the kernel means by a device, whatever path it is opened by."""

    block: bool
    rdev: int


class Opener(NamedTuple):
    """One process that has one of the devices open."""

    pid: int
    command: str
    number: DeviceNumber


class Openers(NamedTuple):
    """`hidden` processes may have it open too: this one may not look into them."""

    found: tuple[Opener, ...]
    hidden: int


def device_number(path: str) -> DeviceNumber | None:
    """The number of the node at `path`, links followed; None where it is none. Raises OSError."""
    return _number(os.stat(path))


def find_openers(numbers: Collection[DeviceNumber], proc: str = "/proc") -> Openers:
    """The processes of this pid namespace, but this one, that have one of `numbers` open.

    A process that vanishes on the way had nothing to say. To look into other users' processes takes
    CAP_SYS_PTRACE. Looks at every open file of the machine, about 1 us each; can block where one of
    them lies on a dead network file system.
    """
    found: list[Opener] = []
    hidden = 0
    wanted = frozenset(numbers)
    for name in os.listdir(proc):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            held = wanted.intersection(_open_numbers(f"{proc}/{name}/fd"))
        except PermissionError:
            # proc answers EACCES, too, for a process that ended since its name was listed.
            hidden += os.path.exists(f"{proc}/{name}")
            continue
        found += [Opener(int(name), _command(proc, name), number) for number in sorted(held)]
    return Openers(tuple(sorted(found)), hidden)


def _open_numbers(folder: str) -> Iterator[DeviceNumber]:
    """Numbers of the devices among the open files; raises PermissionError only."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for descriptor in os.listdir(folder):
            with suppress(FileNotFoundError, ProcessLookupError):
                number = _number(os.stat(f"{folder}/{descriptor}"))
                if number is not None:
                    yield number


def _number(found: os.stat_result) -> DeviceNumber | None:
    if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
        return DeviceNumber(stat.S_ISBLK(found.st_mode), found.st_rdev)
    return None


def _command(proc: str, name: str) -> str:
    with suppress(OSError), open(f"{proc}/{name}/comm", errors="replace") as file:
        return file.read().strip()
    return ""
