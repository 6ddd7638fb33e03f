"""Files as loop devices, and block devices as the kernel knows them."""

import errno
import os
import subprocess
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ringbolt.linux import block, loop, mount

pytestmark = [pytest.mark.effects("libc", "sysfs", "subprocess"), pytest.mark.root]

MIB = 1 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(8 * MIB)
    return path


@contextmanager
def attached(image: Path, setup: loop.Setup | None = None) -> Generator[loop.Attached]:
    asked = setup or loop.Setup(flags=loop.LO_FLAGS_AUTOCLEAR)
    readonly = asked.flags & loop.LO_FLAGS_READ_ONLY
    with image.open("rb" if readonly else "rb+") as file:
        made = loop.attach_free(file.fileno(), asked)
    try:
        yield made
    finally:
        os.close(made.fd)


def test_a_device_ends_with_its_last_descriptor(image: Path) -> None:
    with attached(image) as made:
        assert block.size(made.fd) == 8 * MIB
    fd = loop.open_loop(made.number)
    with pytest.raises(OSError, match="LOOP_GET_STATUS64 /dev/loop") as seen:
        loop.status(fd)
    os.close(fd)
    assert seen.value.errno == errno.ENXIO


def test_every_part_of_a_setup_reaches_the_kernel(image: Path) -> None:
    flags = loop.LO_FLAGS_AUTOCLEAR | loop.LO_FLAGS_READ_ONLY | loop.LO_FLAGS_PARTSCAN
    with attached(image, loop.Setup(flags, 4096, 2 * MIB, 4096, "a volume")) as made:
        found = image.stat()
        assert loop.status(made.fd) == loop.LoopStatus(
            made.number, found.st_dev, found.st_ino, 4096, 2 * MIB, flags, "a volume"
        )


def test_a_long_name_is_cut(image: Path) -> None:
    with attached(image, loop.Setup(loop.LO_FLAGS_AUTOCLEAR, name="n" * 100)) as made:
        assert loop.status(made.fd).name == "n" * 63


def test_a_bound_device_is_not_bound_again(image: Path) -> None:
    with (
        attached(image) as made,
        image.open("rb+") as file,
        pytest.raises(OSError, match="LOOP_CONFIGURE /dev/loop") as seen,
    ):
        loop.configure(made.fd, file.fileno())
    assert seen.value.errno == errno.EBUSY


def test_a_device_is_found_by_its_file_whatever_its_path(image: Path) -> None:
    """k/k#96888: behind a link a device was not found again, and leaked."""
    found = image.stat()
    with attached(image) as made:
        image.rename(image.with_name("renamed"))
        assert [s.number for s in loop.find_by_backing(found.st_dev, found.st_ino)] == [made.number]
    assert loop.find_by_backing(found.st_dev, found.st_ino) == ()


def test_many_at_once_get_each_its_own(tmp_path: Path) -> None:
    made: list[loop.Attached] = []
    images = [tmp_path / f"image{number}" for number in range(12)]
    gate = threading.Barrier(len(images))

    def attach(path: Path) -> None:
        path.write_bytes(bytes(MIB))
        with path.open("rb+") as file:
            gate.wait(10)
            made.append(loop.attach_free(file.fileno(), loop.Setup(loop.LO_FLAGS_AUTOCLEAR)))

    threads = [threading.Thread(target=attach, args=(path,)) for path in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    inodes = {loop.status(one.fd).inode for one in made}
    for one in made:
        os.close(one.fd)
    assert inodes == {path.stat().st_ino for path in images}


def test_a_file_that_grew_makes_the_device_grow(image: Path) -> None:
    with attached(image) as made:
        os.truncate(image, 16 * MIB)
        loop.update_capacity(made.fd)
        assert block.size(made.fd) == 16 * MIB


def test_direct_io_can_be_turned_on_and_off(image: Path) -> None:
    with attached(image) as made:
        for on in (True, False):
            loop.set_direct_io(made.fd, on=on)
            assert bool(loop.status(made.fd).flags & loop.LO_FLAGS_DIRECT_IO) is on


def test_a_device_is_opened_only_as_itself(image: Path) -> None:
    with attached(image) as made:
        path, number = loop.device_path(made.number), os.fstat(made.fd).st_rdev
        fd = block.open_exclusive(path, device=number)
        with pytest.raises(OSError, match=f"open {path} O_EXCL: Device or resource busy"):
            block.open_exclusive(path)
        os.close(fd)
        with pytest.raises(OSError, match=f"{path} is 7:{made.number}, not 7:9999") as seen:
            block.open_exclusive(path, device=os.makedev(7, 9999))
        assert seen.value.errno == errno.ENXIO
    with pytest.raises(OSError, match=f"{image}: Block device required"):
        block.open_exclusive(str(image))


def test_sysfs_tells_of_a_device(image: Path) -> None:
    with attached(image) as made:
        number = os.fstat(made.fd).st_rdev
        assert block.properties(number)["DEVNAME"] == block.name(number) == f"loop{made.number}"
        assert block.properties(number)["DISKSEQ"] == str(block.sequence(made.fd))
        assert block.queue(number).discard_max > 0
        assert not block.is_removable(number)
        block.flush(made.fd)


def test_a_superblock_is_seen_until_its_last_file_is_closed(
    image: Path, tmp_path: Path, need_program: Callable[[str, str], str]
) -> None:
    program = need_program("mkfs.ext4", "e2fsprogs")
    subprocess.run([program, "-q", str(image)], check=True)
    target = tmp_path / "target"
    target.mkdir()
    with attached(image) as made:
        number = os.fstat(made.fd).st_rdev
        assert block.live_superblocks(number) == ()
        mount.mount(loop.device_path(made.number), str(target), "ext4")
        held = os.open(target, os.O_RDONLY)
        mount.umount(str(target), mount.MNT_DETACH)
        assert block.live_superblocks(number) == ("ext4",)
        os.close(held)
        assert block.live_superblocks(number) == ()
