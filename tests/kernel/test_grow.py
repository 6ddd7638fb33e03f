"""File systems take all of a device that grew, mounted and unmounted, and keep what is in them."""

import os
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ringbolt.linux import loop, mount
from ringbolt.linux.process import effective_capabilities
from ringbolt.linux.statfs import statfs
from ringbolt.volumes.content import find_filesystem
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import InvalidError, NotAvailableError
from ringbolt.volumes.format import PACKAGES
from ringbolt.volumes.grow import grow_mounted, grow_unmounted
from ringbolt.volumes.held import hold
from ringbolt.volumes.spec import FsType
from tests.kernel.volume_lab import disk

pytestmark = pytest.mark.root

MIB = 1 << 20
SMALL, LARGE = 320 * MIB, 480 * MIB


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.touch()
    os.truncate(path, SMALL)
    return path


@contextmanager
def mounted(path: str, fs_type: FsType, folder: Path) -> Generator[Path]:
    folder.mkdir(exist_ok=True)
    mount.mount(path, str(folder), fs_type.value)
    try:
        yield folder
    finally:
        mount.umount(str(folder))


def grow_disk(path: str, image: Path) -> None:
    os.truncate(image, LARGE)
    fd = os.open(path, os.O_RDWR)
    loop.update_capacity(fd)
    os.close(fd)


@pytest.mark.parametrize("fs_type", FsType)
def test_a_mounted_file_system_grows(
    image: Path, need_program: Callable[[str, str], str], fs_type: FsType
) -> None:
    if fs_type is FsType.EXT4 and "SYS_RESOURCE" not in effective_capabilities():
        pytest.skip("needs CAP_SYS_RESOURCE, without which ext4 does not grow mounted")
    subprocess.run(
        [need_program(f"mkfs.{fs_type.value}", PACKAGES[fs_type]), "-q", image], check=True
    )
    with disk(image, SMALL) as path, mounted(path, fs_type, image.with_name("m")) as folder:
        (folder / "file").write_text("kept")
        fd = os.open(folder, os.O_RDONLY)
        before = statfs(fd).size
        grow_disk(path, image)
        for _ in range(2):
            grow_mounted(fd, fs_type, LARGE)
            assert statfs(fd).size - before > 100 * MIB
        os.close(fd)
        assert (folder / "file").read_text() == "kept"


def test_without_its_capability_ext4_says_what_to_do(image: Path) -> None:
    if "SYS_RESOURCE" in effective_capabilities():
        pytest.skip("needs to lack CAP_SYS_RESOURCE")
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    with disk(image, SMALL) as path, mounted(path, FsType.EXT4, image.with_name("m")) as folder:
        grow_disk(path, image)
        fd = os.open(folder, os.O_RDONLY)
        with pytest.raises(NotAvailableError, match="CAP_SYS_RESOURCE"):
            grow_mounted(fd, FsType.EXT4, LARGE)
        os.close(fd)


@pytest.mark.parametrize("as_block", [True, False])
def test_an_unmounted_ext4_grows(image: Path, *, as_block: bool) -> None:
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    os.truncate(image, LARGE)
    with disk(image, LARGE) as path:
        for grew in (True, False):
            with hold(path if as_block else str(image)) as held:
                found = find_filesystem(held)
                assert found is not None
                assert grow_unmounted(held, found, Deadline.after(60)) is grew
        with mounted(path, FsType.EXT4, image.with_name("m")) as folder:
            assert statfs(str(folder)).size > 400 * MIB


def test_a_device_that_was_cut_short_is_told_of(image: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    os.truncate(image, SMALL - MIB)
    with hold(str(image)) as held:
        found = find_filesystem(held)
        assert found is not None
        with pytest.raises(InvalidError, match="cut short"):
            grow_unmounted(held, found, Deadline.after(60))
