"""The mount API of descriptors: fsopen, fsconfig, fsmount, fspick, open_tree, move_mount.

A mount is built detached, and attached by descriptor once it is right. fsopen(2), fsconfig(2),
fsmount(2), fspick(2), open_tree(2), move_mount(2), linux/mount.h; Linux 5.2. Flags of a mount:
`mount.mount_setattr`. What is mounted where is its caller's affair.
"""

import errno
import os
from contextlib import suppress
from types import TracebackType
from typing import Self

from ringbolt.linux import libc
from ringbolt.linux.mount import AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE

_NR_OPEN_TREE = 428
_NR_MOVE_MOUNT = 429
_NR_FSOPEN = 430
_NR_FSCONFIG = 431
_NR_FSMOUNT = 432
_NR_FSPICK = 433

FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_SET_BINARY = 2
FSCONFIG_SET_PATH = 3
FSCONFIG_SET_FD = 5
FSCONFIG_CMD_CREATE = 6
FSCONFIG_CMD_RECONFIGURE = 7
FSCONFIG_CMD_CREATE_EXCL = 8

_COMMANDS = {
    FSCONFIG_SET_FLAG: "FSCONFIG_SET_FLAG",
    FSCONFIG_SET_STRING: "FSCONFIG_SET_STRING",
    FSCONFIG_SET_BINARY: "FSCONFIG_SET_BINARY",
    FSCONFIG_SET_PATH: "FSCONFIG_SET_PATH",
    FSCONFIG_SET_FD: "FSCONFIG_SET_FD",
    FSCONFIG_CMD_CREATE: "FSCONFIG_CMD_CREATE",
    FSCONFIG_CMD_RECONFIGURE: "FSCONFIG_CMD_RECONFIGURE",
    FSCONFIG_CMD_CREATE_EXCL: "FSCONFIG_CMD_CREATE_EXCL",
}

_FSOPEN_CLOEXEC = 0x1
_FSMOUNT_CLOEXEC = 0x1
_FSPICK_CLOEXEC = 0x1
_FSPICK_EMPTY_PATH = 0x8
_OPEN_TREE_CLONE = 0x1
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_MOVE_MOUNT_T_EMPTY_PATH = 0x40

_MESSAGE_SIZE = 4096


def fsopen(fstype: str) -> int:
    """A descriptor to configure a new superblock by. Raises OSError (ENODEV: kernel lacks it)."""
    return libc.syscall("fsopen", _NR_FSOPEN, fstype, _FSOPEN_CLOEXEC)


def fspick(target: str | int) -> int:
    """A descriptor to reconfigure the superblock of the mount at `target`, a path or descriptor."""
    at = (target, b"") if isinstance(target, int) else (AT_FDCWD, target)
    flags = _FSPICK_CLOEXEC | (_FSPICK_EMPTY_PATH if isinstance(target, int) else 0)
    return libc.syscall("fspick", _NR_FSPICK, *at, flags)


def fsconfig(
    fs_fd: int, command: int, key: str = "", value: str | bytes | None = None, number: int = 0
) -> None:
    """Take one step of configuration; `number` is the call's `aux`.

    Raises OSError with what the kernel logged about it. The error names the key and never the
    value, which may be a secret.
    """
    name = libc.encoded(key) if key else None
    data = libc.encoded(value) if isinstance(value, str) else value
    try:
        libc.syscall("fsconfig", _NR_FSCONFIG, fs_fd, command, name, data, number)
    except OSError as error:
        raise _failed(fs_fd, error, "fsconfig", f"{_COMMANDS[command]} {key}".rstrip()) from None


def fsmount(fs_fd: int, attributes: int = 0) -> int:
    """A detached mount, with MOUNT_ATTR_*, of what was configured. Raises OSError."""
    try:
        return libc.syscall("fsmount", _NR_FSMOUNT, fs_fd, _FSMOUNT_CLOEXEC, attributes)
    except OSError as error:
        raise _failed(fs_fd, error, "fsmount", hex(attributes)) from None


def read_messages(fs_fd: int) -> tuple[str, ...]:
    """What the kernel logged in a context since it was last read: `e ext4: Unknown ...`.

    The first letter is the weight: e(rror), w(arning) or i(nformation).
    """
    found: list[str] = []
    with suppress(OSError):  # ENODATA: no more
        while message := os.read(fs_fd, _MESSAGE_SIZE):
            found.append(message.decode("utf-8", "replace").strip())
    return tuple(found)


