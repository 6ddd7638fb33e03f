"""What statx(2) says beyond stat(2): which mount a path is on, and whether it is that mount's root.

Linux 4.11; mount IDs and STATX_ATTR_MOUNT_ROOT 5.8, unique mount IDs 6.8, subvolumes 6.10.
"""

import ctypes
import struct
from typing import NamedTuple

from ringbolt.linux import libc
from ringbolt.linux.mount import AT_EMPTY_PATH, AT_FDCWD

STATX_BASIC_STATS = 0x7FF
STATX_MNT_ID = 0x1000
STATX_MNT_ID_UNIQUE = 0x4000
STATX_SUBVOL = 0x8000

STATX_ATTR_IMMUTABLE = 0x10
STATX_ATTR_ENCRYPTED = 0x800
STATX_ATTR_MOUNT_ROOT = 0x2000

_AT_SYMLINK_NOFOLLOW = 0x100
_AT_NO_AUTOMOUNT = 0x800
_AT_STATX_DONT_SYNC = 0x4000

_STATX = struct.Struct("=IIQIIIHHQQQQ64xIIIIQIIQ88x")


class Statx(NamedTuple):
    """What was told of a file; None where this kernel or file system does not tell.

    `mount_id` is mountinfo's, or the one that is never used again where that was asked for.
    `attributes` are STATX_ATTR_*, those the file system knows of.
    """

    mode: int
    uid: int
    gid: int
    inode: int
    size: int
    device: tuple[int, int]
    rdev: tuple[int, int]
    attributes: int
    mount_id: int | None
    mount_root: bool | None
    subvolume: int | None


def statx(target: str | int, *, unique: bool = False) -> Statx:
    """Look at a path, whose last component is not followed, or at a descriptor.

    With `unique` for the mount ID that outlives the mount, as fanotify tells it. What is cached
    will do, so a network file system need not be asked. Raises OSError.
    """
    by_fd = isinstance(target, int)
    flags = _AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT | _AT_STATX_DONT_SYNC
    wanted = STATX_BASIC_STATS | STATX_SUBVOL | (STATX_MNT_ID_UNIQUE if unique else STATX_MNT_ID)
    told = ctypes.create_string_buffer(_STATX.size)
    at, path = (target, "") if isinstance(target, int) else (AT_FDCWD, target)
    try:
        libc.call("statx", at, path, flags | (AT_EMPTY_PATH if by_fd else 0), wanted, told)
    except OSError as error:
        shown = libc.path_of(target) if isinstance(target, int) else target
        raise libc.failed(error.errno or 0, "statx", shown) from None
    return parse_statx(told.raw)


def parse_statx(data: bytes) -> Statx:
    """`struct statx` as a value."""
    mask, _, bits, _, uid, gid, mode, _, inode, size, _, known, *rest = _STATX.unpack(data)
    rdev, device, mount_id, subvolume = rest[0:2], rest[2:4], rest[4], rest[7]
    return Statx(
        mode=mode,
        uid=uid,
        gid=gid,
        inode=inode,
        size=size,
        device=(device[0], device[1]),
        rdev=(rdev[0], rdev[1]),
        attributes=bits & known,
        mount_id=mount_id if mask & (STATX_MNT_ID | STATX_MNT_ID_UNIQUE) else None,
        mount_root=bool(bits & STATX_ATTR_MOUNT_ROOT) if known & STATX_ATTR_MOUNT_ROOT else None,
        subvolume=subvolume if mask & STATX_SUBVOL else None,
    )
