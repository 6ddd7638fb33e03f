"""fanotify(7): a file system's errors, and what is mounted and unmounted, told when it happens.

FAN_FS_ERROR is of Linux 5.16 (Documentation/admin-guide/filesystem-monitoring.rst), FAN_MNT_ATTACH
and FAN_MNT_DETACH of 6.14; linux/fanotify.h. The descriptor is read when it polls readable.
"""

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from ringbolt.linux import libc

FAN_FS_ERROR = 0x8000
FAN_MNT_ATTACH = 0x1000000
FAN_MNT_DETACH = 0x2000000
_FAN_Q_OVERFLOW = 0x4000

_FAN_CLOEXEC = 0x1
_FAN_NONBLOCK = 0x2
_FAN_REPORT_FID = 0x200
_FAN_REPORT_MNT = 0x4000
_FAN_MARK_ADD = 0x1
_FAN_MARK_FILESYSTEM = 0x100
_FAN_MARK_MNTNS = 0x110

_METADATA = struct.Struct("=IBxHQii")
_INFO = struct.Struct("=BxH")
_FID = struct.Struct("=4x2I")
_ERROR = struct.Struct("=4xiI")
_MOUNT = struct.Struct("=8xQ")
_INFO_FID = 1
_INFO_ERROR = 5
_INFO_MOUNT = 7

_BUFFER_SIZE = 65536


class FileSystemError(NamedTuple):
    """The first error of a file system since it was last told, as an errno, and how many came.

    `fsid` is `statfs`'s.
    """

    fsid: tuple[int, int]
    errno: int
    total: int


class MountChange(NamedTuple):
    """A mount that came (`attached`), went, or with both flags moved, by its unique mount ID."""

    mount_id: int
    attached: bool
    detached: bool


class Overflow(NamedTuple):
    """Events were lost: look at everything anew."""


Event = FileSystemError | MountChange | Overflow


def open_error_watch() -> int:
    """A descriptor that tells errors of file systems. Raises OSError (EPERM: CAP_SYS_ADMIN)."""
    return libc.call("fanotify_init", _FAN_CLOEXEC | _FAN_NONBLOCK | _FAN_REPORT_FID, os.O_RDONLY)


def watch_errors(watch_fd: int, fd: int) -> None:
    """Have errors told of the file system that `fd` (a directory or file of it) lies on.

    The mark keeps no mount busy and goes with the file system. Raises OSError (EOPNOTSUPP, ENODEV:
    the file system tells none; ext4 does).
    """
    _mark(watch_fd, _FAN_MARK_FILESYSTEM, FAN_FS_ERROR, fd)


def open_mount_watch() -> int:
    """A descriptor that tells of mounts. Raises OSError (EINVAL: before Linux 6.14; EPERM)."""
    return libc.call("fanotify_init", _FAN_CLOEXEC | _FAN_NONBLOCK | _FAN_REPORT_MNT, os.O_RDONLY)


def watch_mounts(watch_fd: int, mount_namespace_fd: int) -> None:
    """Have told what is attached and detached in a mount namespace (an open /proc/PID/ns/mnt)."""
    _mark(watch_fd, _FAN_MARK_MNTNS, FAN_MNT_ATTACH | FAN_MNT_DETACH, mount_namespace_fd)


def _mark(watch_fd: int, kind: int, mask: int, fd: int) -> None:
    try:
        libc.call("fanotify_mark", watch_fd, _FAN_MARK_ADD | kind, mask, fd, None)
    except OSError as error:
        shown = libc.path_of(fd)
        raise libc.failed(error.errno or 0, "fanotify_mark", hex(mask), shown) from None


def read_events(watch_fd: int) -> tuple[Event, ...]:
    """What has happened since; empty where nothing has."""
    try:
        return tuple(parse_events(os.read(watch_fd, _BUFFER_SIZE)))
    except BlockingIOError:
        return ()


def parse_events(data: bytes) -> Iterator[Event]:
    """`struct fanotify_event_metadata` and what follows each as values; other kinds pass."""
    at = 0
    while at + _METADATA.size <= len(data):
        length, _, header, mask, _, _ = _METADATA.unpack_from(data, at)
        if length < _METADATA.size or at + length > len(data):
            return
        if mask & _FAN_Q_OVERFLOW:
            yield Overflow()
        else:
            yield from _event(mask, _records(data[at + header : at + length]))
        at += length


def _records(data: bytes) -> dict[int, bytes]:
    """Information records by their type."""
    found: dict[int, bytes] = {}
    at = 0
    while at + _INFO.size <= len(data):
        kind, length = _INFO.unpack_from(data, at)
        if length < _INFO.size:
            break
        found[kind] = data[at : at + length]
        at += length
    return found


def _event(mask: int, records: dict[int, bytes]) -> Iterator[Event]:
    fid, error = records.get(_INFO_FID, b""), records.get(_INFO_ERROR, b"")
    changed = records.get(_INFO_MOUNT, b"")
    if len(fid) >= _FID.size and len(error) >= _ERROR.size:
        yield FileSystemError(_FID.unpack_from(fid), *_ERROR.unpack_from(error))
    elif len(changed) >= _MOUNT.size:
        (mount_id,) = _MOUNT.unpack_from(changed)
        yield MountChange(mount_id, bool(mask & FAN_MNT_ATTACH), bool(mask & FAN_MNT_DETACH))
