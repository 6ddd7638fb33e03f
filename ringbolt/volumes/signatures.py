"""What a device says it holds: the magic numbers that data is known by, and where they stand.

Pure: it looks at bytes through a function. What follows from a finding is decided elsewhere, and
nothing here proves that a device is empty. Offsets are those of the on-disk formats' own headers
(Linux `fs/*`, `drivers/md`, `include/uapi/linux/*`) as libblkid's superblock probes know them.
"""

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

Read = Callable[[int, int], bytes]
"""`read(offset, length)`: exactly that many bytes. Raises OSError."""

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


LUKS = "luks"


class Usage(enum.Enum):
    """What a signature marks its device as."""

    FILESYSTEM = "a file system"
    ENCRYPTION = "an encrypted volume"
    RAID = "a member of a RAID"
    VOLUMES = "part of a volume manager"
    PARTITIONS = "a partition table"
    SWAP = "swap space"
    STORE = "the store of another program"


class Signature(NamedTuple):
    """One that was found: `copy` where it is a format's spare, not what a mount would read."""

    name: str
    usage: Usage
    offset: int
    copy: bool = False

    def __str__(self) -> str:
        spare = " (a spare copy)" if self.copy else ""
        return f"{self.name} at byte {self.offset}{spare}"


@dataclass(frozen=True, slots=True)
class _Magic:
    """`magic` at `offset`; a negative offset counts from the end."""

    name: str
    usage: Usage
    offset: int
    magic: bytes
    copy: bool = False


_FS, _RAID, _CRYPT = Usage.FILESYSTEM, Usage.RAID, Usage.ENCRYPTION
_LVM, _PARTS, _STORE = Usage.VOLUMES, Usage.PARTITIONS, Usage.STORE

_FILESYSTEMS = (
    _Magic("ext4", _FS, 0x438, b"\x53\xef"),
    _Magic("xfs", _FS, 0, b"XFSB"),
    _Magic("xfs log", _FS, 0, b"\xfe\xed\xba\xbe"),
    _Magic("btrfs", _FS, 0x10040, b"_BHRfS_M"),
    _Magic("btrfs", _FS, 64 * MIB + 0x40, b"_BHRfS_M", copy=True),
    _Magic("btrfs", _FS, 256 * GIB + 0x40, b"_BHRfS_M", copy=True),
    _Magic("f2fs", _FS, 0x400, b"\x10\x20\xf5\xf2"),
    _Magic("f2fs", _FS, 0x1400, b"\x10\x20\xf5\xf2", copy=True),
    _Magic("bcachefs", _FS, 0x1018, bytes.fromhex("c68573f666ce90a9d96a60cf803df7ef")),
    _Magic("ntfs", _FS, 3, b"NTFS    "),
    _Magic("exfat", _FS, 3, b"EXFAT   "),
    _Magic("vfat", _FS, 0x52, b"FAT32   "),
    _Magic("vfat", _FS, 0x36, b"FAT1"),
    _Magic("vfat", _FS, 0x36, b"FAT     "),
    _Magic("refs", _FS, 3, b"\0\0\0ReFS\0"),
    _Magic("iso9660", _FS, 0x8001, b"CD001"),
    _Magic("udf", _FS, 0x8001, b"BEA01"),
    _Magic("udf", _FS, 0x8001, b"NSR0"),
    _Magic("jfs", _FS, 0x8000, b"JFS1"),
    _Magic("reiserfs", _FS, 0x10034, b"ReIsEr"),
    _Magic("reiserfs", _FS, 0x2034, b"ReIsEr"),
    _Magic("reiser4", _FS, 0x10000, b"ReIsEr4"),
    _Magic("nilfs2", _FS, 0x406, b"\x34\x34"),
    _Magic("squashfs", _FS, 0, b"hsqs"),
    _Magic("erofs", _FS, 0x400, b"\xe2\xe1\xf5\xe0"),
    _Magic("cramfs", _FS, 0, b"\x45\x3d\xcd\x28"),
    _Magic("cramfs", _FS, 0, b"\x28\xcd\x3d\x45"),
    _Magic("romfs", _FS, 0, b"-rom1fs-"),
    _Magic("hfs", _FS, 0x400, b"BD"),
    _Magic("hfsplus", _FS, 0x400, b"H+"),
    _Magic("hfsplus", _FS, 0x400, b"HX"),
    _Magic("apfs", _FS, 0x20, b"NXSB"),
    _Magic("gfs2", _FS, 0x10000, b"\x01\x16\x19\x70"),
    *(_Magic("ocfs2", _FS, size, b"OCFSV2") for size in (KIB, 2 * KIB, 4 * KIB)),
    *(_Magic("minix", _FS, 0x410, magic) for magic in (b"\x7f\x13", b"\x8f\x13")),
    *(_Magic("minix", _FS, 0x410, magic) for magic in (b"\x68\x24", b"\x78\x24")),
    _Magic("ubifs", _FS, 0, b"\x31\x18\x10\x06"),
    _Magic("ubi", _LVM, 0, b"UBI#"),
    _Magic("vmfs", _FS, 2 * MIB, b"\x5e\xf1\xab\x2f"),
    _Magic("vmfs volume", _LVM, MIB, b"\x0d\xd0\x01\xc0"),
    _Magic("zonefs", _FS, 0, b"SFOZ"),
)

