"""ext4: growing it while mounted, and what it counts of its errors.

EXT4_IOC_RESIZE_FS (Linux 3.3, fs/ext4/ioctl.c) and Documentation/ABI/testing/sysfs-fs-ext4.
"""

import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ringbolt.linux import ioctls

_BLOCKS = struct.Struct("=Q")
EXT4_IOC_RESIZE_FS = ioctls.iow(ord("f"), 16, _BLOCKS.size)


class Errors(NamedTuple):
    """Errors since the file system was checked last; times in seconds since 1970, 0 for never.

    `cause` is the kernel function that found the last one.
    """

    total: int
    first_at: int
    last_at: int
    cause: str


def grow(fd: int, blocks: int) -> None:
    """Make a mounted ext4 that many of its blocks large.

    Raises OSError (EPERM: it takes CAP_SYS_RESOURCE; EINVAL: the device is smaller; EOPNOTSUPP).
    """
    buffer = bytearray(_BLOCKS.pack(blocks))
    ioctls.exchange(fd, "EXT4_IOC_RESIZE_FS", EXT4_IOC_RESIZE_FS, buffer)


def read_errors(device: str, sys: Path = Path("/sys")) -> Errors:
    """What the ext4 on `device` (`sda1`) counts. Raises FileNotFoundError where none is alive."""
    folder = sys / "fs" / "ext4" / device
    cause = ""
    with suppress(FileNotFoundError):  # Linux 4.20
        cause = _text(folder / "last_error_func")
    return Errors(
        int(_text(folder / "errors_count")),
        int(_text(folder / "first_error_time")),
        int(_text(folder / "last_error_time")),
        cause,
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace").strip()
