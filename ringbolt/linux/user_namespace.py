"""A user namespace as a descriptor, to map owners with (`mount.idmap`): user_namespaces(7).

A process of its own makes it, since a process with threads cannot, and is gone at return; the
namespace lives as long as the descriptor, or a mount that it was given to.
"""

import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from ringbolt.linux import libc
from ringbolt.linux.namespaces import CLONE_NEWUSER

_CHILD = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
code = ctypes.get_errno() if libc.unshare({CLONE_NEWUSER}) else 0
os.write(1, b"%d" % code)
sys.stdin.read()
"""


class IdRange(NamedTuple):
    """`length` ids from `inside` on, that are `outside` and following ones in this namespace."""

    inside: int
    outside: int
    length: int


def open_user_namespace(uids: Sequence[IdRange], gids: Sequence[IdRange]) -> int:
    """A descriptor of a new user namespace with these maps, the caller's to close.

    For an idmapped mount `inside` is the owner on the disk and `outside` the one shown. Takes as
    long as a Python process to start, so keep it for the next one. Raises OSError (EPERM: no
    CAP_SETUID, CAP_SETGID; EINVAL: ranges that overlap; ENOSPC: user.max_user_namespaces).
    """
    command = [sys.executable, "-I", "-S", "-c", _CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout
            _check_unshared(os.read(child.stdout.fileno(), 16))
            libc.write(f"/proc/{child.pid}/uid_map", _map_text(uids))
            libc.write(f"/proc/{child.pid}/gid_map", _map_text(gids))
            return os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            child.kill()


def _check_unshared(answer: bytes) -> None:
    """The child tells an errno, and nothing where it could not even start."""
    if answer != b"0":
        raise libc.failed(int(answer or errno.ECHILD), "unshare", "CLONE_NEWUSER")


def _map_text(ranges: Sequence[IdRange]) -> str:
    return "".join(f"{one.inside} {one.outside} {one.length}\n" for one in ranges)
