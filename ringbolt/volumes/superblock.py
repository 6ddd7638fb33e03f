"""What a file system says of itself, read from its superblock before it is mounted.

Pure: bytes to values, through a function. Layouts: Documentation/filesystems/ext4 (super block),
fs/xfs/libxfs/xfs_format.h (`xfs_dsb`), uapi/linux/btrfs_tree.h (`btrfs_super_block`).
"""

import struct
import uuid
from dataclasses import dataclass

from ringbolt.volumes.errors import MismatchError
from ringbolt.volumes.signatures import Read
from ringbolt.volumes.spec import FsType

EXT4_AT = 0x400
XFS_AT = 0
BTRFS_AT = 0x10000

_EXT4_STATE_VALID, _EXT4_STATE_ERRORS = 0x1, 0x2
_EXT4_JOURNAL_DEVICE = 0x8
_EXT4_RECOVER = 0x4
_EXT4_64BIT = 0x80
_EXT4_ENCRYPT = 0x10000


@dataclass(frozen=True, slots=True)
class Superblock:
    """`size` in bytes of the device that it was made for.

    `faults`: what it says is wrong with it, which a check is due for. `unfinished`: it was being
    made when that ended. `encryptable`: directories can have keys of their own (fscrypt).
    """

    fs_type: FsType
    uuid: uuid.UUID
    label: str
    size: int
    faults: tuple[str, ...] = ()
    unfinished: bool = False
    fresh: bool = False
    encryptable: bool = False


def read_superblock(read: Read, fs_type: FsType) -> Superblock:
    """The superblock of a file system whose signature was found. Raises MismatchError, OSError."""
    match fs_type:
        case FsType.EXT4:
            return _ext4(read(EXT4_AT, 0x400))
        case FsType.XFS:
            return _xfs(read(XFS_AT, 0x200))
        case FsType.BTRFS:
            return _btrfs(read(BTRFS_AT, 0x400))


def _ext4(data: bytes) -> Superblock:
    (blocks,) = struct.unpack_from("<I", data, 0x4)
    (shift,) = struct.unpack_from("<I", data, 0x18)
    (state,) = struct.unpack_from("<H", data, 0x3A)
    (incompatible,) = struct.unpack_from("<I", data, 0x60)
    if incompatible & _EXT4_JOURNAL_DEVICE:
        raise MismatchError("it is the journal of an ext4 file system, not the file system")
    if shift > 6:  # noqa: PLR2004 - blocks of 64 KiB are the largest
        raise MismatchError("its ext4 superblock makes no sense: it is damaged")
    if incompatible & _EXT4_64BIT:
        blocks |= struct.unpack_from("<I", data, 0x150)[0] << 32
    return Superblock(
        FsType.EXT4,
        uuid.UUID(bytes=data[0x68:0x78]),
        _text(data[0x78:0x88]),
        blocks << 10 + shift,
        _ext4_faults(state, journal=bool(incompatible & _EXT4_RECOVER)),
        fresh=not any(data[0x2C:0x30]),  # s_mtime, of the last mount
        encryptable=bool(incompatible & _EXT4_ENCRYPT),
    )


def _ext4_faults(state: int, *, journal: bool) -> tuple[str, ...]:
    """With a journal to replay an unclean state is a crash, which the kernel puts right alone."""
    faults: list[str] = []
    if state & _EXT4_STATE_ERRORS:
        faults.append("errors were seen on it")
    if not state & _EXT4_STATE_VALID and not journal:
        faults.append("it was not unmounted cleanly and has no journal to replay")
    return tuple(faults)


def _xfs(data: bytes) -> Superblock:
    block_size, blocks = struct.unpack_from(">IQ", data, 4)
    return Superblock(
        FsType.XFS,
        uuid.UUID(bytes=data[0x20:0x30]),
        _text(data[0x6C:0x78]),
        block_size * blocks,
        unfinished=bool(data[0x7E]),
    )


def _btrfs(data: bytes) -> Superblock:
    return Superblock(
        FsType.BTRFS,
        uuid.UUID(bytes=data[0x20:0x30]),
        _text(data[0x12B:0x22B]),
        struct.unpack_from("<Q", data, 0x70)[0],
    )


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "replace")
