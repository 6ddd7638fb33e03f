"""Every format is known by its magic where it stands, and nowhere else."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ringbolt.volumes.signatures import KIB, MIB, Usage, find_signatures
from tests.unit.volumes.disks import GIB, Disk

SIZE = 64 * MIB

KNOWN = [
    ("ext4", 0x438, b"\x53\xef"),
    ("xfs", 0, b"XFSB"),
    ("btrfs", 0x10040, b"_BHRfS_M"),
    ("f2fs", 0x400, b"\x10\x20\xf5\xf2"),
    ("ntfs", 3, b"NTFS    "),
    ("vfat", 0x52, b"FAT32   "),
    ("exfat", 3, b"EXFAT   "),
    ("iso9660", 0x8001, b"CD001"),
    ("squashfs", 0, b"hsqs"),
    ("erofs", 0x400, b"\xe2\xe1\xf5\xe0"),
    ("luks", 0, b"LUKS\xba\xbe"),
    ("lvm2", 512, b"LABELONE"),
    ("swap", 4086, b"SWAPSPACE2"),
    ("md raid 1.2", 4096, b"\xfc\x4e\x2b\xa9"),
    ("md raid 0.90", SIZE - 64 * KIB, b"\xfc\x4e\x2b\xa9"),
    ("md raid 1.0", SIZE - 8 * KIB, b"\xfc\x4e\x2b\xa9"),
    ("intel raid", SIZE - 1024, b"Intel Raid ISM Cfg Sig. "),
    ("bluestore", 0, b"bluestore block device"),
    ("zfs", 128 * KIB, b"\x0c\xb1\xba\0\0\0\0\0"),
    ("gpt", 512, b"EFI PART"),
    ("dos partition table or boot sector", 510, b"\x55\xaa"),
]
SPARES = [
    (SIZE, "gpt", SIZE - 512, b"EFI PART"),
    (SIZE, "luks", 0x4000, b"SKUL\xba\xbe"),
    (SIZE, "luks", 4 * MIB, b"SKUL\xba\xbe"),
    (256 * MIB, "btrfs", 64 * MIB + 0x40, b"_BHRfS_M"),
    (256 * MIB, "ext4", 32768 * 4096 + 0x38, b"\x53\xef"),
    (SIZE, "ext4", 8193 * 1024 + 0x38, b"\x53\xef"),
    (256 * MIB, "xfs", 64 * MIB, b"XFSB"),
    (SIZE, "nilfs2", SIZE - 4096 + 6, b"\x34\x34"),
]


@pytest.mark.parametrize(("name", "offset", "magic"), KNOWN)
def test_a_format_is_known_by_its_magic(name: str, offset: int, magic: bytes) -> None:
    found = find_signatures(Disk(SIZE, {offset: magic}).read, SIZE)
    assert [(one.name, one.offset, one.copy) for one in found] == [(name, offset, False)]


@pytest.mark.parametrize(("size", "name", "offset", "magic"), SPARES)
def test_a_spare_tells_what_was_there(size: int, name: str, offset: int, magic: bytes) -> None:
    found = find_signatures(Disk(size, {offset: magic}).read, size)
    assert [(one.name, one.copy) for one in found] == [(name, True)]


def test_several_are_told_in_their_order() -> None:
    disk = Disk(SIZE, {SIZE - 8 * KIB: b"\xfc\x4e\x2b\xa9", 0x438: b"\x53\xef"})
    found = find_signatures(disk.read, SIZE)
    assert [(one.name, one.usage) for one in found] == [
        ("ext4", Usage.FILESYSTEM),
        ("md raid 1.0", Usage.RAID),
    ]
    assert str(found[0]) == "ext4 at byte 1080"


@given(
    st.integers(130 * KIB, 3 * MIB),
    st.sampled_from([0, 1, -2, -1]),
    st.integers(128, 255),
    st.integers(0, KIB - 1),
)
def test_a_pool_is_known_by_any_of_its_uberblocks(
    size: int, label: int, block: int, beside: int
) -> None:
    begin = (0 if label >= 0 else size // (256 * KIB)) + label
    offset = begin * 256 * KIB + block * KIB + beside
    assume(0 <= offset <= size - 8)
    found = find_signatures(Disk(size, {offset: b"\0\0\0\0\0\xba\xb1\x0c"}).read, size)
    assert [(one.name, one.offset) for one in found] == [("zfs", offset)] * (not beside)


@given(st.integers(0, 3 * MIB))
def test_no_device_is_read_beyond_its_ends(size: int) -> None:
    assert find_signatures(Disk(size).read, size) == ()


def test_what_cannot_be_read_has_not_been_looked_at() -> None:
    disk = Disk(SIZE, bad=(range(4 * MIB, 4 * MIB + 512),))
    with pytest.raises(OSError, match="Input/output error"):
        find_signatures(disk.read, SIZE)


def test_a_large_disk_costs_few_reads() -> None:
    disk = Disk(16 << 40)
    find_signatures(disk.read, disk.size)
    assert sum(len(place) for place in disk.reads) < 3 * MIB
    assert any(place.start > 256 * GIB for place in disk.reads)
