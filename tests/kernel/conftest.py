"""The real kernel: each test in its own network and mount namespace, with nothing left after it.

As root the namespaces are made here. Without root `make test` runs this layer inside
`unshare -Urnm`, where the kernel allows it.
"""

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ringbolt.sandbox.ability import Means, find_ability
from tests.kernel.container_lab import NAMESPACED, Lab, lab
from tests.kernel.volume_lab import MAKERS, MIB, MadeFileSystem, made_file_system

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_PRIVATE_ALL = (1 << 18) | (1 << 14)
SIOCSIFFLAGS = 0x8914
IFF_UP = 1

libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *args: object) -> None:
    if getattr(libc, name)(*args) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{args!r}: {os.strerror(number)}")


def _return_to(namespace: int) -> None:
    try:
        _call("setns", namespace, 0)
    finally:
        os.close(namespace)


def _return_below(root: int, folder: str) -> None:
    """Entering a mount namespace leads to its root, which is not ours where we run in a chroot."""
    try:
        os.fchdir(root)
        os.chroot(".")
        os.chdir(folder)
    finally:
        os.close(root)


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


@pytest.fixture(autouse=True)
def namespaces() -> Iterator[None]:
    """A fresh network (loopback up) and mount namespace for the thread that runs the test."""
    if os.geteuid() != 0:
        pytest.skip("needs namespaces: `make test` enters them where the kernel allows it")
    with ExitStack() as undo:
        folder = os.getcwd()  # noqa: PTH109  # as the kernel names it
        undo.callback(_return_below, os.open("/", os.O_PATH | os.O_CLOEXEC), folder)
        for kind in ("mnt", "net"):
            here = os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
            undo.callback(_return_to, here)
        _call("unshare", CLONE_NEWNS | CLONE_NEWNET)
        _call("mount", None, b"/", None, MS_PRIVATE_ALL, None)
        _raise_loopback()
        yield


@pytest.fixture(autouse=True)
def _isolated(namespaces: None, nothing_remains: None) -> None:
    """Every test of this layer, in this order: first the namespaces, then the look-out."""


@pytest.fixture
def root(tmp_path: Path) -> Lab:
    """A runtime with all that root can do."""
    found = find_ability()
    assert found.means is Means.ROOT, "tests marked `root` need all of root's capabilities"
    return lab(tmp_path, found)


@pytest.fixture(params=["root", "user namespace"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    """A runtime by each of the two means; what holds for both is tested for both."""
    if request.param == "user namespace":
        return lab(tmp_path, NAMESPACED)
    found = find_ability()
    if found.means is not Means.ROOT:
        pytest.skip("needs real root: run as root")
    return lab(tmp_path, found)


@pytest.fixture
def make(
    tmp_path: Path, need_program: Callable[[str, str], str]
) -> Iterator[Callable[[str], MadeFileSystem]]:
    """Make and mount a small file system of the type asked for; takes real root."""
    with ExitStack() as undo:

        def build(fstype: str) -> MadeFileSystem:
            package, size, options = MAKERS[fstype]
            program = need_program(f"mkfs.{fstype}", package)
            made = made_file_system(tmp_path / fstype, fstype, size * MIB, [program, *options])
            undo.callback(made.close)
            return made

        yield build
