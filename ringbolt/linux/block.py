"""Block devices: the ioctls of linux/fs.h, and what sysfs knows of a device by its number.

Facts only: whether a device may be used for something is its caller's affair. Sizes are bytes.
Sysfs as Documentation/ABI/stable/sysfs-block has it, udev's data base as `udevadm info` reads it.
"""

import errno
import os
import stat
import struct
from pathlib import Path
from typing import NamedTuple

from ringbolt.linux import ioctls, libc

BLKROGET = 0x125E
BLKFLSBUF = 0x1261
BLKSSZGET = 0x1268
BLKPBSZGET = 0x127B
BLKGETSIZE64 = 0x80081272
BLKGETDISKSEQ = 0x80081280

SYSFS = Path("/sys")
UDEV = Path("/run/udev")

_INT = struct.Struct("=i")
_U64 = struct.Struct("=Q")


class Queue(NamedTuple):
    """What a disk does with space given back; `discard_max` 0 where it takes no discard.

    After a discard a block device may answer anything: the kernel has promised no zeroes since
    Linux 4.12, `write_zeroes_max` alone is about zeroes.
    """

    rotational: bool
    discard_granularity: int
    discard_max: int
    write_zeroes_max: int


def open_exclusive(path: str, *, write: bool = True, device: int | None = None) -> int:
    """Open a block device and claim it, `device` being the `st_rdev` that it must have.

    What stands there is looked at before it is opened, so nothing else is ever touched. Raises
    OSError (EBUSY: mounted, held, or claimed; ENOTBLK; ENXIO: another device stands there).
    """
    there = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        _check_number(path, os.fstat(there), device)
        access = os.O_RDWR if write else os.O_RDONLY
        return os.open(f"/proc/self/fd/{there}", access | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        if error.filename is None:
            raise
        raise libc.failed(error.errno or 0, "open", path, "O_EXCL") from None
    finally:
        os.close(there)


def _check_number(path: str, found: os.stat_result, wanted: int | None) -> None:
    if not stat.S_ISBLK(found.st_mode):
        raise libc.failed(errno.ENOTBLK, "open", path)
    if wanted not in (None, found.st_rdev):
        text = f"is {_shown(found.st_rdev)}, not {_shown(wanted)}"
        raise libc.failed(errno.ENXIO, "open", path, text)


def size(fd: int) -> int:
    """Bytes of the device."""
    return _read("BLKGETSIZE64", BLKGETSIZE64, fd, _U64)


def logical_sector(fd: int) -> int:
    """The smallest unit that it reads and writes."""
    return _read("BLKSSZGET", BLKSSZGET, fd, _INT)


def physical_sector(fd: int) -> int:
    """The unit that it writes without reading first."""
    return _read("BLKPBSZGET", BLKPBSZGET, fd, _INT)


def is_read_only(fd: int) -> bool:
    """Whether it takes no writes."""
    return bool(_read("BLKROGET", BLKROGET, fd, _INT))


def sequence(fd: int) -> int:
    """The kernel's number of this disk, given to no other until the next boot. Linux 5.15."""
    return _read("BLKGETDISKSEQ", BLKGETDISKSEQ, fd, _U64)


def flush(fd: int) -> None:
    """Write back and forget what is cached of it, so that the next read asks the device."""
    ioctls.call(fd, "BLKFLSBUF", BLKFLSBUF)


def directory(device: int, sysfs: Path = SYSFS) -> Path:
    """Its directory in sysfs, by its number (`st_rdev`). Raises OSError (ENOENT: it is gone)."""
    return (sysfs / "dev" / "block" / _shown(device)).resolve(strict=True)


def holders(device: int, sysfs: Path = SYSFS) -> tuple[str, ...]:
    """Names of the block devices that are made of it: RAID, device mapper, bcache."""
    return _names(directory(device, sysfs) / "holders")


def partitions(device: int, sysfs: Path = SYSFS) -> tuple[str, ...]:
    """Names of its partitions that the kernel knows."""
    here = directory(device, sysfs)
    return tuple(name for name in _names(here) if (here / name / "partition").is_file())


def serial(device: int, sysfs: Path = SYSFS) -> str:
    """Its serial number, of the disk for a partition; empty where none is told."""
    return _of_disk(device, sysfs, ("serial", "device/serial"))


def wwid(device: int, sysfs: Path = SYSFS) -> str:
    """Its world-wide name (eui., naa., t10.), of the disk for a partition; empty where none is."""
    return _of_disk(device, sysfs, ("wwid", "device/wwid"))


def partition(device: int, sysfs: Path = SYSFS) -> int:
    """Its number as a partition; 0 for a whole disk."""
    return int(_text(directory(device, sysfs) / "partition") or 0)


def name(device: int, sysfs: Path = SYSFS) -> str:
    """The kernel's name: `sda1`."""
    return directory(device, sysfs).name


def is_removable(device: int, sysfs: Path = SYSFS) -> bool:
    """Whether its disk's medium can be taken out."""
    return _of_disk(device, sysfs, ("removable",)) == "1"


def queue(device: int, sysfs: Path = SYSFS) -> Queue:
    """What its disk does with space given back."""

    def number(name: str) -> int:
        return int(_of_disk(device, sysfs, (f"queue/{name}",)) or 0)

    return Queue(
        number("rotational") == 1,
        number("discard_granularity"),
        number("discard_max_bytes"),
        number("write_zeroes_max_bytes"),
    )


def properties(device: int, sysfs: Path = SYSFS) -> dict[str, str]:
    """The kernel's own properties: DEVNAME, DISKSEQ, and of a partition PARTUUID and PARTNAME."""
    return parse_properties(_text(directory(device, sysfs) / "uevent"))


def udev_properties(device: int, udev: Path = UDEV) -> dict[str, str]:
    """What udev keeps of it (ID_SERIAL, ID_PART_ENTRY_UUID, ...); empty where none runs.

    As old as the device's last event; the kernel's own facts go before it.
    """
    lines = _text(udev / "data" / f"b{_shown(device)}").splitlines()
    return parse_properties("\n".join(line[2:] for line in lines if line.startswith("E:")))


def parse_properties(text: str) -> dict[str, str]:
    """Lines of NAME=value; others are passed over."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, equals, value in pairs if equals and name}


def has_superblock(device: int, fstype: str, sysfs: Path = SYSFS) -> bool:
    """Whether a file system on it is alive in the kernel, mounted in any namespace or not at all.

    ext4, xfs, f2fs, btrfs and erofs tell it.
    """
    return fstype in live_superblocks(device, sysfs)


def live_superblocks(device: int, sysfs: Path = SYSFS) -> tuple[str, ...]:
    """The types of file systems that are alive on it, mounted in any namespace or not at all.

    A superblock outlives its last mount while a file of it is open: until then the device is in
    use. Types without a directory below /sys/fs (squashfs) do not show; O_EXCL knows of them.
    """
    own = name(device, sysfs)
    alone = {found.parent.name for found in (sysfs / "fs").glob(f"*/{own}")}
    several = {found.parts[-4] for found in (sysfs / "fs").glob(f"*/*/devices/{own}")}
    return tuple(sorted(alone | several))


def _shown(device: int | None) -> str:
    return f"{os.major(device or 0)}:{os.minor(device or 0)}"


def _of_disk(device: int, sysfs: Path, places: tuple[str, ...]) -> str:
    here = directory(device, sysfs)
    disk = here.parent if (here / "partition").is_file() else here
    return next((text for place in places if (text := _text(disk / place))), "")


def _names(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(os.listdir(folder)))
    except FileNotFoundError:
        return ()


def _text(file: Path) -> str:
    """A file of sysfs; one that is not there or that the driver refuses to read says nothing."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""


def _read(operation: str, request: int, fd: int, shape: struct.Struct) -> int:
    buffer = bytearray(shape.size)
    ioctls.exchange(fd, operation, request, buffer)
    return int(shape.unpack(buffer)[0])
