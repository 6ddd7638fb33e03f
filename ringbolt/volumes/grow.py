"""Give a file system all of the device that it lies on, mounted or not. Nothing here ever shrinks.

Mounted, the kernel does it; ext4 asks for CAP_SYS_RESOURCE then. Unmounted, resize2fs(8) does it
for ext4; xfs and btrfs grow mounted only.
"""

import errno

from ringbolt.linux import btrfs, command, ext4, xfs
from ringbolt.linux.command import ENVIRONMENT, Handed
from ringbolt.linux.statfs import statfs
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import (
    BusyError,
    DeadlineError,
    InvalidError,
    MismatchError,
    NotAvailableError,
)
from ringbolt.volumes.held import Held
from ringbolt.volumes.spec import FsType
from ringbolt.volumes.superblock import Superblock

_E2FSCK_FOUND_NOTHING_BAD = frozenset({0, 1})
_PERMISSION = frozenset({errno.EPERM, errno.EACCES})
_BUSY = frozenset({errno.EBUSY, errno.EAGAIN})
_BTRFS_LEAST = 256 << 20
"""What the kernel makes of a btrfs at least (fs/btrfs/ioctl.c, btrfs_ioctl_resize)."""


def require_growable(fs_type: FsType, size: int) -> None:
    """Raise InvalidError where a file system of this type never grows to `size` bytes."""
    if not is_growable(fs_type, size):
        raise InvalidError(
            f"btrfs grows to {_BTRFS_LEAST >> 20} MiB or more, not to {size} bytes: ask for more"
        )


def is_growable(fs_type: FsType, size: int) -> bool:
    """Whether a file system of this type may be given `size` bytes once it is made."""
    return fs_type is not FsType.BTRFS or size >= _BTRFS_LEAST


def grow_mounted(fd: int, fs_type: FsType, device_size: int) -> None:
    """Let the mounted file system that `fd` lies on have `device_size` bytes, its device's.

    Content where it has them already. Raises NotAvailableError (a capability is missing),
    InvalidError (that is too little for it), BusyError, OSError.
    """
    try:
        _grow(fd, fs_type, device_size)
    except OSError as error:
        if error.errno in _PERMISSION:
            raise NotAvailableError(
                f"{fs_type.value} does not grow while it is mounted: the agent lacks "
                "CAP_SYS_RESOURCE. Add it, or end the pods that use the volume: it grows before "
                "its next mount"
            ) from error
        if error.errno in _BUSY:
            text = f"{fs_type.value} is being changed by something else: try again later"
            raise BusyError(text) from error
        raise


def _grow(fd: int, fs_type: FsType, device_size: int) -> None:
    match fs_type:
        case FsType.EXT4:
            found = statfs(fd)
            ext4.grow(fd, device_size // found.block_size)
        case FsType.XFS:
            layout = xfs.read_geometry(fd)
            if (blocks := device_size // layout.block_size) > layout.data_blocks:
                xfs.grow(fd, blocks)
        case FsType.BTRFS:
            require_growable(fs_type, device_size)
            btrfs.resize(fd)


def grow_unmounted(held: Held, found: Superblock, deadline: Deadline) -> bool:
    """Let an ext4 have all of `held`; whether it grew. The others grow once they are mounted.

    It is checked first, as resize2fs wants it. Raises MismatchError (the check found what it does
    not mend), InvalidError (the device is smaller than the file system), NotAvailableError,
    DeadlineError.
    """
    if found.size > held.size:
        raise InvalidError(
            f"{held.name} has {held.size} bytes, but its file system was made for {found.size}: "
            "it was cut short; give it back its size before anything else"
        )
    if found.fs_type is not FsType.EXT4 or held.size - found.size < _WORTHWHILE:
        return False
    with held.shown() as (path, fds):
        code = _run(("e2fsck", "-f", "-p", path), held, fds, deadline)
        if code not in _E2FSCK_FOUND_NOTHING_BAD:
            raise MismatchError(
                f"{held.name} does not grow: e2fsck found what it does not mend by itself; run "
                "e2fsck on it by hand"
            )
        if _run(("resize2fs", path), held, fds, deadline):
            raise MismatchError(f"{held.name} does not grow: resize2fs refused; its old size holds")
    return True


_WORTHWHILE = 1 << 20
"""What mkfs itself may leave unused at the end of a device."""


def _run(argv: tuple[str, ...], held: Held, fds: tuple[int, ...], deadline: Deadline) -> int:
    try:
        outcome = command.run(argv, ENVIRONMENT, deadline.left_s(), Handed(fds=fds))
    except FileNotFoundError as error:
        text = f"{argv[0]} is not installed on this node: install e2fsprogs"
        raise NotAvailableError(text) from error
    if outcome.code is None:
        raise DeadlineError(f"{argv[0]} on {held.name} took too long and was ended; try again")
    return outcome.code
