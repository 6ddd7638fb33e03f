"""Mounts: mount(2), mount_setattr(2), umount2(2), pivot_root(2).

Universal wrappers only; what is mounted where is its caller's affair.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

from ringbolt.linux import libc

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_UNBINDABLE = 0x20000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000
MS_STRICTATIME = 0x1000000

MNT_FORCE = 0x1
MNT_DETACH = 0x2
UMOUNT_NOFOLLOW = 0x8

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
_NR_MOUNT_SETATTR = 442


class _MountAttr(ctypes.Structure):
    """`struct mount_attr`."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount(source: str, target: str, fstype: str = "", flags: int = 0, options: str = "") -> None:
    """Attach a filesystem, or with flags alone change what is there. Raises OSError."""
    libc.call("mount", source or None, target, fstype or None, flags, options or None)


def bind(source: str, target: str, *, recursive: bool = False) -> None:
    """Show `source` at `target` too, both existing and of the same kind."""
    mount(source, target, flags=MS_BIND | (MS_REC if recursive else 0))


def make_private(target: str) -> None:
    """Let nothing mounted below `target` reach another namespace, nor the other way."""
    mount("", target, flags=MS_PRIVATE | MS_REC)


def mount_setattr(
    target: str | int, attributes: int = 0, *, clear: int = 0, recursive: bool = False
) -> None:
    """Add and clear MOUNT_ATTR_* of a mount, and of all below it where `recursive`.

    `target` is a path or a descriptor of the mount. Unlike a bind remount it keeps the flags it is
    not told of, which a user namespace may not clear. Linux 5.12, mount_setattr(2). Raises OSError.
    """
    _setattr(target, _MountAttr(attr_set=attributes, attr_clr=clear), recursive=recursive)


def set_propagation(target: str | int, propagation: int, *, recursive: bool = False) -> None:
    """Make a mount MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE, by mount_setattr(2)."""
    _setattr(target, _MountAttr(propagation=propagation), recursive=recursive)


def idmap(target: str | int, userns_fd: int, *, recursive: bool = False) -> None:
    """Show a file of owner `inside`, as the maps of a user namespace have it, as `outside`'s.

    And write the reverse; owners outside the maps show as nobody. Once in a mount's life and on a
    detached one (open_tree, fsmount). Raises OSError (EINVAL: the file system cannot, or the mount
    is attached; EPERM: mapped already, or the initial user namespace).
    """
    attr = _MountAttr(attr_set=MOUNT_ATTR_IDMAP, userns_fd=userns_fd)
    _setattr(target, attr, recursive=recursive)


def _setattr(target: str | int, attr: _MountAttr, *, recursive: bool) -> None:
    by_fd = isinstance(target, int)
    libc.syscall(
        "mount_setattr",
        _NR_MOUNT_SETATTR,
        ctypes.c_int(target if isinstance(target, int) else AT_FDCWD),
        "" if isinstance(target, int) else target,
        ctypes.c_uint((AT_RECURSIVE if recursive else 0) | (AT_EMPTY_PATH if by_fd else 0)),
        ctypes.byref(attr),
        ctypes.c_size_t(ctypes.sizeof(attr)),
    )


def umount(target: str, flags: int = UMOUNT_NOFOLLOW) -> None:
    """umount2(2). Raises OSError (EINVAL: not a mount point)."""
    libc.call("umount2", target, flags)


def umount_below(dir_fd: int, name: str, flags: int = 0) -> None:
    """Unmount what is on entry `name` of an open directory, whatever path leads there by now.

    A descriptor of the mount itself would keep it busy; that of the directory above does not.
    """
    if "/" in name or name in ("", ".", ".."):
        raise libc.failed(errno.EINVAL, "umount2", repr(name))
    try:
        umount(f"/proc/thread-self/fd/{dir_fd}/{name}", flags | UMOUNT_NOFOLLOW)
    except OSError as error:
        shown = f"{libc.path_of(dir_fd)}/{name}"
        raise libc.failed(error.errno or 0, "umount2", shown, flags) from None


def pivot_root(new_root: str) -> None:
    """Make the mount at `new_root` the root of this mount namespace and let go of the old one."""
    os.chdir(new_root)
    # Both on one path: the old root lands over the new one and is taken off (pivot_root(2), NOTES).
    libc.call("pivot_root", ".", ".")
    umount(".", MNT_DETACH)
    os.chdir("/")


class MountPoint(NamedTuple):
    """One line of /proc/PID/mountinfo (proc_pid_mountinfo(5))."""

    mount_id: int
    parent_id: int
    device: tuple[int, int]
    root: str
    target: str
    options: frozenset[str]
    fstype: str
    source: str
    super_options: frozenset[str]
    propagation: frozenset[str] = frozenset()
    """`shared:N`, `master:N`, ...: its peers; none: it is private."""


def parse_mountinfo(text: str) -> Iterator[MountPoint]:
    """The mounts of a mountinfo file, in its order."""
    for line in text.splitlines():
        own, _, rest = line.partition(" - ")
        fields, (fstype, source, super_options) = own.split(" "), rest.split(" ", 2)
        major, _, minor = fields[2].partition(":")
        yield MountPoint(
            int(fields[0]),
            int(fields[1]),
            (int(major), int(minor)),
            _unescaped(fields[3]),
            _unescaped(fields[4]),
            frozenset(fields[5].split(",")),
            fstype,
            _unescaped(source),
            frozenset(super_options.split(",")),
            frozenset(fields[6:]),
        )


def read_mountinfo(pid: int | str = "self") -> tuple[MountPoint, ...]:
    """The mounts that a process sees."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return tuple(parse_mountinfo(file.read()))


def _unescaped(text: str) -> str:
    """Blank, tab, newline and backslash stand as three octal digits."""
    head, *rest = text.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def root_is_mount() -> bool:
    """Whether this process's `/` is a mount point; in a bare chroot(2) it is none.

    Propagation cannot be changed there and pivot_root(2) refuses it.
    """
    return any(point.target == "/" for point in read_mountinfo())
