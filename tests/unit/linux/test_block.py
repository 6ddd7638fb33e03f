"""Facts of a block device in a folder that looks as sysfs does."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.linux import block

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="="))

DISK, PART = os.makedev(8, 0), os.makedev(8, 1)


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    disk = tmp_path / "devices" / "ata1" / "block" / "sda"
    (disk / "sda1" / "holders" / "md0").mkdir(parents=True)
    (disk / "sda1" / "partition").write_text("1\n")
    (disk / "holders").mkdir()
    (disk / "queue").mkdir()
    (disk / "queue" / "rotational").write_text("1\n")
    (disk / "queue" / "discard_max_bytes").write_text("4096\n")
    (disk / "removable").write_text("1\n")
    (disk / "sda1" / "uevent").write_text("DEVNAME=sda1\nPARTUUID=77\n")
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


@given(st.dictionaries(WORDS.filter(bool), WORDS))
def test_properties_come_back(properties: dict[str, str]) -> None:
    text = "\n".join(f"{name}={value}" for name, value in properties.items())
    assert block.parse_properties(f"\nno value\n=no name\n{text}") == properties


def test_a_partition_has_the_queue_of_its_disk(sysfs: Path) -> None:
    assert block.queue(PART, sysfs) == block.Queue(
        rotational=True, discard_granularity=0, discard_max=4096, write_zeroes_max=0
    )
    assert block.is_removable(PART, sysfs)
    assert block.properties(PART, sysfs)["PARTUUID"] == "77"


def test_udev_is_read_where_it_runs(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "b8:1").write_text("S:disk/by-id/x\nE:ID_SERIAL=S=1\nG:systemd\n")
    assert block.udev_properties(PART, tmp_path) == {"ID_SERIAL": "S=1"}
    assert block.udev_properties(DISK, tmp_path) == {}


def test_a_superblock_over_several_devices_is_seen_at_each(sysfs: Path) -> None:
    (sysfs / "fs" / "btrfs" / "uuid" / "devices" / "sda").mkdir(parents=True)
    assert block.live_superblocks(DISK, sysfs) == ("btrfs",)
    assert block.live_superblocks(PART, sysfs) == ("ext4",)
