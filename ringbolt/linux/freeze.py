"""A mounted file system at rest for a moment, and its free space given back.

FIFREEZE and FITHAW (ioctl_fsfreeze(2), Linux 2.6.29), FITRIM (linux/fs.h, 2.6.37). What is copied
of a device while it is frozen is a whole file system.
"""

import struct
from collections.abc import Generator
from contextlib import contextmanager

from ringbolt.linux import ioctls

_NUMBER = ioctls.iowr(ord("X"), 0, 4)
FIFREEZE = _NUMBER | 119
FITHAW = _NUMBER | 120
_RANGE = struct.Struct("=3Q")
"""`struct fstrim_range`."""
FITRIM = ioctls.iowr(ord("X"), 121, _RANGE.size)

_ALL = 0xFFFFFFFFFFFFFFFF


def freeze(fd: int) -> None:
    """Write all out to the file system's device and let every write wait until `thaw`.

    `fd` is a directory or file of it. A write to it by the same thread waits for ever. Raises
    OSError (EBUSY: frozen already; EOPNOTSUPP: it cannot be).
    """
    ioctls.call(fd, "FIFREEZE", FIFREEZE)


def thaw(fd: int) -> None:
    """Let writes go on. Raises OSError (EINVAL: not frozen)."""
    ioctls.call(fd, "FITHAW", FITHAW)


@contextmanager
def frozen(fd: int) -> Generator[None]:
    """Keep it frozen for a block."""
    freeze(fd)
    try:
        yield
    finally:
        thaw(fd)


def trim(fd: int, smallest: int = 0) -> int:
    """Give free space back to the device, in pieces of `smallest` bytes or more; how much it was.

    A loop device makes holes of it in its file. Raises OSError (EOPNOTSUPP: the device takes none).
    """
    buffer = bytearray(_RANGE.pack(0, _ALL, smallest))
    ioctls.exchange(fd, "FITRIM", FITRIM, buffer)
    return int(_RANGE.unpack(buffer)[1])
