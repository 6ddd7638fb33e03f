"""Which blocks a file has: FS_IOC_FIEMAP (Documentation/filesystems/fiemap.rst, Linux 2.6.28)."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from ringbolt.linux import ioctls

FIEMAP_FLAG_SYNC = 0x1
FIEMAP_EXTENT_LAST = 0x1
FIEMAP_EXTENT_SHARED = 0x2000
_HEADER = struct.Struct("=QQIIII")
"""`struct fiemap` without its extents: start, length, flags, mapped, how many fit, reserved."""
_EXTENT = struct.Struct("=QQQ16xI12x")
"""`struct fiemap_extent`: logical, physical, length, flags."""
FS_IOC_FIEMAP = ioctls.iowr(ord("f"), 11, _HEADER.size)
_ALL = 0xFFFFFFFFFFFFFFFF
_AT_ONCE = 256


class Extent(NamedTuple):
    """Bytes of a file that lie together; `shared` with another file."""

    offset: int
    length: int
    shared: bool


def extents(fd: int) -> Iterator[Extent]:
    """What of an open file is no hole, in its order; what is not written out yet is written first.

    Raises OSError (EOPNOTSUPP: the file system does not tell).
    """
    start = 0
    while True:
        buffer = bytearray(_HEADER.size + _AT_ONCE * _EXTENT.size)
        _HEADER.pack_into(buffer, 0, start, _ALL - start, FIEMAP_FLAG_SYNC, 0, _AT_ONCE, 0)
        ioctls.exchange(fd, "FS_IOC_FIEMAP", FS_IOC_FIEMAP, buffer)
        mapped = _HEADER.unpack_from(buffer)[3]
        flags = FIEMAP_EXTENT_LAST
        for number in range(mapped):
            at = _HEADER.size + number * _EXTENT.size
            offset, _, length, flags = _EXTENT.unpack_from(buffer, at)
            yield Extent(offset, length, shared=bool(flags & FIEMAP_EXTENT_SHARED))
            start = offset + length
        if not mapped or flags & FIEMAP_EXTENT_LAST:
            return
