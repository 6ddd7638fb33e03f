"""Disks for tests of volumes: loop devices over sparse files, given back when the test ends."""

import os
import subprocess
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ringbolt.linux import loop, mount
from ringbolt.linux.mount_api import FsContext, move_mount

MIB = 1 << 20

MAKERS = {
    "ext4": ("e2fsprogs", 16, ("-q", "-O", "encrypt")),
    "xfs": ("xfsprogs", 300, ("-q",)),
    "btrfs": ("btrfs-progs", 120, ("-q",)),
}
"""For each file system the Debian package, the size in MiB and the options of its mkfs."""


@contextmanager
def disk(image: Path, size: int, block_size: int = 0) -> Generator[str]:
    """The path of a loop device over `image`, which is made or grown to `size` bytes.

    A killed test leaves none: it goes with its last opener.
    """
    fd = os.open(image, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, max(size, os.fstat(fd).st_size))
        setup = loop.Setup(loop.LO_FLAGS_AUTOCLEAR, block_size=block_size)
        made = loop.attach_free(fd, setup)
    finally:
        os.close(fd)
    try:
        yield loop.device_path(made.number)
    finally:
        os.close(made.fd)


@dataclass(frozen=True, slots=True)
class MadeFileSystem:
    """A file system on a loop device of its own, mounted; `fd` is its root, to be read."""

    image: Path
    target: Path
    number: int
    fd: int

    def close(self) -> None:
        """Unmount it; the loop device goes with that."""
        os.close(self.fd)
        mount.umount(str(self.target), mount.MNT_DETACH)


def made_file_system(
    folder: Path, fstype: str, size: int, program: Sequence[str]
) -> MadeFileSystem:
    """Make a file system of `size` bytes below `folder` by a mkfs, and mount it."""
    image, target = folder / "image", folder / "target"
    target.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run([*program, str(image)], check=True)
    with ExitStack() as undo:
        backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
        undo.callback(os.close, backing)
        made = loop.attach_free(backing, loop.Setup(loop.LO_FLAGS_AUTOCLEAR))
        undo.callback(os.close, made.fd)
        mount_device(fstype, loop.device_path(made.number), target)
    return MadeFileSystem(image, target, made.number, os.open(target, os.O_RDONLY))


def mount_device(fstype: str, device: str, target: Path) -> None:
    """Mount a device, built detached."""
    with ExitStack() as undo:
        context = undo.enter_context(FsContext.open(fstype))
        context.set_string("source", device)
        context.create()
        for fd in (detached := context.mount(), to := os.open(target, os.O_PATH)):
            undo.callback(os.close, fd)
        move_mount(detached, to)