_CONTAINERS = (
    _Magic(LUKS, _CRYPT, 0, b"LUKS\xba\xbe"),
    *(_Magic(LUKS, _CRYPT, 0x4000 << step, b"SKUL\xba\xbe", copy=True) for step in range(9)),
    _Magic("bitlocker", _CRYPT, 3, b"-FVE-FS-"),
    *(_Magic("lvm2", _LVM, sector * 512, b"LABELONE") for sector in range(4)),
    _Magic("md raid 1.1", _RAID, 0, b"\xfc\x4e\x2b\xa9"),
    _Magic("md raid 1.2", _RAID, 0x1000, b"\xfc\x4e\x2b\xa9"),
    _Magic("ddf raid", _RAID, -512, b"\xde\x11\xde\x11"),
    _Magic("intel raid", _RAID, -1024, b"Intel Raid ISM Cfg Sig. "),
    _Magic("nvidia raid", _RAID, -1024, b"NVIDIA"),
    _Magic("promise raid", _RAID, -63 * 512, b"Promise Technology, Inc."),
    _Magic("lsi raid", _RAID, -512, b"$XIDE$"),
    _Magic("jmicron raid", _RAID, -512, b"JM"),
    _Magic("bcache", _LVM, 0x1018, bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81")),
    _Magic("bluestore", _STORE, 0, b"bluestore block device"),
    _Magic("vdo", _LVM, 0, b"dmvdo001"),
    _Magic("stratis", _LVM, 0x204, b"!Stra0tis\x86\xff\x02^\x41rh"),
    _Magic("oracle asm", _STORE, 0x20, b"ORCLDISK"),
    _Magic("verity", _STORE, 0, b"verity\0\0"),
    *(_Magic("swap", Usage.SWAP, (4096 << step) - 10, b"SWAPSPACE2") for step in range(5)),
    *(_Magic("swap", Usage.SWAP, (4096 << step) - 10, b"SWAP-SPACE") for step in range(5)),
    *(_Magic("suspend image", Usage.SWAP, (4096 << step) - 10, b"S1SUSPEND") for step in range(5)),
)

_TABLES = (
    _Magic("gpt", _PARTS, 512, b"EFI PART"),
    _Magic("gpt", _PARTS, 4096, b"EFI PART"),
    _Magic("gpt", _PARTS, -512, b"EFI PART", copy=True),
    _Magic("gpt", _PARTS, -4096, b"EFI PART", copy=True),
    _Magic("dos partition table or boot sector", _PARTS, 510, b"\x55\xaa"),
    _Magic("sun disk label", _PARTS, 508, b"\xda\xbe"),
    _Magic("sgi disk label", _PARTS, 0, b"\x0b\xe5\xa9\x41"),
    _Magic("mac partition map", _PARTS, 512, b"PM\0\0"),
    _Magic("bsd disk label", _PARTS, 512, b"\x57\x45\x56\x82"),
    *(_Magic("amiga disk block", _PARTS, sector * 512, b"RDSK") for sector in range(16)),
)

_FIXED = (*_FILESYSTEMS, *_CONTAINERS, *_TABLES)

_EXT_MAGIC, _EXT_MAGIC_AT = b"\x53\xef", 0x38
_EXT_SPARES = (8193 * KIB, 16384 * 2 * KIB, 32768 * 4 * KIB)
"""Where block group 1 begins with blocks of 1, 2 and 4 KiB: its superblock is the first spare."""

_MD = b"\xfc\x4e\x2b\xa9"
_ZFS_LABEL = 256 * KIB
_ZFS_RING = 128 * KIB
"""Where in a label its uberblocks begin, one each KiB or rarer up to its end."""
_ZFS_MAGIC = frozenset({b"\x0c\xb1\xba\0\0\0\0\0", b"\0\0\0\0\0\xba\xb1\x0c"})


def find_signatures(read: Read, size: int) -> tuple[Signature, ...]:
    """Every known signature on a device of `size` bytes, in the order of their offsets.

    Raises OSError as `read` does: a place that cannot be read is not one without a signature.
    """
    window = _Window(read, size)
    found = {*_fixed(window), *_ext_spares(window), *_xfs_spares(window)}
    found |= {*_md_at_end(window), *_zfs(window), *_nilfs2_spare(window)}
    return tuple(sorted(found, key=lambda one: (one.offset, one.name)))


class _Window:
    """Reads the first and the last MiB once, and all else as it is asked for."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self.size = size
        self._head = read(0, min(size, MIB)) if size > 0 else b""
        self._tail_at = max(size - MIB, 0)
        self._tail = read(self._tail_at, size - self._tail_at) if size > 0 else b""

    def holds(self, offset: int, magic: bytes) -> bool:
        """Whether `magic` stands at `offset`; beyond the device nothing does."""
        end = offset + len(magic)
        if offset < 0 or end > self.size:
            return False
        if end <= len(self._head):
            return self._head.startswith(magic, offset)
        if offset >= self._tail_at:
            return self._tail.startswith(magic, offset - self._tail_at)
        return self._read(offset, len(magic)) == magic

    def part(self, begin: int, end: int) -> bytes:
        """What stands from `begin` on, as far as the device goes."""
        end = min(end, self.size)
        if begin >= end:
            return b""
        if end <= len(self._head):
            return self._head[begin:end]
        if begin >= self._tail_at:
            return self._tail[begin - self._tail_at : end - self._tail_at]
        return self._read(begin, end - begin)


def _fixed(window: _Window) -> Iterator[Signature]:
    for known in _FIXED:
        offset = known.offset if known.offset >= 0 else window.size + known.offset
        if window.holds(offset, known.magic):
            yield Signature(known.name, known.usage, offset, known.copy)


def _ext_spares(window: _Window) -> Iterator[Signature]:
    for begin in _EXT_SPARES:
        if window.holds(begin + _EXT_MAGIC_AT, _EXT_MAGIC):
            yield Signature("ext4", _FS, begin + _EXT_MAGIC_AT, copy=True)


def _xfs_spares(window: _Window) -> Iterator[Signature]:
    """mkfs.xfs makes four allocation groups unless told otherwise, each with a superblock."""
    blocks = window.size // 4096
    for begin in sorted({blocks // 4 * 4096, -(-blocks // 4) * 4096, blocks // 2 * 4096} - {0}):
        if window.holds(begin, b"XFSB"):
            yield Signature("xfs", _FS, begin, copy=True)


def _md_at_end(window: _Window) -> Iterator[Signature]:
    """Metadata 0.90 and 1.0, where a member looks like the array's file system from its begin."""
    old = (window.size & ~0xFFFF) - 0x10000
    new = (window.size // 512 - 16 & ~7) * 512
    for name, offset in (("md raid 0.90", old), ("md raid 1.0", new)):
        if window.holds(offset, _MD) or window.holds(offset, _MD[::-1]):
            yield Signature(name, _RAID, offset)


def _zfs(window: _Window) -> Iterator[Signature]:
    aligned = window.size - window.size % _ZFS_LABEL
    for label in (0, _ZFS_LABEL, aligned - 2 * _ZFS_LABEL, aligned - _ZFS_LABEL):
        begin = max(label + _ZFS_RING, 0)
        ring = window.part(begin, label + _ZFS_LABEL)
        found = [at for magic in _ZFS_MAGIC if (at := _find_each(ring, magic, KIB)) is not None]
        if found:
            yield Signature("zfs", _LVM, begin + min(found))


def _find_each(data: bytes, magic: bytes, step: int) -> int | None:
    """The first multiple of `step` at which `magic` stands.

    What is looked for is the part of it that is not zero: most of a device is.
    """
    core = magic.strip(b"\0")
    inside = magic.index(core)
    found = data.find(core)
    while found >= 0:
        at = found - inside
        if at % step == 0 and data.startswith(magic, at):
            return at
        found = data.find(core, found + 1)
    return None


def _nilfs2_spare(window: _Window) -> Iterator[Signature]:
    offset = (window.size & ~0xFFF) - 0x1000 + 6
    if window.holds(offset, b"\x34\x34"):
        yield Signature("nilfs2", _FS, offset, copy=True)
