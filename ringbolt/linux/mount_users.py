"""Who else has a file system: mount namespaces that show it, processes that have files of it open.

From /proc/PID/mountinfo and /proc/PID/fdinfo (proc(5)), which ask no file system, so a dead one
hangs nothing. The numbers of mounts are the same kernel's whatever namespace shows them.
"""

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import NamedTuple

from ringbolt.linux.mount import MountPoint, parse_mountinfo


class Shower(NamedTuple):
    """A mount namespace, by one of its processes, and where it shows the file system."""

    namespace: int
    pid: int
    command: str
    points: tuple[MountPoint, ...]


class FileUser(NamedTuple):
    """A process that has files of it open."""

    pid: int
    command: str
    files: int


def find_showers(device: tuple[int, int], proc: str = "/proc") -> tuple[Shower, ...]:
    """The mount namespaces of all processes that show a superblock, ours too.

    Those that one may not look into are left out: it takes CAP_SYS_PTRACE. One that a process no
    longer lives in, kept by a descriptor or a bind, is not seen.
    """
    number = f" {device[0]}:{device[1]} "
    return _find_showers(number, lambda one: one.device == device, proc)


def find_part_showers(fstype: str, tail: str, proc: str = "/proc") -> tuple[Shower, ...]:
    """Those that show a part of a file system of this type whose path in it ends so, or has it.

    For parts that are mounted by the path to them, as subvolumes are; as `find_showers`.
    """

    def wanted(one: MountPoint) -> bool:
        return one.fstype == fstype and (one.root.endswith(tail) or f"{tail}/" in one.root)

    return _find_showers(f" - {fstype} ", wanted, proc)


def _find_showers(
    words: str, wanted: Callable[[MountPoint], bool], proc: str
) -> tuple[Shower, ...]:
    """`words` are in the lines of mountinfo that are looked at."""
    found: dict[int, Shower | None] = {}
    for pid in _pids(proc):
        with suppress(OSError):
            namespace = os.stat(f"{proc}/{pid}/ns/mnt").st_ino
            if namespace in found:
                continue
            with open(f"{proc}/{pid}/mountinfo", errors="surrogateescape") as file:
                text = "".join(line for line in file if words in line)
            points = tuple(one for one in parse_mountinfo(text) if wanted(one))
            found[namespace] = Shower(namespace, pid, _command(proc, pid), points)
    return tuple(one for one in found.values() if one and one.points)


def find_file_users(mount_ids: Collection[int], proc: str = "/proc") -> tuple[FileUser, ...]:
    """The processes that have files open on one of these mounts, as far as one may look."""
    found: list[FileUser] = []
    wanted = frozenset(mount_ids)
    for pid in _pids(proc):
        with suppress(OSError):
            names = os.listdir(f"{proc}/{pid}/fdinfo")
            files = sum(_mount_of(f"{proc}/{pid}/fdinfo/{name}") in wanted for name in names)
            if files:
                found.append(FileUser(pid, _command(proc, pid), files))
    return tuple(found)


def _pids(proc: str) -> Iterator[int]:
    yield from sorted(int(name) for name in os.listdir(proc) if name.isdigit())


def _mount_of(path: str) -> int | None:
    with suppress(OSError, ValueError), open(path) as file:
        for line in file:
            if line.startswith("mnt_id:"):
                return int(line.partition(":")[2])
    return None


def _command(proc: str, pid: int) -> str:
    with suppress(OSError), open(f"{proc}/{pid}/comm", errors="replace") as file:
        return file.read().strip()
    return ""
