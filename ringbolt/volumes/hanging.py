"""What can hang for ever, done by a child that is killed when its time is over.

Looking at a mount whose server or daemon is gone, and taking it off, may block in the kernel. A
thread there can never be ended, a process in most cases can; the caller goes on either way.
"""

import errno
import os
import sys

from ringbolt.linux import command
from ringbolt.linux.command import ENVIRONMENT, Handed
from ringbolt.linux.statfs import FileSystem
from ringbolt.volumes.errors import DeadlineError
from ringbolt.volumes.mounts import Root
from ringbolt.volumes.paths import Spot

PATIENCE_S = 10.0
"""Long for a server that lives; a kubelet waits two minutes for all of a pod."""

_TYPES = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "fuse", "fuseblk"})
_PROGRAM = """
import ctypes, os, sys
verb, path, flags = sys.argv[1:]
try:
    if verb == "umount2":
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.umount2(os.fsencode(path), int(flags))
        print(ctypes.get_errno() if failed else 0)
    elif verb == "statfs":
        told = os.statvfs(path)
        sizes = (told.f_frsize, told.f_blocks, told.f_bfree, told.f_bavail)
        print(0, *sizes, told.f_files, told.f_ffree)
    else:
        found = os.stat(path)
        print(0, found.st_dev, found.st_ino)
except OSError as error:
    print(error.errno)
"""


def can_hang(fstype: str) -> bool:
    """Whether mounts of it depend on somebody who may be gone."""
    return fstype in _TYPES or fstype.startswith("fuse.")


def read_root(spot: Spot) -> Root:
    """What is seen at a place. Raises DeadlineError, OSError."""
    device, inode = _child(spot, "stat", 0)
    return Root(device, inode)


def read_statfs(spot: Spot) -> FileSystem:
    """The room that a file system says it has. Raises as `read_root`."""
    unit, blocks, free, available, inodes, inodes_free = _child(spot, "statfs", 0)
    room = (blocks * unit, free * unit, available * unit)
    return FileSystem(0, unit, *room, inodes, inodes_free, (0, 0), 0)


def unmount(spot: Spot, flags: int) -> bool:
    """Take off what is mounted at a place, one; False: nothing was. Raises as `read_root`."""
    try:
        _child(spot, "umount2", flags)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return False
        raise
    return True


def _child(spot: Spot, verb: str, flags: int) -> tuple[int, ...]:
    path = f"/proc/self/fd/{spot.parent}/{spot.name}"
    argv = (sys.executable, "-I", "-S", "-c", _PROGRAM, verb, path, str(flags))
    outcome = command.run(argv, ENVIRONMENT, PATIENCE_S, Handed(fds=(spot.parent,)))
    if outcome.code is None:
        raise DeadlineError(
            f"{spot.path} does not answer ({verb}): its server or daemon hangs or is gone"
        )
    if outcome.code:
        raise OSError(errno.EIO, f"{verb} {spot.path}: {outcome.failure}")
    failed, *numbers = (int(word) for word in outcome.output.split())
    if failed:
        raise OSError(failed, f"{verb} {spot.path}: {os.strerror(failed)}")
    return tuple(numbers)
