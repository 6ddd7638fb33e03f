"""Loop devices: /dev/loop-control and the ioctls of a loop device (linux/loop.h, loop(4)).

Adding and removing one makes the kernel send its uevents, so it is real hot-plug without hardware.
Loop devices know no namespaces: every one of the machine is seen here.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from ringbolt.linux import ioctls, libc

CONTROL = "/dev/loop-control"

LOOP_CTL_ADD = 0x4C80
LOOP_CTL_REMOVE = 0x4C81
LOOP_CTL_GET_FREE = 0x4C82
LOOP_CLR_FD = 0x4C01
LOOP_GET_STATUS64 = 0x4C05
LOOP_SET_CAPACITY = 0x4C07
LOOP_SET_DIRECT_IO = 0x4C08
LOOP_CONFIGURE = 0x4C0A

LO_FLAGS_READ_ONLY = 1
LO_FLAGS_AUTOCLEAR = 4
LO_FLAGS_PARTSCAN = 8
LO_FLAGS_DIRECT_IO = 16

_INFO = struct.Struct("=5Q4I64s64s32s2Q")
"""`struct loop_info64`."""
_CONFIG = struct.Struct(f"=II{_INFO.size}s64x")
"""`struct loop_config`."""
_NAME_SIZE = 64
_TRIES = 64
"""Whoever else sets one up takes at most a few that were free when we asked."""


class Setup(NamedTuple):
    """How a file becomes a block device.

    `flags` are LO_FLAGS_*; sizes are bytes, 0 for the kernel's own choice. A file system made with
    one `block_size` does not mount with another. `name` is what `losetup` shows, not looked up.
    """

    flags: int = 0
    offset: int = 0
    size_limit: int = 0
    block_size: int = 0
    name: str = ""


_PLAIN = Setup()


class Attached(NamedTuple):
    """A loop device that is set up; with LO_FLAGS_AUTOCLEAR it ends with its last opener."""

    number: int
    fd: int


class LoopStatus(NamedTuple):
    """What backs a loop device: the file's st_dev and st_ino, whatever path it has now."""

    number: int
    device: int
    inode: int
    offset: int
    size_limit: int
    flags: int
    name: str


def add(number: int) -> None:
    """Make /dev/loop<number>. Raises OSError (EEXIST: there is one)."""
    _control("LOOP_CTL_ADD", LOOP_CTL_ADD, number)


def remove(number: int) -> None:
    """Take /dev/loop<number> away. Raises OSError (EBUSY: open or bound; ENODEV: there is none)."""
    _control("LOOP_CTL_REMOVE", LOOP_CTL_REMOVE, number)


def free() -> int:
    """The number of an unbound loop device, made if there is none."""
    return _control("LOOP_CTL_GET_FREE", LOOP_CTL_GET_FREE, 0)


def device_path(number: int) -> str:
    """Where the node of loop device `number` is."""
    return f"/dev/loop{number}"


def open_loop(number: int) -> int:
    """A descriptor of it, to read and write. Raises OSError."""
    return os.open(device_path(number), os.O_RDWR | os.O_CLOEXEC)


def configure(fd: int, backing_fd: int, setup: Setup = _PLAIN) -> None:
    """Bind an open file to a loop device, all at once (LOOP_CONFIGURE, Linux 5.8).

    The kernel keeps the file open itself, read-only if `backing_fd` is. Raises OSError (EBUSY:
    bound to a file already; EINVAL: a block size it cannot).
    """
    name = os.fsencode(setup.name)[: _NAME_SIZE - 1]
    numbers = (0, 0, 0, setup.offset, setup.size_limit, 0, 0, 0, setup.flags)
    info = _INFO.pack(*numbers, name, b"", b"", 0, 0)
    config = bytearray(_CONFIG.pack(backing_fd, setup.block_size, info))
    ioctls.exchange(fd, "LOOP_CONFIGURE", LOOP_CONFIGURE, config)


def attach_free(backing_fd: int, setup: Setup = _PLAIN) -> Attached:
    """Bind an open file to some free loop device.

    The descriptor is the caller's to close, with LO_FLAGS_AUTOCLEAR once the device is mounted.
    Raises OSError (EBUSY: others took every one that was free).
    """
    for tries_left in reversed(range(_TRIES)):
        number = free()
        fd = open_loop(number)
        try:
            configure(fd, backing_fd, setup)
        except BaseException as error:
            os.close(fd)
            taken = isinstance(error, OSError) and error.errno in (errno.EBUSY, errno.ENXIO)
            if not taken or not tries_left:
                raise
        else:
            return Attached(number, fd)
    raise AssertionError


def attach(device: str, backing_fd: int) -> None:
    """Bind an open file to the loop device at `device`."""
    fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        configure(fd, backing_fd)
    finally:
        os.close(fd)


def detach(device: str) -> None:
    """Unbind it, or as soon as its last user lets go. Raises OSError (ENXIO: it was not bound)."""
    fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        ioctls.call(fd, "LOOP_CLR_FD", LOOP_CLR_FD)
    finally:
        os.close(fd)


def status(fd: int) -> LoopStatus:
    """What backs an open loop device. Raises OSError (ENXIO: nothing does)."""
    buffer = bytearray(_INFO.size)
    ioctls.exchange(fd, "LOOP_GET_STATUS64", LOOP_GET_STATUS64, buffer)
    return parse_status(buffer)


def parse_status(data: bytes | bytearray) -> LoopStatus:
    """`struct loop_info64` as a value."""
    device, inode, _, offset, limit, number, _, _, flags, name, *_ = _INFO.unpack(data)
    shown = os.fsdecode(name.partition(b"\0")[0])
    return LoopStatus(number, device, inode, offset, limit, flags, shown)


def find_by_backing(device: int, inode: int, sys: str = "/sys") -> tuple[LoopStatus, ...]:
    """The loop devices of one file, by its st_dev and st_ino, in the order of their numbers."""
    found = (_bound(number) for number in _bound_numbers(sys))
    return tuple(s for s in found if s and (s.device, s.inode) == (device, inode))


def _bound_numbers(sys: str) -> Iterator[int]:
    """Those that have a file, as sysfs shows them: an unbound one is not even opened."""
    names = (name.removeprefix("loop") for name in os.listdir(f"{sys}/block"))
    for number in sorted(int(name) for name in names if name.isdigit()):
        if os.path.exists(f"{sys}/block/loop{number}/loop/backing_file"):
            yield number


def _bound(number: int) -> LoopStatus | None:
    with suppress(FileNotFoundError):
        fd = os.open(device_path(number), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return status(fd)
        except OSError as error:
            if error.errno != errno.ENXIO:  # unbound since sysfs was read
                raise
        finally:
            os.close(fd)
    return None


def update_capacity(fd: int) -> None:
    """Have the device notice that its file grew or shrank (LOOP_SET_CAPACITY)."""
    ioctls.call(fd, "LOOP_SET_CAPACITY", LOOP_SET_CAPACITY)


def set_direct_io(fd: int, *, on: bool) -> None:
    """Go past the page cache of the file's file system, or through it again.

    Raises OSError (EINVAL: the file system cannot, or its blocks are larger than the device's).
    """
    ioctls.call(fd, "LOOP_SET_DIRECT_IO", LOOP_SET_DIRECT_IO, int(on))


def _control(operation: str, request: int, number: int) -> int:
    fd = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        return fcntl.ioctl(fd, request, number)
    except OSError as error:
        raise libc.failed(error.errno or 0, operation, f"loop{number}") from None
    finally:
        os.close(fd)
