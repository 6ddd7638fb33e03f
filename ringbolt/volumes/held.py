"""A block device or image file held open, for us alone, and known by what the kernel says of it.

Whoever decides over a device's content does it through one of these: a path may lead elsewhere a
moment later, a descriptor does not. O_EXCL on a block device keeps out mounts, RAID and other
holders, and is refused where there is one (open(2)).
"""

import errno
import os
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from ringbolt.linux import block, loop
from ringbolt.volumes.errors import BusyError, MismatchError, NotAvailableError, NotFoundError

_LET_GO_S, _LOOK_EVERY_S = 5.0, 0.005

_ABSENT = frozenset({errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.ENOMEDIUM})


@dataclass(frozen=True, slots=True)
class Identity:
    """Which device it is. `sequence` tells disks apart that had the same number in this boot.

    `serial` and `wwid` are empty where the device has none.
    """

    device: int
    size: int
    sequence: int = 0
    serial: str = ""
    wwid: str = ""
    partition: int = 0

    @property
    def lasting(self) -> str:
        """What it is known by after a reboot too; empty where it has nothing of the kind."""
        known = self.wwid or self.serial
        return f"{known}:{self.partition}:{self.size}" if known else ""


@dataclass(frozen=True, slots=True)
class Held:
    """`name` is for people, `identity` for decisions.

    `fd` is open for reading and, unless it is only looked at, for writing.
    """

    fd: int
    name: str
    identity: Identity
    is_block: bool

    @property
    def size(self) -> int:
        """Bytes of it."""
        return self.identity.size

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes. Raises OSError; a short read is EIO."""
        parts: list[bytes] = []
        missing = length
        while missing:
            part = os.pread(self.fd, missing, offset + length - missing)
            if not part:
                have = length - missing
                text = f"byte {offset}: {have} of {length} bytes could be read"
                raise OSError(errno.EIO, text)
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    @contextmanager
    def shown(self) -> Generator[tuple[str, tuple[int, ...]]]:
        """(path, descriptors to hand over) by which a program reaches just what is held.

        Programs that make and check file systems want a device to themselves, which we have
        claimed: they get a loop device over our descriptor, with the same sectors.
        """
        if not self.is_block:
            yield f"/proc/self/fd/{self.fd}", (self.fd,)
            return
        setup = loop.Setup(
            loop.LO_FLAGS_AUTOCLEAR, block_size=block.logical_sector(self.fd), name="ringbolt"
        )
        attached = loop.attach_free(self.fd, setup)
        try:
            yield loop.device_path(attached.number), ()
        finally:
            os.close(attached.fd)
            _wait_until_free(attached.number)

    def refresh(self) -> None:
        """See that it is still the same, and let the next reads ask the device, not the cache.

        Raises MismatchError, OSError.
        """
        if self.is_block:
            block.flush(self.fd)
        now = identify(self.fd)
        if now != self.identity:
            raise MismatchError(
                f"{self.name} is not what it was a moment ago ({_difference(self.identity, now)}); "
                "nothing was written"
            )


@contextmanager
def hold(path: str, *, expected: int | None = None, write: bool = True) -> Generator[Held]:
    """Hold a block device, of the number `expected` if that is given, or a regular file.

    Without `write` it is only looked at, so it may be one that takes no writes.
    Raises BusyError, NotFoundError, MismatchError, NotAvailableError, and OSError for the rest.
    """
    fd = _open(path, write=write)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISBLK(mode) and not stat.S_ISREG(mode):
            raise MismatchError(f"{path} is neither a block device nor a regular file")
        identity = identify(fd)
        if expected is not None and identity.device != expected:
            raise MismatchError(
                f"{path} is device {_number(identity.device)}, not {_number(expected)}: "
                "it was renamed meanwhile; nothing was written"
            )
        held = Held(fd, path, identity, stat.S_ISBLK(mode))
        _require_usable(held, write=write)
        yield held
    finally:
        os.close(fd)


def identify(fd: int) -> Identity:
    """What the kernel says now of what is open. Raises OSError."""
    status = os.fstat(fd)
    if not stat.S_ISBLK(status.st_mode):
        return Identity(device=status.st_ino, size=status.st_size)
    number = status.st_rdev
    return Identity(
        device=number,
        size=block.size(fd),
        sequence=_sequence(fd),
        serial=block.serial(number),
        wwid=block.wwid(number),
        partition=block.partition(number),
    )


def _open(path: str, *, write: bool) -> int:
    """O_EXCL without O_CREAT means nothing for a regular file, and a claim for a block device."""
    flags = (os.O_RDWR if write else os.O_RDONLY) | os.O_EXCL | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return os.open(path, flags)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise BusyError(
                f"{path} is in use: mounted, part of a RAID or volume manager, or opened for "
                "itself by another program; end that first"
            ) from error
        if error.errno in _ABSENT:
            raise NotFoundError(f"{path} is not there: {error.strerror}") from error
        if error.errno == errno.EROFS:
            raise NotAvailableError(f"{path} takes no writes: it is read-only") from error
        raise


def _require_usable(held: Held, *, write: bool) -> None:
    if held.size <= 0:
        raise NotAvailableError(f"{held.name} has no size: it has no medium, or is not ready yet")
    if not held.is_block:
        return
    number = held.identity.device
    if found := block.holders(number):
        raise BusyError(f"{held.name} is part of {', '.join(found)}; take it out of there first")
    if write and block.is_read_only(held.fd):
        raise NotAvailableError(f"{held.name} takes no writes: it is read-only")


def _sequence(fd: int) -> int:
    try:
        return block.sequence(fd)
    except OSError as error:
        if error.errno in {errno.ENOTTY, errno.EINVAL}:  # before Linux 5.15
            return 0
        raise


def _wait_until_free(number: int) -> None:
    """Until udev has let go of a loop device too: as long it shares our claim of what is held."""
    bound = block.SYSFS / "block" / f"loop{number}" / "loop"
    until = time.monotonic() + _LET_GO_S
    while bound.exists() and time.monotonic() < until:
        time.sleep(_LOOK_EVERY_S)


def _number(device: int) -> str:
    return f"{os.major(device)}:{os.minor(device)}"


def _difference(before: Identity, now: Identity) -> str:
    if before.device != now.device:
        return f"{_number(before.device)} became {_number(now.device)}"
    if before.size != now.size:
        return f"{before.size} bytes became {now.size}"
    return "another disk is behind the same number"
