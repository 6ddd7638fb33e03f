"""What superblocks say, on bytes laid out as the formats' documents have it."""

import struct
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.volumes.errors import MismatchError
from ringbolt.volumes.spec import FsType
from ringbolt.volumes.superblock import Superblock, read_superblock
from tests.unit.volumes.disks import Disk

NAME = uuid.UUID("7c9ef7a1-3e1e-4b2f-9f6e-0d6a1c1b2a3d")


def ext4(state: int = 1, incompatible: int = 0, mounted: int = 0) -> Superblock:
    data = bytearray(1024)
    struct.pack_into("<I", data, 0x4, 25600)
    struct.pack_into("<I", data, 0x18, 2)
    struct.pack_into("<I", data, 0x2C, mounted)
    struct.pack_into("<H", data, 0x3A, state)
    struct.pack_into("<I", data, 0x60, incompatible)
    data[0x68:0x78] = NAME.bytes
    data[0x78:0x7C] = b"data"
    return read_superblock(Disk(content={0x400: bytes(data)}).read, FsType.EXT4)


def test_a_clean_ext4() -> None:
    found = ext4()
    assert (found.uuid, found.label, found.size) == (NAME, "data", 25600 * 4096)
    assert (found.faults, found.fresh, found.unfinished) == ((), True, False)


def test_an_ext4_that_saw_errors() -> None:
    assert ext4(state=3, mounted=1).faults == ("errors were seen on it",)


def test_a_crashed_ext4_with_a_journal_needs_no_check() -> None:
    assert ext4(state=0, incompatible=0x4).faults == ()


def test_a_crashed_ext4_without_a_journal_needs_one() -> None:
    assert ext4(state=0).faults == ("it was not unmounted cleanly and has no journal to replay",)


def test_a_journal_on_its_own_is_no_file_system() -> None:
    with pytest.raises(MismatchError, match="journal"):
        ext4(incompatible=0x8)


def test_an_ext4_with_keys_for_directories() -> None:
    assert ext4(incompatible=0x10000).encryptable


def test_an_xfs_that_mkfs_did_not_finish() -> None:
    data = bytearray(512)
    struct.pack_into(">IQ", data, 4, 4096, 100_000)
    data[0x20:0x30] = NAME.bytes
    data[0x7E] = 1
    found = read_superblock(Disk(content={0: bytes(data)}).read, FsType.XFS)
    assert (found.uuid, found.size, found.unfinished) == (NAME, 409_600_000, True)


def test_a_btrfs() -> None:
    data = bytearray(1024)
    data[0x20:0x30] = NAME.bytes
    struct.pack_into("<Q", data, 0x70, 1 << 30)
    data[0x12B:0x130] = b"label"
    found = read_superblock(Disk(content={0x10000: bytes(data)}).read, FsType.BTRFS)
    assert (found.uuid, found.size, found.label) == (NAME, 1 << 30, "label")


@given(st.sampled_from(FsType), st.binary(min_size=1024, max_size=1024))
def test_any_bytes_are_a_superblock_or_refused(fs_type: FsType, data: bytes) -> None:
    at = {FsType.EXT4: 0x400, FsType.XFS: 0, FsType.BTRFS: 0x10000}[fs_type]
    try:
        found = read_superblock(Disk(content={at: data}).read, fs_type)
    except MismatchError:
        return
    assert found.fs_type is fs_type
    assert found.size >= 0
