"""Which findings make a device one to mount, and which are refused."""

import pytest

from ringbolt.volumes.content import judge
from ringbolt.volumes.errors import MismatchError
from ringbolt.volumes.signatures import Signature, Usage
from ringbolt.volumes.spec import FsType

EXT4 = Signature("ext4", Usage.FILESYSTEM, 0x438)
XFS = Signature("xfs", Usage.FILESYSTEM, 0)
RAID = Signature("md raid 1.0", Usage.RAID, 1 << 29)
GPT = Signature("gpt", Usage.PARTITIONS, 512)
BOOT = Signature("dos partition table or boot sector", Usage.PARTITIONS, 510)
OLD_XFS = Signature("xfs", Usage.FILESYSTEM, 1 << 28, copy=True)
OLD_GPT = Signature("gpt", Usage.PARTITIONS, (1 << 30) - 512, copy=True)


@pytest.mark.parametrize(
    ("found", "fs_type"),
    [
        ((), None),
        ((EXT4,), FsType.EXT4),
        ((XFS,), FsType.XFS),
        ((EXT4, OLD_XFS, OLD_GPT), FsType.EXT4),
        ((EXT4, BOOT), FsType.EXT4),
    ],
)
def test_one_file_system_or_nothing_known(
    found: tuple[Signature, ...], fs_type: FsType | None
) -> None:
    assert judge(found, "/dev/sda") is fs_type


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ((EXT4, RAID), "md raid 1.0 at byte 536870912 .a member of a RAID."),
        ((EXT4, XFS), "ext4 at byte 1080 .a file system., xfs at byte 0"),
        ((Signature("luks", Usage.ENCRYPTION, 0),), "luks at byte 0"),
        ((Signature("swap", Usage.SWAP, 4086),), "swap at byte 4086"),
        ((Signature("ntfs", Usage.FILESYSTEM, 3),), "ntfs at byte 3"),
        ((GPT,), "gpt at byte 512 .a partition table."),
        ((OLD_XFS,), "xfs at byte 268435456 .a spare copy."),
    ],
)
def test_everything_else_is_told_and_refused(found: tuple[Signature, ...], told: str) -> None:
    with pytest.raises(MismatchError, match=told):
        judge(found, "/dev/sda")
