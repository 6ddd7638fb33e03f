"""btrfs: subvolumes, snapshots, their limits, and the size of the whole (linux/btrfs.h).

Since Linux 3.10 or before, GET_SUBVOL_INFO 4.18, SNAP_DESTROY_V2 5.7, qgroups in sysfs 5.9, simple
quotas 6.7. Descriptors are open directories of the file system, to be read.
"""

import errno
import struct
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from ringbolt.linux import ioctls, libc

BTRFS_SUBVOL_RDONLY = 0x2
BTRFS_QUOTA_CTL_ENABLE = 1
BTRFS_QUOTA_CTL_DISABLE = 2
BTRFS_QUOTA_CTL_ENABLE_SIMPLE_QUOTA = 4
_QGROUP_LIMIT_MAX_RFER = 0x1
_NO_LIMIT = 0xFFFFFFFFFFFFFFFF

SUBVOLUME_INODE = 256
"""The inode number of every subvolume's root."""
_NAME_MAX = 255

_KIND = 0x94
_VOL_ARGS = struct.Struct("=q4088s")
_VOL_ARGS_V2 = struct.Struct("=qQQ32x4040s")
_INO_LOOKUP = struct.Struct("=QQ4080s")
_SUBVOL_INFO = struct.Struct("=Q256sQQQQ16s16s16s32x64x64x")
_QUOTA_CTL = struct.Struct("=QQ")
_QGROUP_LIMIT = struct.Struct("=6Q")
_FS_INFO = struct.Struct("=QQ16sIII980x")
_U64 = struct.Struct("=Q")

BTRFS_IOC_RESIZE = ioctls.iow(_KIND, 3, _VOL_ARGS.size)
BTRFS_IOC_SYNC = ioctls.io(_KIND, 8)
BTRFS_IOC_INO_LOOKUP = ioctls.iowr(_KIND, 18, _INO_LOOKUP.size)
BTRFS_IOC_SNAP_CREATE_V2 = ioctls.iow(_KIND, 23, _VOL_ARGS_V2.size)
BTRFS_IOC_SUBVOL_CREATE_V2 = ioctls.iow(_KIND, 24, _VOL_ARGS_V2.size)
BTRFS_IOC_SUBVOL_GETFLAGS = ioctls.ior(_KIND, 25, _U64.size)
BTRFS_IOC_SUBVOL_SETFLAGS = ioctls.iow(_KIND, 26, _U64.size)
BTRFS_IOC_FS_INFO = ioctls.ior(_KIND, 31, _FS_INFO.size)
BTRFS_IOC_QUOTA_CTL = ioctls.iowr(_KIND, 40, _QUOTA_CTL.size)
BTRFS_IOC_QGROUP_LIMIT = ioctls.ior(_KIND, 43, _QGROUP_LIMIT.size)
BTRFS_IOC_QUOTA_RESCAN_WAIT = ioctls.io(_KIND, 46)
BTRFS_IOC_GET_SUBVOL_INFO = ioctls.ior(_KIND, 60, _SUBVOL_INFO.size)
BTRFS_IOC_SNAP_DESTROY_V2 = ioctls.iow(_KIND, 63, _VOL_ARGS_V2.size)


class Subvolume(NamedTuple):
    """A subvolume; `parent` and `received` are the zero UUID where it has none."""

    number: int
    name: str
    parent_number: int
    readonly: bool
    uuid: UUID
    parent: UUID
    received: UUID


class QgroupUse(NamedTuple):
    """What a subvolume refers to, and what would be freed with it; bytes. No limit is None."""

    referenced: int
    exclusive: int
    limit: int | None


def create_subvolume(parent_fd: int, name: str) -> None:
    """Make an empty subvolume `name` in an open directory. Raises OSError (EEXIST)."""
    buffer = _named(0, 0, name)
    operation = "BTRFS_IOC_SUBVOL_CREATE_V2"
    _exchange(parent_fd, operation, BTRFS_IOC_SUBVOL_CREATE_V2, buffer, name)


