"""Kernel parameters below /proc/sys, of the network namespace that the calling thread is in.

`network_namespace.inside` runs these for another namespace. Policy has no place here. A container
has /proc/sys read-only unless it is privileged; one that may mount writes through a procfs of its
own, which is attached nowhere.
"""

import errno
import os
from collections.abc import Mapping

from ringbolt.linux import libc, network_namespace
from ringbolt.linux.mount_api import FsContext

ROOT = "/proc/sys"


def read(name: str) -> str:
    """The value of `net/ipv4/ip_forward`. Raises OSError (ENOENT: this kernel has none such)."""
    fd = _open(name, os.O_RDONLY)
    try:
        return os.read(fd, 4096).decode("ascii").strip()
    finally:
        os.close(fd)


def write(name: str, value: str) -> None:
    """Set `net/ipv4/ip_forward`; slashes, as an interface's name may hold dots.

    Raises OSError (ENOENT; EROFS, EACCES: /proc/sys is locked down; EINVAL: no such value).
    """
    fd = _open(name, os.O_WRONLY)
    try:
        os.write(fd, value.encode("ascii"))
    except OSError as error:
        raise libc.failed(error.errno or 0, "sysctl", f"{name}={value}") from None
    finally:
        os.close(fd)


def write_inside(netns: int, values: Mapping[str, str]) -> None:
    """Set parameters of the network namespace `netns` (a descriptor) and of no other."""

    def write_all() -> None:
        for name, value in values.items():
            write(name, value)

    network_namespace.inside(netns, write_all)


def _open(name: str, flags: int) -> int:
    try:
        return os.open(f"{ROOT}/{name}", flags | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EROFS and (fd := _open_own(name, flags)) is not None:
            return fd
        raise libc.failed(error.errno or 0, "sysctl", name) from None


def _open_own(name: str, flags: int) -> int | None:
    """Through a new procfs; None where this process may not have one, or no such parameter is."""
    try:
        with FsContext.open("proc") as context:
            context.create()
            proc = context.mount()
    except OSError:
        return None
    try:
        return os.open(f"sys/{name}", flags | os.O_CLOEXEC, dir_fd=proc)
    except OSError:
        return None
    finally:
        os.close(proc)
