"""Volumes made, shown and taken off on the real kernel."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringbolt.linux import mount
from ringbolt.volumes.errors import ConflictError, InvalidError, NotFoundError, RefusedError
from ringbolt.volumes.spec import Directory, Tmpfs
from tests.kernel.volumes_lab import TENANT, VolumeLab, volume, volume_lab

pytestmark = pytest.mark.root


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[VolumeLab]:
    made = volume_lab(tmp_path)
    yield made
    assert made.mounts() == []
    mount.umount(str(made.places.kubelet_dir))
    assert sorted((made.places.run_dir / "volumes").rglob("*.json")) == []


def scratch(name: str = "scratch", size: int = 1 << 20) -> Tmpfs:
    del name
    return Tmpfs(size=size)


def test_a_tmpfs_is_there_with_its_size_and_flags_and_goes_without_a_trace(lab: VolumeLab) -> None:
    target = lab.target("scratch")
    wanted = volume(Tmpfs(size=1 << 20, inodes=100, mode=0o700), "0a1b/scratch")
    first = lab.publish(wanted, target)
    assert first.fresh
    (point,) = lab.mounts()
    assert point.fstype == "tmpfs"
    assert point.target == str(target)
    assert {"nosuid", "nodev", "rw"} <= point.options
    assert os.statvfs(target).f_blocks * os.statvfs(target).f_frsize == 1 << 20
    assert target.stat().st_mode & 0o7777 == 0o700
    (target / "kept").write_text("x")
    again = lab.publish(wanted, target)
    assert not again.fresh
    assert len(lab.mounts()) == 1
    assert (target / "kept").exists()
    gone = lab.unpublish(target)
    assert gone.unmounted == 1
    assert lab.unpublish(target).unmounted == 0
    target.rmdir()


def test_a_directory_is_shown_with_its_content_and_nothing_of_it_is_lost(lab: VolumeLab) -> None:
    data = lab.root / "data"
    (data / "sub").mkdir(parents=True)
    (data / "sub" / "file").write_text("mine")
    target = lab.target("data")
    lab.publish(volume(Directory(str(data)), "", subdir="sub"), target)
    assert (target / "file").read_text() == "mine"
    (target / "new").write_text("too")
    lab.unpublish(target)
    assert sorted(path.name for path in (data / "sub").iterdir()) == ["file", "new"]
    target.rmdir()


def test_read_only_is_read_only_for_this_publication_alone(lab: VolumeLab) -> None:
    data = lab.root / "data"
    wanted = volume(Directory(str(data), create=True))
    reading, writing = lab.target("reading"), lab.target("writing")
    lab.publish(wanted, reading, readonly=True)
    lab.publish(wanted, writing)
    (writing / "file").write_text("x")
    with pytest.raises(OSError, match="Read-only") as caught:
        (reading / "other").write_text("x")
    assert caught.value.errno == errno.EROFS
    for target in (reading, writing):
        lab.unpublish(target)


def test_a_mount_point_refuses_writes_when_nothing_is_mounted(lab: VolumeLab) -> None:
    """k/k#109955, #67643, hpe-storage/csi-driver#416."""
    target = lab.target("scratch")
    lab.publish(volume(scratch(), "0a1b/scratch"), target)
    mount.umount(str(target))
    with pytest.raises(PermissionError):
        (target / "leak").write_text("on the host's disk")
    lab.unpublish(target)
    target.rmdir()


def test_copies_on_top_of_each_other_are_taken_off(lab: VolumeLab) -> None:
    """spiffe-csi#331: 49,153 mounts after two restarts of a kubelet."""
    target = lab.target("data")
    wanted = volume(Directory(str(lab.root / "data"), create=True))
    lab.publish(wanted, target)
    for _ in range(3):
        mount.bind(str(lab.root / "data"), str(target))
    assert len(lab.mounts()) == 4
    assert not lab.publish(wanted, target).fresh
    assert len(lab.mounts()) == 1
    mount.bind(str(lab.root / "data"), str(target))
    assert lab.unpublish(target).unmounted == 2


def test_what_somebody_else_mounted_is_refused_and_left(lab: VolumeLab) -> None:
    target = lab.target("data")
    mount.mount("theirs", str(target), "tmpfs")
    wanted = volume(Directory(str(lab.root / "data"), create=True))
    with pytest.raises(ConflictError, match="tmpfs theirs"):
        lab.publish(wanted, target)
    assert [one.source for one in lab.mounts()] == ["theirs"]
    mount.umount(str(target))


