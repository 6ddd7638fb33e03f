"""inotify(7) as Python values: which names changed in a watched folder. No policy."""

import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

IN_MOVED_TO: Final = 0x80
IN_CREATE: Final = 0x100
IN_DELETE: Final = 0x200
IN_Q_OVERFLOW: Final = 0x4000
IN_IGNORED: Final = 0x8000
IN_ONLYDIR: Final = 0x1000000

_HEADER = struct.Struct("iIII")
_BUFFER = 65536


@dataclass(frozen=True, slots=True)
class Event:
    """One event: the watch it belongs to (-1 on overflow), its mask and the name in the folder."""

    watch: int
    mask: int
    name: str


class Inotify:
    """An inotify descriptor, non-blocking and closed on exec. Close it."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._check(
            self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1"
        )

    def fileno(self) -> int:
        """The descriptor to watch for readability."""
        return self._fd

    def add_watch(self, path: str, mask: int) -> int:
        """Watch `path` for the events in `mask`; the number that its events carry."""
        watch = self._libc.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(mask))
        return self._check(watch, f"inotify_add_watch {path}")

    def read(self) -> tuple[Event, ...]:
        """The events that wait; empty where none does."""
        try:
            data = os.read(self._fd, _BUFFER)
        except BlockingIOError:
            return ()
        return tuple(_parse(data))

    def close(self) -> None:
        """Close the descriptor; its watches end with it."""
        os.close(self._fd)

    @staticmethod
    def _check(result: int, operation: str) -> int:
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, f"{operation}: {os.strerror(error)}")
        return result


def _parse(data: bytes) -> Iterator[Event]:
    at = 0
    while at < len(data):
        watch, mask, _cookie, length = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        yield Event(watch, mask, os.fsdecode(data[at : at + length].rstrip(b"\0")))
        at += length
