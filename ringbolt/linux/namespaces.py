"""Namespaces: unshare(2), setns(2), the maps of a user namespace, its host name.

These change the calling thread (or, for CLONE_NEWPID, its children): only single-threaded
processes made for it may call them, never the daemon.
"""

import os

from ringbolt.linux import libc

CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_WHOLE_RANGE = 4294967295


def unshare(flags: int) -> None:
    """Leave namespaces for new ones.

    Raises OSError (EPERM: not allowed; ENOSPC: user.max_*_namespaces reached).
    """
    libc.call("unshare", flags)


def setns(path: str, kind: int) -> None:
    """Enter the namespace that `path` names (/proc/PID/ns/net); `kind` is its CLONE_NEW*."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc.call("setns", fd, kind)
    except OSError as error:
        raise libc.failed(error.errno or 0, "setns", path) from None
    finally:
        os.close(fd)


def map_self(uid: int, gid: int) -> None:
    """Make this process root of the user namespace it just made; `uid`, `gid` as seen outside."""
    # Without privilege the kernel demands it: groups that deny access could be dropped otherwise.
    libc.write("/proc/self/setgroups", "deny")
    libc.write("/proc/self/uid_map", f"0 {uid} 1")
    libc.write("/proc/self/gid_map", f"0 {gid} 1")


def sethostname(name: str) -> None:
    """Name the UTS namespace."""
    libc.call("sethostname", name, len(os.fsencode(name)))


def in_initial_user_namespace() -> bool:
    """Whether uid 0 here is the machine's root."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return [int(word) for word in file.read().split()] == [0, 0, _WHOLE_RANGE]
