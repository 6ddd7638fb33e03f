"""ioctl(2): request numbers as asm-generic/ioctl.h builds them, and calls that tell who failed.

Which requests there are stands in the module of their noun.
"""

import fcntl

from ringbolt.linux import libc

_WRITE = 1
_READ = 2


def io(kind: int, number: int) -> int:
    """`_IO`: no argument, or a plain number."""
    return kind << 8 | number


def ior(kind: int, number: int, size: int) -> int:
    """`_IOR`: the kernel fills `size` bytes."""
    return _READ << 30 | size << 16 | kind << 8 | number


def iow(kind: int, number: int, size: int) -> int:
    """`_IOW`: the kernel reads `size` bytes."""
    return _WRITE << 30 | size << 16 | kind << 8 | number


def iowr(kind: int, number: int, size: int) -> int:
    """`_IOWR`: it does both."""
    return (_READ | _WRITE) << 30 | size << 16 | kind << 8 | number


def call(fd: int, operation: str, request: int, number: int = 0) -> int:
    """Make a request whose argument is a number. Raises OSError naming it and the file."""
    try:
        return fcntl.ioctl(fd, request, number)
    except OSError as error:
        raise libc.failed(error.errno or 0, operation, libc.path_of(fd)) from None


def exchange(fd: int, operation: str, request: int, buffer: bytearray) -> int:
    """Make a request whose argument is a structure; the kernel's answer is in `buffer` then.

    Returns the call's own result, 0 but for few. Raises OSError naming it and the file, and never
    what is in the buffer.
    """
    # With immutable bytes Python keeps every other thread waiting as long as the kernel works.
    try:
        return int(fcntl.ioctl(fd, request, buffer, True))  # noqa: FBT003  # positional only
    except OSError as error:
        raise libc.failed(error.errno or 0, operation, libc.path_of(fd)) from None
