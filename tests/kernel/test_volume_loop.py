"""Volumes in image files on the real kernel: staged once, shown often, nothing left behind."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ringbolt.linux import loop, mount
from ringbolt.volumes.errors import (
    BusyError,
    ConflictError,
    FullError,
    InvalidError,
    MismatchError,
)
from ringbolt.volumes.spec import FsType, Loop
from ringbolt.volumes.volume import Volume
from tests.kernel.volumes_lab import TENANT, VolumeLab, soon, volume, volume_lab

pytestmark = pytest.mark.root
MIB = 1 << 20
SIZES = {FsType.EXT4: 16 * MIB, FsType.XFS: 320 * MIB, FsType.BTRFS: 128 * MIB}
PROGRAMS = {
    FsType.EXT4: ("mkfs.ext4", "e2fsprogs"),
    FsType.XFS: ("mkfs.xfs", "xfsprogs"),
    FsType.BTRFS: ("mkfs.btrfs", "btrfs-progs"),
}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[VolumeLab]:
    made = volume_lab(tmp_path)
    yield made
    assert made.mounts() == []
    assert list((made.places.kubelet_dir / "plugins").glob("ringbolt.dev/*")) == []
    mount.umount(str(made.places.kubelet_dir))
    assert sorted((made.places.run_dir / "volumes").rglob("*.json")) == []


def ext4(name: str = "data", *options: str, size: int = 16 * MIB) -> Volume:
    return volume(Loop(name, size), "", *options)


def image(lab: VolumeLab, name: str = "data") -> Path:
    return lab.places.state_dir / "volumes" / "loop" / "default" / f"{name}.img"


def loops_of(path: Path) -> list[int]:
    found = path.stat()
    return [one.number for one in loop.find_by_backing(found.st_dev, found.st_ino)]


@pytest.mark.parametrize("fs_type", FsType)
def test_what_is_written_is_found_again(
    lab: VolumeLab, fs_type: FsType, need_program: Callable[[str, str], str]
) -> None:
    need_program(*PROGRAMS[fs_type])
    wanted = volume(Loop("data", SIZES[fs_type], fs_type=fs_type))
    target = lab.target("data")
    lab.publish(wanted, target)
    assert {one.fstype for one in lab.mounts()} == {fs_type.value}
    (target / "file").write_text("kept")
    gone = lab.unpublish(target)
    assert gone.unstaged
    assert loops_of(image(lab)) == []
    lab.publish(wanted, target)
    assert (target / "file").read_text() == "kept"
    lab.unpublish(target)
    target.rmdir()


def test_two_pods_share_one_mount_which_ends_with_the_last(lab: VolumeLab) -> None:
    first, second = lab.target("data"), lab.target("data", "beef")
    assert lab.publish(ext4(), first).fresh
    assert lab.publish(ext4(), second, readonly=True).fresh
    assert len({one.device for one in lab.mounts()}) == 1
    assert len(loops_of(image(lab))) == 1
    (first / "file").write_text("x")
    assert (second / "file").read_text() == "x"
    assert not lab.unpublish(first).unstaged
    assert (second / "file").read_text() == "x"
    assert lab.unpublish(second).unstaged


def test_another_file_system_than_the_mounted_one_is_refused(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(ext4(), target)
    other = volume(Loop("data", fs_type=FsType.XFS))
    with pytest.raises(MismatchError, match="holds ext4, not xfs"):
        lab.publish(other, lab.target("data", "beef"))
    lab.unpublish(target)


def test_an_image_is_sparse_or_allocated_and_512_sectors_direct(lab: VolumeLab) -> None:
    lab.publish(ext4("sparse"), lab.target("sparse"))
    lab.publish(volume(Loop("full", 16 * MIB, preallocate=True)), lab.target("full"))
    assert image(lab, "sparse").stat().st_blocks * 512 < 8 * MIB
    assert image(lab, "full").stat().st_blocks * 512 >= 16 * MIB
    (number,) = loops_of(image(lab, "sparse"))
    queue = Path(f"/sys/block/loop{number}")
    assert (queue / "queue" / "logical_block_size").read_text() == "512\n"
    assert (queue / "loop" / "autoclear").read_text() == "1\n"
    for name in ("sparse", "full"):
        lab.unpublish(lab.target(name))


def test_a_volume_larger_than_what_is_left_is_refused(lab: VolumeLab) -> None:
    """local-path-provisioner#225: sizes that nothing held."""
    with pytest.raises(FullError):
        lab.publish(ext4(size=1 << 60), lab.target("data"))
    assert list(image(lab).parent.iterdir()) == []


