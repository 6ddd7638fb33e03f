"""XFS: its geometry, and growing it while mounted (xfs/xfs_fs.h, ioctl_xfs_fsgeometry(2)).

XFS_IOC_FSGEOMETRY in its longest form is of Linux 5.2.
"""

import struct
from typing import NamedTuple
from uuid import UUID

from ringbolt.linux import ioctls

_GEOMETRY = struct.Struct("=8I4Q16s176x")
_GROW = struct.Struct("=QI4x")
XFS_IOC_FSGEOMETRY = ioctls.ior(ord("X"), 126, _GEOMETRY.size)
XFS_IOC_FSGROWFSDATA = ioctls.iow(ord("X"), 110, _GROW.size)


class Geometry(NamedTuple):
    """How an XFS is laid out; `block_size` and `sector_size` in bytes, `data_blocks` in blocks."""

    block_size: int
    sector_size: int
    allocation_groups: int
    inode_percent: int
    data_blocks: int
    uuid: UUID


def read_geometry(fd: int) -> Geometry:
    """The layout of a mounted XFS. Raises OSError (ENOTTY: it is none)."""
    buffer = bytearray(_GEOMETRY.size)
    ioctls.exchange(fd, "XFS_IOC_FSGEOMETRY", XFS_IOC_FSGEOMETRY, buffer)
    return parse_geometry(buffer)


def parse_geometry(data: bytes | bytearray) -> Geometry:
    """`struct xfs_fsop_geom` as a value."""
    block, _, _, groups, _, sector, _, percent, blocks, _, _, _, own = _GEOMETRY.unpack(data)
    return Geometry(block, sector, groups, percent, blocks, UUID(bytes=own))


def grow(fd: int, blocks: int) -> None:
    """Make a mounted XFS that many of its blocks large.

    Raises OSError (EPERM: it takes CAP_SYS_ADMIN; EIO or ENOSPC: the device is smaller; EAGAIN:
    another one grows it).
    """
    percent = read_geometry(fd).inode_percent
    buffer = bytearray(_GROW.pack(blocks, percent))
    ioctls.exchange(fd, "XFS_IOC_FSGROWFSDATA", XFS_IOC_FSGROWFSDATA, buffer)
