"""Loop devices: /dev/loop-control and the ioctls of a loop device (linux/loop.h).

Adding and removing one makes the kernel send its uevents, so it is real hot-plug without hardware.
"""

import fcntl
import os
import struct

from ringbolt.linux import libc

CONTROL = "/dev/loop-control"

LOOP_CTL_ADD = 0x4C80
LOOP_CTL_REMOVE = 0x4C81
LOOP_CTL_GET_FREE = 0x4C82
LOOP_CLR_FD = 0x4C01
LOOP_CONFIGURE = 0x4C0A

_LOOP_INFO64_SIZE = 232
_LOOP_CONFIG = struct.Struct(f"=II{_LOOP_INFO64_SIZE}s8Q")


def add(number: int) -> None:
    """Make /dev/loop<number>. Raises OSError (EEXIST: there is one)."""
    _control("LOOP_CTL_ADD", LOOP_CTL_ADD, number)


def remove(number: int) -> None:
    """Take /dev/loop<number> away. Raises OSError (EBUSY: open or bound; ENODEV: there is none)."""
    _control("LOOP_CTL_REMOVE", LOOP_CTL_REMOVE, number)


def free() -> int:
    """The number of an unbound loop device, made if there is none."""
    return _control("LOOP_CTL_GET_FREE", LOOP_CTL_GET_FREE, 0)


def attach(device: str, backing_fd: int) -> None:
    """Bind an open file to a loop device (LOOP_CONFIGURE, Linux 5.8)."""
    config = _LOOP_CONFIG.pack(backing_fd, 0, bytes(_LOOP_INFO64_SIZE), *[0] * 8)
    _ioctl("LOOP_CONFIGURE", device, LOOP_CONFIGURE, config)


def detach(device: str) -> None:
    """Unbind it. Raises OSError (ENXIO: it was not bound)."""
    _ioctl("LOOP_CLR_FD", device, LOOP_CLR_FD, 0)


def _control(operation: str, request: int, number: int) -> int:
    fd = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        return fcntl.ioctl(fd, request, number)
    except OSError as error:
        raise libc.failed(error.errno or 0, operation, f"loop{number}") from None
    finally:
        os.close(fd)


def _ioctl(operation: str, device: str, request: int, argument: int | bytes) -> None:
    fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, request, argument)
    except OSError as error:
        raise libc.failed(error.errno or 0, operation, device) from None
    finally:
        os.close(fd)