def create_snapshot(source_fd: int, parent_fd: int, name: str, *, readonly: bool = False) -> None:
    """Make `name` in an open directory a snapshot of an open subvolume, for itself alone.

    Subvolumes inside it are empty directories in the snapshot. Raises OSError (EINVAL: the source
    is no subvolume's root; EXDEV: another file system's).
    """
    buffer = _named(source_fd, BTRFS_SUBVOL_RDONLY if readonly else 0, name)
    operation = "BTRFS_IOC_SNAP_CREATE_V2"
    _exchange(parent_fd, operation, BTRFS_IOC_SNAP_CREATE_V2, buffer, name)


def destroy_subvolume(parent_fd: int, name: str) -> None:
    """Take a subvolume or snapshot out of an open directory; its space comes back in time.

    Raises OSError (ENOTEMPTY: there are subvolumes in it; EBUSY: something is mounted there).
    """
    operation = "BTRFS_IOC_SNAP_DESTROY_V2"
    _exchange(parent_fd, operation, BTRFS_IOC_SNAP_DESTROY_V2, _named(0, 0, name), name)


def is_readonly(fd: int) -> bool:
    """Whether a subvolume's content can change. Raises OSError (EINVAL: not a subvolume's root)."""
    return bool(_flags(fd) & BTRFS_SUBVOL_RDONLY)


def set_readonly(fd: int, *, on: bool) -> None:
    """Freeze a subvolume's content, or let it change again."""
    flags = _flags(fd) & ~BTRFS_SUBVOL_RDONLY
    buffer = bytearray(_U64.pack(flags | BTRFS_SUBVOL_RDONLY if on else flags))
    ioctls.exchange(fd, "BTRFS_IOC_SUBVOL_SETFLAGS", BTRFS_IOC_SUBVOL_SETFLAGS, buffer)


def _flags(fd: int) -> int:
    buffer = bytearray(_U64.size)
    ioctls.exchange(fd, "BTRFS_IOC_SUBVOL_GETFLAGS", BTRFS_IOC_SUBVOL_GETFLAGS, buffer)
    return int(_U64.unpack(buffer)[0])


def subvolume_number(fd: int) -> int:
    """The number of the subvolume that an open file or directory lies in."""
    buffer = bytearray(_INO_LOOKUP.pack(0, SUBVOLUME_INODE, b""))
    ioctls.exchange(fd, "BTRFS_IOC_INO_LOOKUP", BTRFS_IOC_INO_LOOKUP, buffer)
    return int(_INO_LOOKUP.unpack(buffer)[0])


def read_subvolume(fd: int) -> Subvolume:
    """What is known of the subvolume that an open file or directory lies in."""
    buffer = bytearray(_SUBVOL_INFO.size)
    ioctls.exchange(fd, "BTRFS_IOC_GET_SUBVOL_INFO", BTRFS_IOC_GET_SUBVOL_INFO, buffer)
    return parse_subvolume(buffer)


def parse_subvolume(data: bytes | bytearray) -> Subvolume:
    """`struct btrfs_ioctl_get_subvol_info_args` as a value."""
    number, name, parent, _, _, flags, own, above, received = _SUBVOL_INFO.unpack(data)
    return Subvolume(
        number,
        name.partition(b"\0")[0].decode("utf-8", "surrogateescape"),
        parent,
        bool(flags & 1),  # BTRFS_ROOT_SUBVOL_RDONLY, as it is on disk
        UUID(bytes=own),
        UUID(bytes=above),
        UUID(bytes=received),
    )


def enable_quota(fd: int, *, simple: bool = False) -> None:
    """Count what each subvolume refers to; simply, by who wrote it, with `simple`.

    What was written before is counted by a scan in the background: `wait_for_quota`. Again is no
    error. Raises OSError (EINVAL: this kernel knows no simple quotas).
    """
    command = BTRFS_QUOTA_CTL_ENABLE_SIMPLE_QUOTA if simple else BTRFS_QUOTA_CTL_ENABLE
    buffer = bytearray(_QUOTA_CTL.pack(command, 0))
    ioctls.exchange(fd, "BTRFS_IOC_QUOTA_CTL", BTRFS_IOC_QUOTA_CTL, buffer)


