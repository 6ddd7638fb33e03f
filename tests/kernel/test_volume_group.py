"""A pod's group in a volume, on the real kernel: by the mount where it can be, by walking else."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ringbolt.linux import mount
from ringbolt.linux.user_namespace import open_user_namespace
from ringbolt.volumes import group_mapping
from ringbolt.volumes.overlay import OverlayBackend
from ringbolt.volumes.spec import Directory, FsType, Loop, Overlay, Spec, Tmpfs
from ringbolt.volumes.volume import Volume
from tests.kernel.volumes_lab import VolumeLab, backends, volume, volume_lab

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
    overlay = OverlayBackend((str(tmp_path / "srv"),), tmp_path / "run", tmp_path / "state")
    kinds = (*backends(tmp_path / "srv", tmp_path / "state"), overlay)
    made = volume_lab(tmp_path, kinds)
    yield made
    made.room.close()
    assert made.mounts() == []
    mount.umount(str(made.places.kubelet_dir))


@pytest.fixture
def made_maps(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every user namespace that is made."""
    made: list[object] = []

    def opened(*maps: object) -> int:
        made.append(maps)
        return open_user_namespace(*maps)  # type: ignore[arg-type]

    monkeypatch.setattr(group_mapping, "open_user_namespace", opened)
    return made


def data(*options: str, fs_type: FsType = FsType.EXT4) -> Volume:
    return volume(Loop("data", SIZES[fs_type], fs_type=fs_type), "", *options)


def write_as(group: int, where: Path, name: str) -> int:
    """As a process of a pod, that has the group beside its own."""
    argv = ["sh", "-c", f"echo x > {name}"]
    done = subprocess.run(
        argv,
        cwd=where,
        user=1000,
        group=1000,
        extra_groups=[group],
        check=False,
        capture_output=True,
    )
    return done.returncode


def group_of(path: Path) -> int:
    return path.stat().st_gid


@pytest.mark.parametrize("fs_type", FsType)
def test_pods_of_different_groups_share_a_volume_that_is_walked_once(
    lab: VolumeLab,
    made_maps: list[object],
    fs_type: FsType,
    need_program: Callable[[str, str], str],
) -> None:
    """k/k#69699, #130192: each start walked millions of files."""
    need_program(*PROGRAMS[fs_type])
    first, second, wanted = lab.target("data"), lab.target("data", "beef"), data(fs_type=fs_type)
    lab.publish(wanted, first, fs_group=2000)
    assert made_maps == []
    assert write_as(2000, first, "one") == 0
    assert write_as(3000, first, "two") != 0
    lab.publish(wanted, second, fs_group=3000)
    assert len(made_maps) == 1
    assert (group_of(second), group_of(second / "one")) == (3000, 3000)
    assert (group_of(first), group_of(first / "one")) == (2000, 2000)
    assert write_as(3000, second, "three") == 0
    assert write_as(2000, second, "four") != 0
    assert (group_of(first / "three"), group_of(second / "three")) == (2000, 3000)
    assert (second / "three").stat().st_uid == 1000
    os.chown(first / "one", 5, 6)
    assert ((second / "one").stat().st_uid, group_of(second / "one")) == (5, 6)
    lab.unpublish(second)
    lab.publish(wanted, second, fs_group=3000)
    assert not lab.publish(wanted, second, fs_group=3000).fresh
    assert len(made_maps) == 1
    for target in (first, second):
        lab.unpublish(target)


def test_a_directory_of_the_host_keeps_its_owners(lab: VolumeLab) -> None:
    shared = lab.root / "shared"
    shared.mkdir()
    os.chown(shared, 0, 2000)
    shared.chmod(0o2775)
    (shared / "file").write_text("x")
    target = lab.target("data")
    lab.publish(volume(Directory(str(shared))), target, fs_group=3000)
    assert group_of(target / "file") == 3000
    assert write_as(3000, target, "new") == 0
    assert {group_of(shared / name) for name in ("file", "new")} == {2000}
    lab.unpublish(target)


@pytest.mark.parametrize("spec", ["tmpfs", "overlay"])
def test_what_is_short_lived_or_cannot_is_walked(
    lab: VolumeLab, made_maps: list[object], spec: str
) -> None:
    base, target = lab.root / "base", lab.target("data")
    base.mkdir()
    os.chown(base, 0, 2000)
    base.chmod(0o2775)
    kinds: dict[str, Spec] = {"tmpfs": Tmpfs(mode=0o2775), "overlay": Overlay(str(base))}
    lab.publish(volume(kinds[spec], "0a1b/data"), target, fs_group=3000)
    assert made_maps == []
    assert group_of(target) == 3000
    assert group_of(base) == 2000
    lab.unpublish(target)


def test_a_node_that_makes_no_user_namespaces_walks(
    lab: VolumeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = lab.target("data")
    lab.publish(data(), target, fs_group=2000)
    lab.unpublish(target)

    def refused(*_: object) -> int:
        raise PermissionError(1, "unshare: Operation not permitted")

    monkeypatch.setattr(group_mapping, "open_user_namespace", refused)
    lab.publish(data(), target, fs_group=3000)
    assert write_as(3000, target, "new") == 0
    lab.unpublish(target)
    monkeypatch.undo()
    lab.publish(data(), target)
    assert group_of(target) == 3000
    lab.unpublish(target)


def test_it_can_be_declined_for_runtimes_that_map_the_mount_themselves(
    lab: VolumeLab, made_maps: list[object]
) -> None:
    target = lab.target("data")
    for group in (2000, 3000):
        lab.publish(data("noidmap"), target, fs_group=group)
        assert group_of(target) == group
        lab.unpublish(target)
    assert made_maps == []
