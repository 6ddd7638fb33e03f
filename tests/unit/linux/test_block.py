"""Facts of a block device in a folder that looks as sysfs does."""

import os
from pathlib import Path

import pytest

from ringbolt.linux import block

DISK, PART = os.makedev(8, 0), os.makedev(8, 1)


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    disk = tmp_path / "devices" / "ata1" / "block" / "sda"
    (disk / "sda1" / "holders" / "md0").mkdir(parents=True)
    (disk / "sda1" / "partition").write_text("1\n")
    (disk / "holders").mkdir()
    (disk / "queue").mkdir()
    (disk / "device").mkdir()
    (disk / "device" / "wwid").write_text("naa.5000c500a1b2c3d4\n")
    (disk / "serial").write_text("  S3Z8NB0K\n")
    (tmp_path / "fs" / "ext4" / "sda1").mkdir(parents=True)
    numbers = tmp_path / "dev" / "block"
    numbers.mkdir(parents=True)
    (numbers / "8:0").symlink_to(disk)
    (numbers / "8:1").symlink_to(disk / "sda1")
    return tmp_path


def test_a_disk_and_its_partition(sysfs: Path) -> None:
    assert block.name(DISK, sysfs) == "sda"
    assert block.partitions(DISK, sysfs) == ("sda1",)
    assert (block.partition(DISK, sysfs), block.partition(PART, sysfs)) == (0, 1)
    assert (block.holders(DISK, sysfs), block.holders(PART, sysfs)) == ((), ("md0",))


def test_a_partition_is_known_by_its_disk(sysfs: Path) -> None:
    assert block.serial(PART, sysfs) == block.serial(DISK, sysfs) == "S3Z8NB0K"
    assert block.wwid(PART, sysfs) == "naa.5000c500a1b2c3d4"


def test_a_superblock_lives_on(sysfs: Path) -> None:
    assert block.has_superblock(PART, "ext4", sysfs)
    assert not block.has_superblock(PART, "xfs", sysfs)


def test_a_number_without_a_device(sysfs: Path) -> None:
    with pytest.raises(FileNotFoundError):
        block.name(os.makedev(8, 16), sysfs)
