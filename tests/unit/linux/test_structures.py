"""Sizes and numbers that the kernel's headers fix, and structures read as values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.linux import fscrypt, inode_flags, quota, reflink, statx


def test_request_numbers_are_those_of_the_headers() -> None:
    assert inode_flags.FS_IOC_GETFLAGS == 0x80086601
    assert inode_flags.FS_IOC_SETFLAGS == 0x40086602
    assert inode_flags.FS_IOC_FSGETXATTR == 0x801C581F
    assert inode_flags.FS_IOC_FSSETXATTR == 0x401C5820
    assert reflink.FICLONE == 0x40049409
    assert fscrypt.FS_IOC_SET_ENCRYPTION_POLICY == 0x800C6613
    assert fscrypt.FS_IOC_GET_ENCRYPTION_POLICY_EX == 0xC0096616
    assert fscrypt.FS_IOC_ADD_ENCRYPTION_KEY == 0xC0506617
    assert fscrypt.FS_IOC_REMOVE_ENCRYPTION_KEY == 0xC0406618
    assert fscrypt.FS_IOC_GET_ENCRYPTION_KEY_STATUS == 0xC080661A


def u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


@given(st.binary(min_size=256, max_size=256))
def test_any_statx_is_read(data: bytes) -> None:
    found = statx.parse_statx(data)
    mask, known = u32(data, 0), u64(data, 56)
    assert (found.uid, found.gid, found.inode) == (u32(data, 20), u32(data, 24), u64(data, 32))
    assert found.device == (u32(data, 136), u32(data, 140))
    assert found.rdev == (u32(data, 128), u32(data, 132))
    assert found.attributes & ~known == 0
    assert found.mount_id == (u64(data, 144) if mask & 0x5000 else None)
    assert found.subvolume == (u64(data, 160) if mask & 0x8000 else None)
    assert (found.mount_root is None) == (not known & statx.STATX_ATTR_MOUNT_ROOT)


@given(st.binary(min_size=72, max_size=72))
def test_any_quota_is_read(data: bytes) -> None:
    assert quota.parse_quota(data) == quota.ProjectQuota(
        u64(data, 0) * 1024, u64(data, 16), u64(data, 24), u64(data, 40)
    )


@given(st.binary(min_size=23, max_size=23))
def test_any_policy_of_version_2_is_read(rest: bytes) -> None:
    found = fscrypt.parse_policy(b"\2" + rest)
    assert (found.contents_mode, found.filenames_mode, found.flags) == tuple(rest[:3])
    assert found.identifier == rest[7:]


def test_a_policy_of_version_1_is_refused() -> None:
    with pytest.raises(OSError, match="version 1"):
        fscrypt.parse_policy(b"\1" + bytes(23))
