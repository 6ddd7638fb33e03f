"""Read leases: whether anybody writes to a file, now or until it is given back (fcntl(2), Leases).

The kernel grants one only while nobody has the file open for writing, and whoever opens it so then
has to wait until the lease is given back, for at most /proc/sys/fs/lease-break-time seconds.
"""

import errno
import fcntl
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager

from ringbolt.linux import libc

_CANNOT = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOLCK, errno.EACCES})


@contextmanager
def reading(fd: int) -> Generator[Callable[[], bool]]:
    """Hold a read lease on a file that is open for reading only.

    Answers whether it still holds: then nobody wrote since. Where the file system knows no leases
    it always does. Raises OSError (EAGAIN: somebody has the file open for writing).
    """
    # Of the signals that tell a holder to let go, this one ends no process that never heard of it.
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise libc.failed(error.errno or 0, "F_SETLEASE", libc.path_of(fd)) from None
        yield lambda: True
        return
    try:
        yield lambda: fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_RDLCK
    finally:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
