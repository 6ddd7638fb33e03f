"""Block devices: the ioctls of linux/fs.h, and what sysfs knows of a device by its number.

Facts only: whether a device may be used for something is its caller's affair. Sizes are bytes.
"""

import fcntl
import os
import struct
from pathlib import Path

from ringbolt.linux import libc

BLKROGET = 0x125E
BLKFLSBUF = 0x1261
BLKSSZGET = 0x1268
BLKPBSZGET = 0x127B
BLKGETSIZE64 = 0x80081272
BLKGETDISKSEQ = 0x80081280

SYSFS = Path("/sys")

_INT = struct.Struct("=i")
_U64 = struct.Struct("=Q")


def open_exclusive(path: str, *, write: bool = True) -> int:
    """Open a block device and claim it. Raises OSError (EBUSY: mounted, held, or claimed)."""
    access = os.O_RDWR if write else os.O_RDONLY
    try:
        return os.open(path, access | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        raise libc.failed(error.errno or 0, "open", path, "O_EXCL") from None


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
    try:
        fcntl.ioctl(fd, BLKFLSBUF)
    except OSError as error:
        raise libc.failed(error.errno or 0, "BLKFLSBUF", f"fd {fd}") from None


def directory(device: int, sysfs: Path = SYSFS) -> Path:
    """Its directory in sysfs, by its number (`st_rdev`). Raises OSError (ENOENT: it is gone)."""
    number = f"{os.major(device)}:{os.minor(device)}"
    return (sysfs / "dev" / "block" / number).resolve(strict=True)


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


def has_superblock(device: int, fstype: str, sysfs: Path = SYSFS) -> bool:
    """Whether a file system on it is alive in the kernel, mounted in any namespace or not at all.

    ext4, xfs and f2fs tell it; btrfs goes by UUID, not by device.
    """
    return (sysfs / "fs" / fstype / name(device, sysfs)).is_dir()


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
    try:
        answer = fcntl.ioctl(fd, request, bytes(shape.size))
    except OSError as error:
        raise libc.failed(error.errno or 0, operation, f"fd {fd}") from None
    return int(shape.unpack(answer)[0])
