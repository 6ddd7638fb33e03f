"""Copies of image files as they are at one moment: shared blocks, or byte for byte when told so.

What is mounted is brought to rest for that moment, so the copy is a whole file system. Sharing
blocks takes no time and no room; where the file system below cannot, that is a refusal.
"""

import errno
import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ringbolt.linux import command, reflink
from ringbolt.linux.command import ENVIRONMENT, Handed
from ringbolt.linux.freeze import frozen
from ringbolt.volumes.backing_file import check_space
from ringbolt.volumes.content import find_filesystem
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import BusyError, FullError, MismatchError, NotAvailableError
from ringbolt.volumes.held import Held, identify
from ringbolt.volumes.spec import FsType

_CANNOT = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_PIECE = 64 << 20
_SECTOR = 512


@contextmanager
def at_rest(fd: int | None, image: int) -> Generator[None]:
    """Keep the file system that `fd` (O_PATH) lies on frozen, None: it is not mounted.

    Raises BusyError: somebody else froze it; MismatchError: the image itself lies on it, and a copy
    would wait for ever.
    """
    if fd is None:
        yield
        return
    root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    try:
        if os.fstat(root).st_dev == os.fstat(image).st_dev:
            path = Path(f"/proc/self/fd/{root}").readlink()
            raise MismatchError(f"{path} shows something else than the volume: unmount it first")
        with ExitStack() as rest:
            try:
                rest.enter_context(frozen(root))
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                raise BusyError(
                    f"somebody else froze the file system ({error.strerror}): wait for that "
                    "backup or copy to end, or `fsfreeze --unfreeze` it"
                ) from error
            yield
    finally:
        os.close(root)


def share_blocks(source: int, target: int) -> None:
    """Make an empty file what another is. Raises NotAvailableError: not on this file system."""
    try:
        reflink.clone(source, target)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        raise NotAvailableError(
            "the file system that images lie on shares no blocks between files (xfs and btrfs do): "
            "ask for a plain copy, which takes time and room, or move the state directory"
        ) from error


def copy_bytes(source: int, target: int, deadline: Deadline) -> None:
    """Copy a file with its holes. Raises FullError, DeadlineError, OSError."""
    found = os.fstat(source)
    check_space(target, found.st_blocks * _SECTOR)
    os.ftruncate(target, found.st_size)
    for begin, end in _data(source, found.st_size):
        at = begin
        while at < end:
            deadline.check("copying an image")
            done = _copy_piece(source, target, at, min(_PIECE, end - at))
            if not done:
                raise OSError(errno.EIO, f"byte {at}: the image ended while it was copied")
            at += done


def _copy_piece(source: int, target: int, at: int, length: int) -> int:
    try:
        return os.copy_file_range(source, target, length, at, at)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise FullError(
            f"no space is left for the copy at byte {at}: make room where images lie, nothing of "
            "the copy was kept"
        ) from error


def make_own(fd: int, name: str, deadline: Deadline) -> None:
    """Give a copy what no two file systems of a machine may share: the UUID of a btrfs.

    Raises NotAvailableError, MismatchError.
    """
    held = Held(fd, name, identify(fd), is_block=False)
    found = find_filesystem(held)
    if found is None or found.fs_type is not FsType.BTRFS:
        return  # ext4 does not look at it, xfs is mounted without looking
    with held.shown() as (path, fds):
        argv = ("btrfstune", "-m", path)
        try:
            outcome = command.run(argv, ENVIRONMENT, deadline.left_s(), Handed(fds=fds))
        except FileNotFoundError as error:
            text = "btrfstune is not installed on this node: install btrfs-progs"
            raise NotAvailableError(text) from error
    if outcome.code != 0:
        raise MismatchError(f"the copy of {name} got no UUID of its own: {outcome.failure}")


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of what is no hole."""
    end = 0
    while end < size:
        try:
            begin = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        end = os.lseek(fd, begin, os.SEEK_HOLE)
        yield begin, end