def test_other_superblock_options_are_refused_while_it_is_mounted(lab: VolumeLab) -> None:
    lab.publish(ext4("data", "commit=5"), lab.target("data"))
    with pytest.raises(ConflictError, match="commit=5"):
        lab.publish(ext4("data", "commit=9"), lab.target("data", "beef"))
    lab.unpublish(lab.target("data"))


def test_a_larger_size_than_it_has_is_told(lab: VolumeLab) -> None:
    lab.publish(ext4(), lab.target("data"))
    with pytest.raises(MismatchError, match="expand it"):
        lab.publish(ext4(size=32 * MIB), lab.target("data", "beef"))
    lab.unpublish(lab.target("data"))


def test_only_delete_deletes_and_not_while_it_is_used(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(ext4(), target)
    with pytest.raises(BusyError, match="unpublish"):
        lab.room.delete(ext4(), soon())
    lab.unpublish(target)
    assert image(lab).exists()
    assert lab.room.delete(ext4(), soon())
    assert not image(lab).exists()
    assert not lab.room.delete(ext4(), soon())


def test_a_volume_in_use_elsewhere_is_not_deleted(lab: VolumeLab, tmp_path: Path) -> None:
    target, elsewhere = lab.target("data"), tmp_path / "elsewhere"
    lab.publish(ext4(), target)
    elsewhere.mkdir()
    mount.bind(str(target), str(elsewhere))
    assert lab.unpublish(target).unstaged
    with pytest.raises(BusyError, match="/dev/loop"):
        lab.room.delete(ext4(), soon())
    lab.publish(ext4(), target)
    assert len(loops_of(image(lab))) == 1
    lab.unpublish(target)
    mount.umount(str(elsewhere))


def test_an_explicit_stage_stays_until_it_is_unstaged(lab: VolumeLab) -> None:
    wanted, target = ext4(), lab.target("data")
    lab.room.create(wanted, TENANT, soon())
    assert lab.room.stage(wanted, TENANT, soon()).fresh
    assert not lab.room.stage(wanted, TENANT, soon()).fresh
    lab.publish(wanted, target)
    with pytest.raises(BusyError, match="published at"):
        lab.room.unstage(wanted.id, soon())
    assert not lab.unpublish(target).unstaged
    assert lab.room.unstage(wanted.id, soon())
    assert not lab.room.unstage(wanted.id, soon())


def test_unpublish_needs_nothing_but_the_path(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(ext4(), target)
    for path in (lab.places.run_dir / "volumes").rglob("*.json"):
        path.unlink()
    gone = lab.unpublish(target)
    assert gone.unstaged
    assert gone.volume_id == ext4().id


def test_a_file_system_with_errors_is_not_given_to_pods(lab: VolumeLab) -> None:
    """longhorn#5561, nbs#2936."""
    target = lab.target("data")
    lab.publish(ext4(), target)
    (number,) = loops_of(image(lab))
    Path(f"/sys/fs/ext4/loop{number}/trigger_fs_error").write_text("test")
    with pytest.raises(MismatchError, match="went read-only"):
        lab.publish(ext4(), lab.target("data", "beef"))
    lab.unpublish(target)
    lab.publish(ext4(), target)
    (target / "file").write_text("checked, mounted, writable")
    lab.unpublish(target)


def test_a_raw_volume_is_a_device_at_a_file(lab: VolumeLab) -> None:
    wanted = Volume(Loop("raw", 4 * MIB), TENANT.namespace, block=True)
    target = lab.places.kubelet_dir / "plugins" / "raw"
    for _ in range(2):
        lab.publish(wanted, target)
    assert target.is_block_device()
    with target.open("r+b") as device:
        device.write(b"raw")
    gone = lab.room.unpublish(target, soon(), remove=True)
    assert gone.unstaged
    assert not target.exists()
    assert loops_of(image(lab, "raw")) == []
    assert image(lab, "raw").read_bytes()[:3] == b"raw"
    assert os.listdir(target.parent) == ["ringbolt.dev"]  # noqa: PTH208


@pytest.mark.parametrize("fs_type", FsType)
def test_a_volume_grows_before_its_next_mount_and_xfs_and_btrfs_under_their_users(
    lab: VolumeLab, fs_type: FsType, need_program: Callable[[str, str], str]
) -> None:
    need_program(*PROGRAMS[fs_type])
    size, target = max(SIZES[fs_type], 256 * MIB), lab.target("data")
    wanted = volume(Loop("data", size, fs_type=fs_type))
    lab.publish(wanted, target)
    (target / "file").write_text("kept")
    if fs_type is not FsType.EXT4:  # which asks for CAP_SYS_RESOURCE while it is mounted
        before = lab.room.stats(target).bytes_total
        assert lab.room.expand(wanted, TENANT, size + 64 * MIB, soon()) == size + 64 * MIB
        assert lab.room.stats(target).bytes_total > before + 48 * MIB
    before = lab.room.stats(target).bytes_total
    lab.unpublish(target)
    assert lab.room.expand(wanted, TENANT, size + 160 * MIB, soon()) == size + 160 * MIB
    lab.publish(wanted, target)
    assert lab.room.stats(target).bytes_total > before + 48 * MIB
    assert (target / "file").read_text() == "kept"
    assert lab.room.expand(wanted, TENANT, MIB, soon()) == size + 160 * MIB
    lab.unpublish(target)


def test_a_btrfs_too_small_to_grow_stays_as_it_is_and_can_be_mounted(
    lab: VolumeLab, need_program: Callable[[str, str], str]
) -> None:
    need_program(*PROGRAMS[FsType.BTRFS])
    wanted, target = volume(Loop("data", 128 * MIB, fs_type=FsType.BTRFS)), lab.target("data")
    lab.publish(wanted, target)
    with pytest.raises(InvalidError, match="256 MiB or more"):
        lab.room.expand(wanted, TENANT, 200 * MIB, soon())
    assert image(lab).stat().st_size == 128 * MIB
    lab.unpublish(target)
    os.truncate(image(lab), 200 * MIB)
    lab.publish(wanted, target)
    assert lab.room.expand(wanted, TENANT, 300 * MIB, soon()) == 300 * MIB
    assert lab.room.stats(target).bytes_total == 300 * MIB
    lab.unpublish(target)


def test_what_is_mounted_inside_a_publication_reaches_no_other(lab: VolumeLab) -> None:
    first, second = lab.target("data"), lab.target("data", "beef")
    lab.publish(ext4(), first)
    lab.publish(ext4(), second)
    (first / "inside").mkdir()
    mount.mount("theirs", str(first / "inside"), "tmpfs")
    assert [one.target for one in lab.mounts() if one.source == "theirs"] == [str(first / "inside")]
    with pytest.raises(BusyError, match="is mounted in it"):
        lab.unpublish(first)
    mount.umount(str(first / "inside"))
    lab.unpublish(first)
    lab.unpublish(second)


def test_who_only_reads_keeps_nobody_from_writing_later(lab: VolumeLab) -> None:
    reading, writing = lab.target("data"), lab.target("data", "beef")
    lab.room.create(ext4(), TENANT, soon())
    lab.publish(replace(ext4(), readonly=True), reading)
    assert all("ro" in one.super_options for one in lab.mounts())
    lab.publish(ext4(), writing)
    (writing / "file").write_text("x")
    assert (reading / "file").read_text() == "x"
    with pytest.raises(OSError, match="Read-only"):
        (reading / "other").write_text("x")
    lab.unpublish(writing)
    lab.unpublish(reading)
