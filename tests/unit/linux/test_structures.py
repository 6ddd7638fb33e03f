"""Sizes and numbers that the kernel's headers fix, and structures read as values."""

import struct
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ringbolt.linux import (
    btrfs,
    ext4,
    fanotify,
    freeze,
    fscrypt,
    inode_flags,
    quota,
    reflink,
    statx,
    xfs,
)


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


def test_request_numbers_of_file_systems_are_those_of_the_headers() -> None:
    assert btrfs.BTRFS_IOC_RESIZE == 0x50009403
    assert btrfs.BTRFS_IOC_INO_LOOKUP == 0xD0009412
    assert btrfs.BTRFS_IOC_SUBVOL_CREATE_V2 == 0x50009418
    assert btrfs.BTRFS_IOC_FS_INFO == 0x8400941F
    assert btrfs.BTRFS_IOC_QUOTA_CTL == 0xC0109428
    assert btrfs.BTRFS_IOC_QGROUP_LIMIT == 0x8030942B
    assert btrfs.BTRFS_IOC_GET_SUBVOL_INFO == 0x81F8943C
    assert btrfs.BTRFS_IOC_SNAP_DESTROY_V2 == 0x5000943F
    assert ext4.EXT4_IOC_RESIZE_FS == 0x40086610
    assert xfs.XFS_IOC_FSGEOMETRY == 0x8100587E
    assert xfs.XFS_IOC_FSGROWFSDATA == 0x4010586E
    assert (freeze.FIFREEZE, freeze.FITHAW) == (0xC0045877, 0xC0045878)
    assert freeze.FITRIM == 0xC0185879
    assert quota.qcmd(quota.Q_SETQUOTA) == 0x80000802


@given(st.binary(min_size=504, max_size=504))
def test_any_subvolume_is_read(data: bytes) -> None:
    found = btrfs.parse_subvolume(data)
    assert found.number == u64(data, 0)
    assert found.parent_number == u64(data, 264)
    assert found.readonly == bool(u64(data, 288) & 1)
    assert found.uuid.bytes == data[296:312]
    assert found.received.bytes == data[328:344]


@given(st.binary(min_size=256, max_size=256))
def test_any_geometry_is_read(data: bytes) -> None:
    found = xfs.parse_geometry(data)
    assert (found.block_size, found.sector_size) == (u32(data, 0), u32(data, 20))
    assert (found.allocation_groups, found.inode_percent) == (u32(data, 12), u32(data, 28))
    assert found.data_blocks == u64(data, 32)
    assert found.uuid.bytes == data[64:80]


def event(mask: int, *records: bytes) -> bytes:
    body = b"".join(records)
    return struct.pack("=IBBHQii", 24 + len(body), 3, 0, 24, mask, -1, 0) + body


def record(kind: int, body: bytes) -> bytes:
    return struct.pack("=BBH", kind, 0, 4 + len(body)) + body


@given(st.integers(0, 2**32 - 1), st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1))
def test_events_are_read_one_after_the_other(fsid: int, number: int, count: int) -> None:
    handle = struct.pack("=Ii8x", 8, 1)
    data = event(
        fanotify.FAN_FS_ERROR,
        record(5, struct.pack("=iI", number, count)),
        record(1, struct.pack("=II", fsid, 1) + handle),
    )
    data += event(fanotify.FAN_MNT_DETACH, record(7, struct.pack("=4xQ", 77)))
    data += event(0x4000) + event(fanotify.FAN_MNT_ATTACH, record(99, b"later"))
    assert list(fanotify.parse_events(data)) == [
        fanotify.FileSystemError((fsid, 1), number, count),
        fanotify.MountChange(77, attached=False, detached=True),
        fanotify.Overflow(),
    ]


def test_half_an_event_is_none() -> None:
    whole = event(fanotify.FAN_MNT_DETACH, record(7, struct.pack("=4xQ", 77)), bytes(8))
    assert len(list(fanotify.parse_events(whole))) == 1
    assert list(fanotify.parse_events(whole[:-1])) == []


@given(st.binary(max_size=200))
@example(bytes(8))
def test_no_bytes_crash_or_hang_the_reader_of_events(data: bytes) -> None:
    list(fanotify.parse_events(data))
    list(fanotify.parse_events(event(fanotify.FAN_FS_ERROR, data)))


def test_use_is_read_from_sysfs(tmp_path: Path) -> None:
    own = UUID(int=7)
    folder = tmp_path / "fs/btrfs" / str(own) / "qgroups/0_256"
    folder.mkdir(parents=True)
    for name, text in (("referenced", "10"), ("exclusive", "5"), ("max_referenced", "20")):
        (folder / name).write_text(f"{text}\n")
    (folder / "limit_flags").write_text("0x1\n")
    assert btrfs.read_use(own, 256, tmp_path) == btrfs.QgroupUse(10, 5, 20)
    (folder / "limit_flags").write_text("0\n")
    assert btrfs.read_use(own, 256, tmp_path) == btrfs.QgroupUse(10, 5, None)
