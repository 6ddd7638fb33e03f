"""What file system a path lies on, and its room: statfs(2), which tells the type.

`os.statvfs` leaves the type out. Magic numbers: linux/magic.h and the file systems' own headers.
Asks the file system itself, so on a dead network one it hangs.
"""

import ctypes
from typing import NamedTuple

from ringbolt.linux import libc

ST_RDONLY = 0x1

NAMES = {
    0xEF53: "ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x01021994: "tmpfs",
    0x794C7630: "overlay",
    0x6969: "nfs",
    0xFF534D42: "cifs",
    0xFE534D42: "smb3",
    0x65735546: "fuse",
    0x73717368: "squashfs",
    0xE0F5E1E2: "erofs",
    0xF2F52010: "f2fs",
    0x858458F6: "ramfs",
    0x9FA0: "proc",
    0x62656572: "sysfs",
    0x63677270: "cgroup2",
    0x9660: "iso9660",
    0x4D44: "vfat",
    0x2011BAB0: "exfat",
    0x01021997: "9p",
    0x00C36400: "ceph",
    0x2FC12FC1: "zfs",
    0xCA451A4E: "bcachefs",
    0x958458F6: "hugetlbfs",
    0x7366746E: "ntfs3",
}
"""By type; ext2 and ext3 have ext4's. mountinfo knows them apart."""


class _Statfs(ctypes.Structure):
    """`struct statfs` of a 64-bit machine."""

    _fields_ = (
        ("type", ctypes.c_long),
        ("bsize", ctypes.c_long),
        ("blocks", ctypes.c_uint64),
        ("bfree", ctypes.c_uint64),
        ("bavail", ctypes.c_uint64),
        ("files", ctypes.c_uint64),
        ("ffree", ctypes.c_uint64),
        ("fsid", ctypes.c_uint32 * 2),
        ("namelen", ctypes.c_long),
        ("frsize", ctypes.c_long),
        ("flags", ctypes.c_long),
        ("spare", ctypes.c_long * 4),
    )


class FileSystem(NamedTuple):
    """Room in bytes and in inodes; `available` is for processes without privilege.

    A file system without a fixed number of inodes (btrfs) has 0 of them. `fsid` is two words, as
    fanotify tells it.
    """

    magic: int
    block_size: int
    size: int
    free: int
    available: int
    inodes: int
    inodes_free: int
    fsid: tuple[int, int]
    flags: int

    @property
    def name(self) -> str:
        """Its type's name; the number in hexadecimal where that is unknown."""
        return NAMES.get(self.magic, hex(self.magic))

    @property
    def readonly(self) -> bool:
        """Whether the mount or the superblock is read-only."""
        return bool(self.flags & ST_RDONLY)


def statfs(target: str | int) -> FileSystem:
    """The file system that a path or a descriptor lies on. Raises OSError."""
    told = _Statfs()
    libc.call("fstatfs" if isinstance(target, int) else "statfs", target, ctypes.addressof(told))
    unit = told.frsize or told.bsize
    return FileSystem(
        magic=told.type & 0xFFFFFFFF,
        block_size=unit,
        size=told.blocks * unit,
        free=told.bfree * unit,
        available=told.bavail * unit,
        inodes=told.files,
        inodes_free=told.ffree,
        fsid=(told.fsid[0], told.fsid[1]),
        flags=told.flags,
    )