def wait_for_quota(fd: int) -> None:
    """Block until all that there is has been counted."""
    ioctls.call(fd, "BTRFS_IOC_QUOTA_RESCAN_WAIT", BTRFS_IOC_QUOTA_RESCAN_WAIT)


def set_limit(fd: int, number: int, limit: int | None) -> None:
    """Let subvolume `number` refer to that many bytes at most; None for no limit.

    Beyond it writes fail with EDQUOT. Raises OSError (ENOTCONN: quotas are off; ENOENT: no such
    subvolume).
    """
    size = _NO_LIMIT if limit is None else limit
    buffer = bytearray(_QGROUP_LIMIT.pack(number, _QGROUP_LIMIT_MAX_RFER, size, 0, 0, 0))
    ioctls.exchange(fd, "BTRFS_IOC_QGROUP_LIMIT", BTRFS_IOC_QGROUP_LIMIT, buffer)


def read_use(file_system: UUID, number: int, sys: Path = Path("/sys")) -> QgroupUse:
    """A subvolume's use and limit, as of the last commit. Raises FileNotFoundError: none counted.

    From sysfs (Documentation/ABI/testing/sysfs-fs-btrfs), since a search of the trees takes more
    privilege and tells no more.
    """
    folder = sys / "fs" / "btrfs" / str(file_system) / "qgroups" / f"0_{number}"
    limited = int(_text(folder / "limit_flags"), 0) & _QGROUP_LIMIT_MAX_RFER
    return QgroupUse(
        int(_text(folder / "referenced")),
        int(_text(folder / "exclusive")),
        int(_text(folder / "max_referenced")) if limited else None,
    )


def file_system_uuid(fd: int) -> UUID:
    """The file system's UUID, as /sys/fs/btrfs names it."""
    buffer = bytearray(_FS_INFO.size)
    ioctls.exchange(fd, "BTRFS_IOC_FS_INFO", BTRFS_IOC_FS_INFO, buffer)
    return UUID(bytes=_FS_INFO.unpack(buffer)[2])


def resize(fd: int, size: int | None = None) -> None:
    """Give the file system that many bytes of its one device, or all of it.

    Raises OSError (EBUSY: a balance or the like is under way; EFBIG: the device is smaller; EINVAL:
    less than 256 MiB).
    """
    wanted = "max" if size is None else str(size)
    buffer = bytearray(_VOL_ARGS.pack(0, wanted.encode("ascii")))
    if ioctls.exchange(fd, "BTRFS_IOC_RESIZE", BTRFS_IOC_RESIZE, buffer):
        # A positive answer: BTRFS_ERROR_DEV_EXCL_RUN_IN_PROGRESS.
        raise libc.failed(errno.EBUSY, "BTRFS_IOC_RESIZE", wanted, libc.path_of(fd))


def sync(fd: int) -> None:
    """Commit what was done, so that sysfs and the disk tell it."""
    ioctls.call(fd, "BTRFS_IOC_SYNC", BTRFS_IOC_SYNC)


def _named(fd: int, flags: int, name: str) -> bytearray:
    """`struct btrfs_ioctl_vol_args_v2`; a name is one component."""
    ready = libc.encoded(name)
    if not 0 < len(ready) <= _NAME_MAX or b"/" in ready:
        raise libc.failed(errno.EINVAL, "btrfs subvolume", name)
    return bytearray(_VOL_ARGS_V2.pack(fd, 0, flags, ready))


def _exchange(fd: int, operation: str, request: int, buffer: bytearray, name: str) -> None:
    try:
        ioctls.exchange(fd, operation, request, buffer)
    except OSError as error:
        raise libc.failed(error.errno or 0, operation, f"{libc.path_of(fd)}/{name}") from None


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()
