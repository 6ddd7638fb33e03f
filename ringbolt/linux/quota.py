"""Limits of projects: quotactl_fd(2) with PRJQUOTA (linux/quota.h). Linux 5.14.

Which inodes belong to a project: `inode_flags.set_project`. Limits of btrfs: `btrfs`.
"""

import ctypes
import struct
from typing import NamedTuple

from ringbolt.linux import libc

_NR_QUOTACTL_FD = 443

PRJQUOTA = 2
Q_GETINFO = 0x800005
Q_GETQUOTA = 0x800007
Q_SETQUOTA = 0x800008

_QIF_BLIMITS = 0x1
_QIF_ILIMITS = 0x4
_BLOCK = 1024
"""The unit of limits; usage is in bytes."""

_DQBLK = struct.Struct("=8QI4x")
"""`struct if_dqblk`."""
_DQINFO_SIZE = 24


class ProjectQuota(NamedTuple):
    """A project's limits and use, in bytes and in inodes; a limit of 0 is none."""

    limit: int
    used: int
    inode_limit: int
    inodes_used: int


def check_projects(fd: int) -> None:
    """Return where the file system of `fd` counts projects.

    Raises OSError with the kernel's own answer: ENOSYS (kernel built without, or older), ESRCH
    (mounted without prjquota), EINVAL or EOPNOTSUPP (the file system cannot).
    """
    _quotactl("Q_GETINFO", fd, Q_GETINFO, 0, bytearray(_DQINFO_SIZE))


def get_project_quota(fd: int, project: int) -> ProjectQuota:
    """A project's limits and use. Raises OSError as `check_projects` does."""
    buffer = bytearray(_DQBLK.size)
    _quotactl("Q_GETQUOTA", fd, Q_GETQUOTA, project, buffer)
    return parse_quota(buffer)


def parse_quota(data: bytes | bytearray) -> ProjectQuota:
    """`struct if_dqblk` as a value."""
    hard, _, used, inode_hard, _, inodes, *_ = _DQBLK.unpack(data)
    return ProjectQuota(hard * _BLOCK, used, inode_hard, inodes)


def set_project_limit(fd: int, project: int, limit: int, inode_limit: int = 0) -> None:
    """Limit a project to bytes, rounded up to whole KiB, and inodes; 0 is no limit.

    Raises OSError as `check_projects` does, and EPERM without CAP_SYS_ADMIN.
    """
    blocks = -(-limit // _BLOCK)
    valid = _QIF_BLIMITS | _QIF_ILIMITS
    buffer = bytearray(_DQBLK.pack(blocks, blocks, 0, inode_limit, inode_limit, 0, 0, 0, valid))
    _quotactl("Q_SETQUOTA", fd, Q_SETQUOTA, project, buffer)


def qcmd(command: int) -> int:
    """`QCMD`: a command for quotas of projects."""
    return command << 8 | PRJQUOTA


def _quotactl(operation: str, fd: int, command: int, project: int, buffer: bytearray) -> None:
    held = (ctypes.c_char * len(buffer)).from_buffer(buffer)
    number = ctypes.c_uint(qcmd(command))
    try:
        libc.syscall("quotactl_fd", _NR_QUOTACTL_FD, fd, number, project, ctypes.byref(held))
    except OSError as error:
        what = (operation, "PRJQUOTA", project, libc.path_of(fd))
        raise libc.failed(error.errno or 0, "quotactl_fd", *what) from None
