"""A mount point that cannot be written to while nothing is mounted on it.

The empty directory under a mount is made immutable (chattr +i): should the mount go, writes fail
instead of filling the host's disk (kubernetes issue 109955). A file under a block volume likewise.
Some file systems cannot; then there is no guard, which is told of and is no failure.
"""

import errno
import os
from contextlib import suppress

from ringbolt.linux.inode_flags import is_immutable, set_immutable
from ringbolt.linux.mount_api import open_tree
from ringbolt.linux.openat2 import open_below
from ringbolt.volumes.paths import Spot

_CANNOT = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.ENOSYS})


def put_on(spot: Spot) -> bool:
    """Guard what is not mounted yet; False where the file system below cannot."""
    return _set(spot, on=True)


def take_off(spot: Spot) -> bool:
    """Let go of what is mounted no more; False: it was not guarded, or is not there."""
    return _set(spot, on=False)


def is_on(spot: Spot) -> bool | None:
    """Whether what lies below a mount is guarded, seen through a copy of the mount below it.

    None: that cannot be told.
    """
    try:
        tree = open_tree(f"/proc/thread-self/fd/{spot.parent}/.", clone=True)
    except OSError:
        return None
    try:
        fd = open_below(tree, spot.name, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return is_immutable(fd)
        finally:
            os.close(fd)
    except OSError:
        return None
    finally:
        os.close(tree)


def _set(spot: Spot, *, on: bool) -> bool:
    with suppress(FileNotFoundError):
        fd = spot.fd(os.O_RDONLY | os.O_NONBLOCK)
        try:
            changes = is_immutable(fd) is not on
            if changes:
                set_immutable(fd, on=on)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            return False
        else:
            return on or changes
        finally:
            os.close(fd)
    return False
