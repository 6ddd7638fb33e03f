"""Processes that answer for mounts: known again after the agent's restart, and ended with them.

One file each in the run directory: their ids with when they were started, since an id alone may be
another's by now (proc_pid_stat(5)).
"""

import json
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringbolt.linux.mount import read_mountinfo
from ringbolt.volumes.errors import InvalidError
from ringbolt.volumes.volume import VolumeId, parse_id

_GROUP = "ringbolt"
_ALONE_S, _ASKED_S, _KILLED_S = 2.0, 2.0, 1.0
"""How long a server may take to end by itself, when asked, and when killed."""


@dataclass(frozen=True, slots=True)
class Server:
    """`processes` are (id, start in clock ticks after boot). `device` of its mount: (0, minor).

    `cgroup` where they live, empty: the agent's own, with which they are killed.
    """

    processes: tuple[tuple[int, int], ...]
    device: tuple[int, int]
    cgroup: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether one of them runs."""
        return bool(self.running())

    def running(self) -> tuple[tuple[int, int], ...]:
        """Those that run."""
        return tuple((pid, start) for pid, start in self.processes if _started(pid) == start)


class Servers:
    """Those of one run directory."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / "volumes" / "servers"

    def remember(
        self, volume_id: VolumeId, pids: tuple[int, ...], device: tuple[int, int], cgroup: str
    ) -> Server:
        """Those that were started now. Raises OSError."""
        processes = tuple((pid, start) for pid in pids if (start := _started(pid)))
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(volume_id)
        aside = path.with_suffix(f".{os.getpid()}")
        note = {"processes": processes, "device": device, "cgroup": cgroup}
        aside.write_text(json.dumps(note), encoding="utf-8")
        aside.rename(path)
        return Server(processes, device, cgroup)

    def find(self, volume_id: VolumeId) -> Server | None:
        """What is known of a volume's server."""
        try:
            found: Any = json.loads(self._path(volume_id).read_text(encoding="utf-8"))
            processes = tuple((int(pid), int(start)) for pid, start in found["processes"])
            major, minor = found["device"]
            return Server(processes, (int(major), int(minor)), str(found["cgroup"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def all(self) -> Iterator[tuple[VolumeId, Server]]:
        """Every one that is known."""
        for path in sorted(self._folder.glob("*.json")):
            with suppress(InvalidError):
                volume_id = parse_id(path.stem)
                if server := self.find(volume_id):
                    yield volume_id, server

    def end(self, volume_id: VolumeId) -> None:
        """Its mount is gone: it ends by itself, else when told, else it is killed; forget it."""
        server = self.find(volume_id)
        if server is None:
            return
        for number, patience_s in ((0, _ALONE_S), (signal.SIGTERM, _ASKED_S), (9, _KILLED_S)):
            end = time.monotonic() + patience_s
            if all(_ended(pid, start, number, end) for pid, start in server.processes):
                break
        if server.cgroup:
            with suppress(OSError):
                Path(server.cgroup).rmdir()
                Path(server.cgroup).parent.rmdir()
        self._path(volume_id).unlink(missing_ok=True)

    def _path(self, volume_id: VolumeId) -> Path:
        return self._folder / f"{volume_id}.json"


def open_process(pid: int, start: int) -> int | None:
    """A pidfd of it, readable once it ends; None: it did. The caller closes it."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if _started(pid) == start:
        return fd
    os.close(fd)
    return None


def cgroups_for(volume_id: VolumeId) -> tuple[str, ...]:
    """Where a server outlives the agent: beside all others of the node, below the root of pid 1.

    In a container without the node's processes (hostPID) that leads nowhere, and nothing would
    help: what lives in a process namespace dies with its first process.
    """
    found: list[str] = []
    for pid, root in ((1, "/proc/1/root"), ("self", "")):
        with suppress(OSError):
            mounts = [one.target for one in read_mountinfo(pid) if one.fstype == "cgroup2"]
            found += [f"{root}{target}/{_GROUP}/{volume_id}" for target in mounts]
    return tuple(found)


def _ended(pid: int, start: int, number: int, end: float) -> bool:
    fd = open_process(pid, start)
    if fd is None:
        _reap(pid)
        return True
    try:
        if number:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, number)
        return bool(select.select([fd], [], [], max(0.0, end - time.monotonic()))[0])
    finally:
        os.close(fd)
        _reap(pid)


def _reap(pid: int) -> None:
    """Orphans are ours where we are the first process of a container."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _started(pid: int) -> int:
    """When a process was started; 0: there is none that runs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