def _failed(fs_fd: int, error: OSError, operation: str, what: str) -> OSError:
    number = error.errno or 0
    said = "; ".join(message[2:] for message in read_messages(fs_fd))
    text = f"{operation} {what}: {os.strerror(number)}"
    return OSError(number, f"{text} ({said})" if said else text)


class FsContext:
    """One file system being configured; owns its descriptor and closes it at the block's end."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        """Own `fd`, of fsopen or fspick."""
        self.fd = fd

    @classmethod
    def open(cls, fstype: str) -> Self:
        """For a new superblock."""
        return cls(fsopen(fstype))

    @classmethod
    def pick(cls, target: str | int) -> Self:
        """For the superblock of an existing mount."""
        return cls(fspick(target))

    def __enter__(self) -> Self:
        """The context itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it; what fsmount made of it stays."""
        os.close(self.fd)

    def set_flag(self, key: str) -> None:
        """An option without a value: `ro`, `noswap`."""
        fsconfig(self.fd, FSCONFIG_SET_FLAG, key)

    def set_string(self, key: str, value: str) -> None:
        """An option with a value, commas and all; the device is `source`. 255 bytes at most."""
        fsconfig(self.fd, FSCONFIG_SET_STRING, key, value)

    def set_binary(self, key: str, value: bytes) -> None:
        """An option whose value is bytes."""
        fsconfig(self.fd, FSCONFIG_SET_BINARY, key, value, len(value))

    def set_path(self, key: str, path: str, dir_fd: int = AT_FDCWD) -> None:
        """An option that is looked up as a path, below `dir_fd` where it is relative."""
        fsconfig(self.fd, FSCONFIG_SET_PATH, key, path, dir_fd)

    def set_fd(self, key: str, fd: int) -> None:
        """An option that is an open file (overlay layers by descriptor: Linux 6.13)."""
        fsconfig(self.fd, FSCONFIG_SET_FD, key, None, fd)

    def create(self, *, exclusive: bool = False) -> None:
        """Make the superblock, or share one that is there.

        With `exclusive` (Linux 6.6) sharing is refused: OSError EBUSY.
        """
        fsconfig(self.fd, FSCONFIG_CMD_CREATE_EXCL if exclusive else FSCONFIG_CMD_CREATE)

    def reconfigure(self) -> None:
        """Apply what was set to a picked superblock."""
        fsconfig(self.fd, FSCONFIG_CMD_RECONFIGURE)

    def mount(self, attributes: int = 0) -> int:
        """The descriptor of a detached mount of it."""
        return fsmount(self.fd, attributes)


def open_tree(target: str | int, *, clone: bool = False, recursive: bool = False) -> int:
    """A descriptor of the mount, or of the directory or file below it, at `target`.

    With `clone` a detached bind mount of it; `recursive` takes the mounts below along. A detached
    mount goes with the last descriptor of it, if it was not attached. Raises OSError.
    """
    at = (target, b"") if isinstance(target, int) else (AT_FDCWD, target)
    flags = os.O_CLOEXEC | (AT_EMPTY_PATH if isinstance(target, int) else 0)
    flags |= (_OPEN_TREE_CLONE if clone else 0) | (AT_RECURSIVE if recursive else 0)
    return libc.syscall("open_tree", _NR_OPEN_TREE, *at, flags)


def move_mount(mount_fd: int, target_fd: int) -> None:
    """Attach a detached mount, or move an attached one, onto what `target_fd` is open on.

    By descriptors alone, so no path is looked up again. Raises OSError (EINVAL: a file onto a
    directory or the reverse, or a target that is below no mount of this namespace).
    """
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    try:
        libc.syscall("move_mount", _NR_MOVE_MOUNT, mount_fd, b"", target_fd, b"", flags)
    except OSError as error:
        raise libc.failed(error.errno or 0, "move_mount", libc.path_of(target_fd)) from None


def is_supported() -> bool:
    """Whether this kernel has these calls (Linux 5.2), without making anything."""
    try:
        os.close(fsopen("tmpfs"))
    except OSError as error:
        return error.errno != errno.ENOSYS
    return True
