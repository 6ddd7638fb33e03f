"""A mounted file system at rest for a moment, and its free space given back.

FIFREEZE and FITHAW (ioctl_fsfreeze(2), Linux 2.6.29), FITRIM (linux/fs.h, 2.6.37). What is copied
of a device while it is frozen is a whole file system. The kernel keeps it frozen whatever becomes
of who froze it, so a child sees to that.
"""

import errno
import struct
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress

from ringbolt.linux import ioctls

_NUMBER = ioctls.iowr(ord("X"), 0, 4)
FIFREEZE = _NUMBER | 119
FITHAW = _NUMBER | 120
_RANGE = struct.Struct("=3Q")
"""`struct fstrim_range`."""
FITRIM = ioctls.iowr(ord("X"), 121, _RANGE.size)

_ALL = 0xFFFFFFFFFFFFFFFF
_GUARDIAN = """
import fcntl, os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"!")
if not os.read(0, 1):
    fcntl.ioctl(int(sys.argv[1]), int(sys.argv[2]), 0)
"""
"""Thaws when its parent ends without a word, stopped together or not."""


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
    """Keep it frozen for a block, or until this process is killed."""
    with _guarded(fd):
        freeze(fd)
        try:
            yield
        finally:
            thaw(fd)


@contextmanager
def _guarded(fd: int) -> Generator[None]:
    process = subprocess.Popen(
        (sys.executable, "-I", "-S", "-c", _GUARDIAN, str(fd), str(FITHAW)),
        bufsize=0,
        env={},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=(fd,),
        start_new_session=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        if not process.stdout.read(1):
            raise OSError(errno.ECHILD, "FIFREEZE: what would thaw it cannot be started")
        try:
            yield
        finally:  # what somebody else froze is his
            with suppress(BrokenPipeError):
                process.stdin.write(b"!")


def trim(fd: int, smallest: int = 0) -> int:
    """Give free space back to the device, in pieces of `smallest` bytes or more; how much it was.

    A loop device makes holes of it in its file. Raises OSError (EOPNOTSUPP: the device takes none).
    """
    buffer = bytearray(_RANGE.pack(0, _ALL, smallest))
    ioctls.exchange(fd, "FITRIM", FITRIM, buffer)
    return int(_RANGE.unpack(buffer)[1])
