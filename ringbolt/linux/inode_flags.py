"""Flags and projects of inodes: FS_IOC_GETFLAGS, FS_IOC_FSSETXATTR (linux/fs.h, ioctl_iflags(2)).

All take a descriptor that is open for reading; O_PATH will not do.
"""

import struct
from typing import NamedTuple

from ringbolt.linux import ioctls

FS_IMMUTABLE_FL = 0x10
FS_APPEND_FL = 0x20
FS_ENCRYPT_FL = 0x800
FS_NOCOW_FL = 0x800000
FS_PROJINHERIT_FL = 0x20000000

FS_XFLAG_PROJINHERIT = 0x200

_LONG = 8
"""What the headers say the argument is; the kernel goes for an int of it."""
_FLAGS = struct.Struct("=I4x")
FS_IOC_GETFLAGS = ioctls.ior(ord("f"), 1, _LONG)
FS_IOC_SETFLAGS = ioctls.iow(ord("f"), 2, _LONG)

_FSXATTR = struct.Struct("=5I8x")
FS_IOC_FSGETXATTR = ioctls.ior(ord("X"), 31, _FSXATTR.size)
FS_IOC_FSSETXATTR = ioctls.iow(ord("X"), 32, _FSXATTR.size)


class ExtendedAttributes(NamedTuple):
    """`struct fsxattr`: FS_XFLAG_*, allocation hints in bytes, and the project quotas count by."""

    flags: int
    extent_size: int
    extents: int
    project: int
    cow_extent_size: int


def get_flags(fd: int) -> int:
    """FS_*_FL of an inode. Raises OSError (ENOTTY: its file system has none)."""
    buffer = bytearray(_FLAGS.size)
    ioctls.exchange(fd, "FS_IOC_GETFLAGS", FS_IOC_GETFLAGS, buffer)
    return int(_FLAGS.unpack(buffer)[0])


def set_flags(fd: int, flags: int) -> None:
    """Give an inode exactly these flags.

    Raises OSError (EPERM: no CAP_LINUX_IMMUTABLE; EOPNOTSUPP: one that the file system has not).
    """
    buffer = bytearray(_FLAGS.pack(flags))
    ioctls.exchange(fd, "FS_IOC_SETFLAGS", FS_IOC_SETFLAGS, buffer)


def is_immutable(fd: int) -> bool:
    """Whether nothing can be changed, made or removed in it."""
    return bool(get_flags(fd) & FS_IMMUTABLE_FL)


def set_immutable(fd: int, *, on: bool) -> None:
    """Let nothing be made or removed in a directory, or no longer; what is so already stays so.

    A mount upon it is not affected. Raises OSError (ENOTTY, EOPNOTSUPP: the file system cannot).
    """
    flags = get_flags(fd)
    wanted = flags | FS_IMMUTABLE_FL if on else flags & ~FS_IMMUTABLE_FL
    if wanted != flags:
        set_flags(fd, wanted)


def get_extended(fd: int) -> ExtendedAttributes:
    """What a file system keeps for an inode beside its mode. Raises OSError (ENOTTY)."""
    buffer = bytearray(_FSXATTR.size)
    ioctls.exchange(fd, "FS_IOC_FSGETXATTR", FS_IOC_FSGETXATTR, buffer)
    return ExtendedAttributes(*_FSXATTR.unpack(buffer))


def set_project(fd: int, project: int, *, inherit: bool = True) -> None:
    """Count an inode, and what is made in it from now on where `inherit`, to a project.

    Raises OSError (EOPNOTSUPP: the file system knows no projects, ext4 without that feature).
    """
    now = get_extended(fd)
    flags = now.flags | FS_XFLAG_PROJINHERIT if inherit else now.flags & ~FS_XFLAG_PROJINHERIT
    buffer = bytearray(_FSXATTR.pack(*now._replace(flags=flags, project=project)))
    ioctls.exchange(fd, "FS_IOC_FSSETXATTR", FS_IOC_FSSETXATTR, buffer)
