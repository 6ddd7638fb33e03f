"""Files given to a pod's group, only where the volume's root is not its already.

As the kubelet's OnRootMismatch does, but through descriptors that follow no link and cross no
mount, and with the root last: a walk that was cut short is made again.
"""

import errno
import os
import stat
from contextlib import ExitStack
from pathlib import Path

from ringbolt.linux.openat2 import BELOW, RESOLVE_NO_XDEV, openat2
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import RefusedError

_FILE_BITS = stat.S_IRGRP | stat.S_IWGRP
_DIRECTORY_BITS = _FILE_BITS | stat.S_IXGRP | stat.S_ISGID
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_DEEPEST = 256
"""A descriptor is held for each level, and how deep it goes is a tenant's choice."""


def give_to_group(root_fd: int, group: int, deadline: Deadline) -> bool:
    """Let `group` write all below `root_fd`; False: its root said that it may already.

    Raises DeadlineError, RefusedError for a tree that is too deep, OSError.
    """
    found = os.fstat(root_fd)
    if found.st_gid == group and found.st_mode & _DIRECTORY_BITS == _DIRECTORY_BITS:
        return False
    with ExitStack() as undo:
        root = openat2(root_fd, ".", _DIRECTORY)
        undo.callback(os.close, root)
        _give_below(root, group, deadline, 0)
        _give(root, group)
    return True


def _give_below(directory: int, group: int, deadline: Deadline, depth: int) -> None:
    if depth == _DEEPEST:
        raise RefusedError(f"directories lie more than {_DEEPEST} deep: give the files by hand")
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        deadline.check("giving files to the pod's group")
        with ExitStack() as undo:
            flags = os.O_PATH | os.O_NOFOLLOW
            try:
                fd = openat2(directory, name, flags, resolve=BELOW | RESOLVE_NO_XDEV)
            except OSError as error:
                # Gone meanwhile; something else's mount.
                if error.errno in (errno.ENOENT, errno.EXDEV):
                    continue
                raise
            undo.callback(os.close, fd)
            mode = os.fstat(fd).st_mode
            if stat.S_ISLNK(mode):
                continue
            if stat.S_ISDIR(mode):
                below = openat2(fd, ".", _DIRECTORY)
                undo.callback(os.close, below)
                _give_below(below, group, deadline, depth + 1)
            _give(fd, group)


def _give(fd: int, group: int) -> None:
    """By its descriptor, which may be O_PATH: what a name leads to may have changed."""
    found = os.fstat(fd)
    mode = found.st_mode
    wanted = _DIRECTORY_BITS if stat.S_ISDIR(mode) else _FILE_BITS
    if found.st_gid == group and mode & wanted == wanted:
        return  # so that a walk cut short gets further the next time
    path = Path(f"/proc/thread-self/fd/{fd}")
    os.chown(path, -1, group)
    path.chmod(stat.S_IMODE(mode) | wanted)
