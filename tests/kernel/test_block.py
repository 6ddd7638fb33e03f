"""What the kernel says of a block device, beside what sysfs and the file behind it say."""

import errno
import os
from pathlib import Path

import pytest

from ringbolt.linux import block
from tests.kernel.volume_lab import disk

MIB = 1 << 20

pytestmark = pytest.mark.root


def test_facts_of_a_disk(tmp_path: Path) -> None:
    with disk(tmp_path / "image", 8 * MIB) as path:
        fd = block.open_exclusive(path)
        try:
            number = os.fstat(fd).st_rdev
            assert block.size(fd) == 8 * MIB
            assert block.logical_sector(fd) == 512
            assert block.physical_sector(fd) >= 512
            assert not block.is_read_only(fd)
            assert block.sequence(fd) > 0
            assert block.name(number) == Path(path).name
            assert (block.holders(number), block.partitions(number)) == ((), ())
            assert (block.serial(number), block.wwid(number), block.partition(number)) == (
                "",
                "",
                0,
            )
        finally:
            os.close(fd)


def test_a_disk_has_another_sequence_each_time(tmp_path: Path) -> None:
    seen: set[int] = set()
    for _ in range(2):
        with disk(tmp_path / "image", MIB) as path:
            fd = block.open_exclusive(path)
            seen.add(block.sequence(fd))
            os.close(fd)
    assert len(seen) == 2


def test_a_claimed_disk_is_not_given_again(tmp_path: Path) -> None:
    with disk(tmp_path / "image", MIB) as path:
        fd = block.open_exclusive(path)
        with pytest.raises(OSError, match=rf"open {path} O_EXCL") as caught:
            block.open_exclusive(path)
        os.close(fd)
    assert caught.value.errno == errno.EBUSY


def test_a_flush_forgets_what_is_cached(tmp_path: Path) -> None:
    with disk(tmp_path / "image", MIB) as path:
        fd = block.open_exclusive(path)
        assert os.pread(fd, 4, 0) == bytes(4)
        with (tmp_path / "image").open("r+b") as image:
            image.write(b"data")
        block.flush(fd)
        found = os.pread(fd, 4, 0)
        os.close(fd)
    assert found == b"data"


def test_no_block_device_is_told_of(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match=f"BLKGETSIZE64 {tmp_path}"):
        block.size(fd)
    os.close(fd)