def test_a_published_volume_is_not_published_otherwise_at_the_same_place(lab: VolumeLab) -> None:
    target = lab.target("data")
    wanted = volume(Directory(str(lab.root / "data"), create=True))
    lab.publish(wanted, target)
    with pytest.raises(ConflictError, match="not nodev,nosuid,ro"):
        lab.publish(wanted, target, readonly=True)
    lab.unpublish(target)


def test_links_lead_nowhere(lab: VolumeLab, tmp_path: Path) -> None:
    (lab.root / "link").symlink_to("/etc")
    (lab.root / "data").mkdir()
    (lab.root / "data" / "link").symlink_to("/etc")
    target = lab.target("data")
    with pytest.raises(RefusedError):
        lab.publish(volume(Directory(str(lab.root / "link"))), target)
    with pytest.raises(InvalidError):
        lab.publish(volume(Directory(str(lab.root / "data")), subdir="link"), target)
    with pytest.raises(NotFoundError):
        lab.publish(volume(Directory(str(lab.root / "data")), subdir="none"), target)
    outside = lab.target("outside").parent / "elsewhere"
    outside.symlink_to(tmp_path)
    with pytest.raises(OSError, match="symbolic links"):
        lab.publish(volume(scratch(), "x"), outside)
    target.rmdir()


def test_a_target_outside_the_kubelets_directory_is_refused(lab: VolumeLab, tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="not below"):
        lab.publish(volume(scratch(), "x"), tmp_path / "elsewhere")
    with pytest.raises(InvalidError, match="not below"):
        lab.unpublish(Path("/etc"))
    with pytest.raises(InvalidError, match=r"'\.\.'"):
        lab.unpublish(lab.places.kubelet_dir / ".." / "etc")
    with pytest.raises(InvalidError, match="staged"):
        lab.unpublish(lab.places.kubelet_dir / "plugins" / "ringbolt.dev" / "loop.a.b" / "mount")


def test_a_pods_group_may_write(lab: VolumeLab) -> None:
    target = lab.target("data")
    data = lab.root / "data"
    (data / "deep").mkdir(parents=True)
    (data / "deep" / "file").write_text("x")
    (data / "link").symlink_to("/etc/passwd")
    owner = Path("/etc/passwd").stat().st_gid
    lab.publish(volume(Directory(str(data))), target, fs_group=4242)
    for path in (data, data / "deep", data / "deep" / "file"):
        assert path.stat().st_gid == 4242
        assert path.stat().st_mode & 0o060 == 0o060
    assert data.stat().st_mode & 0o2000
    assert Path("/etc/passwd").stat().st_gid == owner
    os.chown(data / "deep" / "file", -1, 0)
    lab.unpublish(target)
    lab.publish(volume(Directory(str(data))), target, fs_group=4242)
    assert (data / "deep" / "file").stat().st_gid == 0  # the root matched: no walk
    lab.unpublish(target)


def test_a_kubelets_directory_may_be_a_link(lab: VolumeLab, tmp_path: Path) -> None:
    link = tmp_path / "linked"
    link.symlink_to(lab.places.kubelet_dir)
    target = lab.target("scratch")
    linked = volume_lab(tmp_path, kubelet="linked")
    through = link / target.relative_to(lab.places.kubelet_dir)
    wanted = volume(scratch(), "0a1b/scratch")
    assert linked.publish(wanted, through).fresh
    assert not linked.publish(wanted, target).fresh
    for path in (through, target):
        assert linked.room.published_at(path) == (wanted, TENANT)
    with pytest.raises(NotFoundError):
        linked.room.published_at(target / "other")
    assert linked.unpublish(through).unmounted == 1
    target.rmdir()


def test_a_read_only_directory_of_the_host_is_published_again(lab: VolumeLab) -> None:
    data, target = lab.root / "data", lab.target("data")
    data.mkdir()
    mount.bind(str(data), str(data))
    mount.mount_setattr(str(data), mount.MOUNT_ATTR_RDONLY)
    wanted = volume(Directory(str(data)))
    lab.publish(wanted, target)
    assert not lab.publish(wanted, target).fresh
    lab.unpublish(target)
    mount.umount(str(data))
