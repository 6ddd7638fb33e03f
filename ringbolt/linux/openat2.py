"""Paths below a directory's descriptor, that nothing on the way can lead elsewhere: openat2(2).

Linux 5.6, linux/openat2.h. Making and removing go by descriptors too, one component at a time, so
whoever owns a directory on the way cannot swap it for a symbolic link in between.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count

from ringbolt.linux import libc

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

BELOW = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS

_NR_OPENAT2 = 437
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_TRIES = 64
"""EAGAIN says that a rename somewhere on the machine raced with RESOLVE_BENEATH."""


class _OpenHow(ctypes.Structure):
    """`struct open_how`."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def openat2(dir_fd: int, path: str, flags: int, mode: int = 0, resolve: int = BELOW) -> int:
    """Open `path`, looked up below `dir_fd` as RESOLVE_* demands; always O_CLOEXEC.

    `mode` is for O_CREAT alone. Raises OSError (ELOOP: a symbolic link on the way; EXDEV: it leads
    out, or over a mount where RESOLVE_NO_XDEV).
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    for tries_left in reversed(range(_TRIES)):
        try:
            return _openat2(dir_fd, path, how)
        except OSError as error:
            if error.errno != errno.EAGAIN or not tries_left:
                shown = f"{libc.path_of(dir_fd)}/{path}"
                raise libc.failed(error.errno or 0, "openat2", shown) from None
    raise AssertionError


def _openat2(dir_fd: int, path: str, how: _OpenHow) -> int:
    size = ctypes.c_size_t(ctypes.sizeof(how))
    return libc.syscall("openat2", _NR_OPENAT2, dir_fd, path, ctypes.byref(how), size)


def open_below(dir_fd: int, relative: str, flags: int = os.O_PATH) -> int:
    """Open what lies below, through no symbolic link at all and never out of it.

    `relative` may be `.`. Raises OSError as openat2 does.
    """
    return openat2(dir_fd, relative, flags)


def mkdir_below(dir_fd: int, relative: str, mode: int = 0o755) -> int:
    """Make the directories of `relative` that are missing; a descriptor to read the last one.

    The mode is less the umask, and for what is made now. Raises OSError (ENOTDIR: a file stands
    there; ELOOP: a symbolic link).
    """
    with ExitStack() as undo:
        here = openat2(dir_fd, ".", _DIRECTORY)
        undo.callback(lambda: os.close(here))
        for name in relative.split("/"):
            below = _made_directory(here, name, mode)
            os.close(here)
            here = below
        undo.pop_all()
        return here


def _made_directory(dir_fd: int, name: str, mode: int) -> int:
    if name in ("", ".", ".."):
        raise libc.failed(errno.EINVAL, "mkdirat", libc.path_of(dir_fd), repr(name))
    try:
        os.mkdir(name, mode, dir_fd=dir_fd)
    except FileExistsError:
        pass
    except OSError as error:
        shown = f"{libc.path_of(dir_fd)}/{name}"
        raise libc.failed(error.errno or 0, "mkdirat", shown) from None
    return openat2(dir_fd, name, _DIRECTORY)


def remove_below(dir_fd: int, relative: str) -> None:
    """Remove a file, link or whole tree, never across a mount and however deep it is.

    Stops at the first thing that cannot go; called again it goes on from there. Raises OSError
    (EXDEV or EBUSY: something is mounted below; EPERM: immutable; ENOENT: it is not there), that of
    the very thing as its cause.
    """
    try:
        _remove(dir_fd, relative)
    except OSError as error:
        shown = f"{libc.path_of(dir_fd)}/{relative}"
        raise libc.failed(error.errno or 0, "remove", shown) from error


def _remove(dir_fd: int, relative: str) -> None:
    above, _, name = relative.rpartition("/")
    parent = openat2(dir_fd, above or ".", _DIRECTORY)
    try:
        if stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            _empty(parent, name)
            os.rmdir(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)
    finally:
        os.close(parent)


def _empty(parent: int, name: str) -> None:
    """Empty one directory, by moving up what lies in its directories until none is left.

    So neither the stack nor the number of descriptors grows with a depth that a tenant chose.
    """
    top = openat2(parent, name, _DIRECTORY, resolve=BELOW | RESOLVE_NO_XDEV)
    numbers = count()
    try:
        while below := _without_files(top):
            for child in below:
                _hoist(top, child, numbers)
                os.rmdir(child, dir_fd=top)
    finally:
        os.close(top)


def _without_files(directory: int) -> list[str]:
    """Unlink what is no directory; the names of the directories."""
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if not is_directory:
            os.unlink(name, dir_fd=directory)
    return [name for name, is_directory in found if is_directory]


def _hoist(top: int, child: str, numbers: Iterator[int]) -> None:
    """Move the directories of `child` into `top`, and unlink its files."""
    here = openat2(top, child, _DIRECTORY, resolve=BELOW | RESOLVE_NO_XDEV)
    try:
        for name in _without_files(here):
            _rename_somewhere(here, name, top, numbers)
    finally:
        os.close(here)


def _rename_somewhere(source: int, name: str, top: int, numbers: Iterator[int]) -> None:
    for number in numbers:
        try:
            os.rename(name, f".removed-{number}", src_dir_fd=source, dst_dir_fd=top)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        else:
            return
