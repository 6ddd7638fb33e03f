"""Image files of our own below the state directory: made whole or not at all, grown, deleted.

A new file has no name until it is complete, so what a killed process leaves is nothing. Names are
looked up by descriptors, below our own directory, and no link is followed.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from ringbolt.linux.fiemap import extents
from ringbolt.linux.openat2 import mkdir_below, open_below
from ringbolt.volumes.errors import FullError, MismatchError, NotFoundError
from ringbolt.volumes.volume import Namespace, is_named

_SUFFIX = ".img"
_ASIDE = ".new"
"""Of what shall take an image's place; an image's own name never ends so."""
_SECTOR = 512
_UNTOLD = frozenset({errno.EOPNOTSUPP, errno.ENOTTY})


class BackingFiles:
    """The image files of one kind; those of one namespace lie in one directory."""

    def __init__(self, state_dir: Path, kind: str) -> None:
        self._state_dir = state_dir
        self._kind = kind

    def open(self, namespace: Namespace, name: str, flags: int = os.O_RDWR) -> int:
        """Open one. Raises NotFoundError, MismatchError: it is no regular file."""
        root = os.open(self._state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = open_below(root, f"{self._folder(namespace)}/{name}{_SUFFIX}", flags)
        except FileNotFoundError:
            raise NotFoundError(f"there is no {self._kind} volume {namespace}/{name}") from None
        finally:
            os.close(root)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise MismatchError(f"the image of {namespace}/{name} is no regular file")
        return fd

    def path(self, namespace: Namespace, name: str) -> Path:
        """Where it lies, for people."""
        return self._state_dir / self._folder(namespace) / f"{name}{_SUFFIX}"

    def make(
        self, namespace: Namespace, name: str, size: int, finish: Callable[[int], None]
    ) -> bool:
        """Make one of `size` bytes; `finish` is given its descriptor before it has its name.

        False: somebody made it meanwhile. Raises FullError, OSError.
        """
        with ExitStack() as undo:
            folder = self._open_folder(namespace)
            undo.callback(os.close, folder)
            check_space(folder, size)
            fd = _make_unnamed(folder, size, finish, undo)
            try:
                os.link(f"/proc/self/fd/{fd}", f"{name}{_SUFFIX}", dst_dir_fd=folder)
            except FileExistsError:
                return False
            os.fsync(folder)
        return True

    def replace(
        self, namespace: Namespace, name: str, size: int, finish: Callable[[int], None]
    ) -> None:
        """As `make`, in the place of one that there is: at each moment one of them is there.

        A killed process leaves at most a file that is no volume, until the next call on it.
        """
        with ExitStack() as undo:
            folder = self._open_folder(namespace)
            undo.callback(os.close, folder)
            fd = _make_unnamed(folder, size, finish, undo)
            aside = f"{name}{_ASIDE}"
            with suppress(FileNotFoundError):
                os.unlink(aside, dir_fd=folder)
            os.link(f"/proc/self/fd/{fd}", aside, dst_dir_fd=folder)
            os.rename(aside, f"{name}{_SUFFIX}", src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)

    def names(self) -> Iterator[tuple[Namespace, str]]:
        """Those that there are. Raises FileNotFoundError before the first was made."""
        for path in sorted((self._state_dir / "volumes" / self._kind).glob(f"*/*{_SUFFIX}")):
            namespace, name = path.parent.name, path.name.removesuffix(_SUFFIX)
            if is_named(namespace, name):
                yield Namespace(namespace), name

    def delete(self, namespace: Namespace, name: str) -> bool:
        """Delete one; False: there was none."""
        folder = self._open_folder(namespace)
        try:
            with suppress(FileNotFoundError):
                os.unlink(f"{name}{_ASIDE}", dir_fd=folder)
            os.unlink(f"{name}{_SUFFIX}", dir_fd=folder)
            os.fsync(folder)
        except FileNotFoundError:
            return False
        finally:
            os.close(folder)
        return True

    def _folder(self, namespace: Namespace) -> str:
        return f"volumes/{self._kind}/{namespace}"

    def _open_folder(self, namespace: Namespace) -> int:
        root = os.open(self._state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return mkdir_below(root, self._folder(namespace), 0o700)
        finally:
            os.close(root)


def grow(fd: int, size: int, *, preallocate: bool) -> bool:
    """Make a file larger; False: it is as large already. Raises FullError, OSError."""
    now = os.fstat(fd).st_size
    if now >= size:
        return False
    check_space(fd, size - now)
    if preallocate:
        allocate(fd, size)
    else:
        os.ftruncate(fd, size)
    return True


def allocate(fd: int, size: int) -> None:
    """Have all blocks of a file now. Raises FullError."""
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        raise FullError(f"{size} bytes cannot be allocated: {error.strerror}") from error


def own_bytes(fd: int) -> int:
    """What a file has of the disk that no other file shares. Raises OSError."""
    try:
        return sum(one.length for one in extents(fd) if not one.shared)
    except OSError as error:
        if error.errno not in _UNTOLD:
            raise
        return os.fstat(fd).st_blocks * _SECTOR


def _make_unnamed(folder: int, size: int, finish: Callable[[int], None], undo: ExitStack) -> int:
    """A complete file, on disk, that has no name yet."""
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=folder)
    undo.callback(os.close, fd)
    os.ftruncate(fd, size)
    finish(fd)
    os.fsync(fd)
    return fd


def check_space(fd: int, size: int) -> None:
    """Whether the file system has that much left. A sparse file could promise more than there is.

    Raises FullError.
    """
    found = os.fstatvfs(fd)
    left = found.f_bavail * found.f_frsize
    if size > left:
        raise FullError(f"{size} bytes are asked for, and {left} are left where images lie")
