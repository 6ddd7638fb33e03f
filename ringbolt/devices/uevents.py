"""Hears that something happened to the hardware, and where: hints, never facts.

Three voices: the kernel's uevents, udev's (what the kernel said, once the rules have run) and
udev's database, which is written when they have run. The last is for pods: udev's own events do not
leave the host's network namespace, the kernel's and the file system's do.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyudev

from ringbolt.devices.tree import SysPath
from ringbolt.linux import socket_filter
from ringbolt.linux.inotify import IN_IGNORED, IN_MOVED_TO, IN_ONLYDIR, IN_Q_OVERFLOW, Inotify
from ringbolt.linux.uevent import NO_INTERFACES

_RECEIVE_BUFFER = 32 << 20
"""Bytes; a machine with many disks says several MiB at once when it is rescanned."""
_FINAL = frozenset({"remove", "offline", "move"})
"""Actions on which udevd has no more to say than the kernel: something is no longer there."""
_MOST_AT_ONCE = 4096
"""Events taken by one `read`, so that a storm does not hold up the caller for ever."""


@dataclass(frozen=True, slots=True)
class Hints:
    """Where to look again; `overflow`: events were lost, so look at everything.

    `announced` are paths of which the kernel alone has spoken so far, and udevd still should. If it
    does not, look there all the same: udevd may have died and left its database.
    """

    paths: frozenset[SysPath] = frozenset()
    announced: frozenset[SysPath] = frozenset()
    overflow: bool = False


class Uevents:
    """Open ears. Close them. Raises OSError where the kernel gives no netlink socket."""

    def __init__(
        self,
        sys_root: Path = Path("/sys"),
        run_udev: Path = Path("/run/udev"),
        *,
        receive_buffer: int = _RECEIVE_BUFFER,
    ) -> None:
        self._sys = os.fspath(sys_root)
        self._data = run_udev / "data"
        context = pyudev.Context()
        self._kernel = _monitor(context, "kernel", receive_buffer)
        self._udev = _monitor(context, "udev", receive_buffer)
        self._records = Inotify()
        self._watched = False
        self._watch_records()

    def filenos(self) -> tuple[int, ...]:
        """The descriptors to watch for readability, the same until `close`."""
        return (self._kernel.fileno(), self._udev.fileno(), self._records.fileno())

    def read(self) -> Hints:
        """What has been heard since the last call. Never blocks."""
        paths: set[SysPath] = set()
        announced: set[SysPath] = set()
        overflow = False
        for monitor in (self._kernel, self._udev):
            overflow = _take_error(monitor.fileno()) or overflow
            try:
                for path, final in self._heard(monitor):
                    (paths if final else announced).add(path)
            except OSError as error:
                # pyudev polls before it receives, and says of a lost event only that poll failed.
                if error.errno not in {errno.ENOBUFS, None}:
                    raise
                overflow = True
        for event in self._records.read():
            if event.mask & IN_Q_OVERFLOW:
                overflow = True
            elif event.mask & IN_IGNORED:
                self._watched = False
            elif recorded := self._path_of_record(event.name):
                paths.add(recorded)
        return Hints(frozenset(paths), frozenset(announced - paths), overflow)

    def close(self) -> None:
        """Close all descriptors."""
        self._records.close()
        # pyudev closes a monitor's socket when its last reference goes.
        del self._kernel, self._udev

    def _watch_records(self) -> bool:
        """Whether udevd's records are watched; begins to, if udevd came after us."""
        # ENOENT: no udevd here, and so no processed events to wait for.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if not self._watched:
                self._records.add_watch(os.fspath(self._data), IN_MOVED_TO | IN_ONLYDIR)
                self._watched = True
        return self._watched

    def _heard(self, monitor: Any) -> Iterator[tuple[SysPath, bool]]:
        """(path, whether it is the last word) of one monitor's events. pyudev has no types."""
        for _ in range(_MOST_AT_ONCE):
            device = monitor.poll(timeout=0)
            if device is None:
                return
            action = device.action
            final = monitor is self._udev or self._is_final(action)
            # Properties take most of the time that an event costs, so only where they are needed.
            before = device.properties.get("DEVPATH_OLD") if action == "move" else None
            for path in (device.device_path, before):
                if path and path.startswith("/devices/"):
                    yield SysPath(path), final

    def _is_final(self, action: str) -> bool:
        """While udevd runs, the kernel's event is the last word only on what goes."""
        return action in _FINAL or not self._watch_records()

    def _path_of_record(self, name: str) -> SysPath | None:
        """The device whose record has that file name."""
        kind, rest = name[:1], name[1:]
        subsystem, _, kernel = rest.partition(":")
        links = {
            "b": (f"dev/block/{rest}",),
            "c": (f"dev/char/{rest}",),
            "+": (f"bus/{subsystem}/devices/{kernel}", f"class/{subsystem}/{kernel}"),
            "n": (f"class/net/{_interface(int(rest))}",) if rest.isdecimal() else (),
        }.get(kind, ())
        for link in links:
            with contextlib.suppress(OSError):
                target = os.readlink(f"{self._sys}/{link}")  # noqa: PTH115 (as text)
                return SysPath(target[target.index("/devices/") :])
        return None


def _take_error(fd: int) -> bool:
    """Whether the netlink socket lost events since it was asked last; until then poll fails."""
    with socket.socket(fileno=os.dup(fd)) as asked:
        lost = asked.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if lost not in {0, errno.ENOBUFS}:
        raise OSError(lost, f"uevent socket: {os.strerror(lost)}")
    return lost == errno.ENOBUFS


def _interface(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""


def _monitor(context: Any, source: str, receive_buffer: int) -> Any:
    """A started pyudev.Monitor, which has no types."""
    monitor: Any = pyudev.Monitor.from_netlink(context, source)
    # EPERM without CAP_NET_ADMIN: the default buffer must do, and overflows are noticed.
    with contextlib.suppress(OSError):
        monitor.set_receive_buffer_size(receive_buffer)
    if source == "kernel":
        with socket.socket(fileno=os.dup(monitor.fileno())) as one:
            socket_filter.attach(one, NO_INTERFACES)
    monitor.start()
    return monitor
