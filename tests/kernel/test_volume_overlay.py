"""Writable above read-only, on the real kernel: in memory or in a file, kept until told."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ringbolt.linux import loop, mount
from ringbolt.volumes.errors import (
    BusyError,
    ConflictError,
    InvalidError,
    MismatchError,
    NotAvailableError,
    NotFoundError,
    RefusedError,
    VolumeError,
)
from ringbolt.volumes.overlay import OverlayBackend
from ringbolt.volumes.spec import Overlay
from ringbolt.volumes.volume import Volume
from tests.kernel.volumes_lab import (
    NAMESPACE,
    TENANT,
    VolumeLab,
    flipping,
    soon,
    volume,
    volume_lab,
)

pytestmark = pytest.mark.root
MIB = 1 << 20


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[VolumeLab]:
    root = tmp_path / "srv"
    kind = OverlayBackend((str(root),), tmp_path / "run", tmp_path / "state")
    if lack := kind.lacks():
        pytest.skip(lack)
    made = volume_lab(tmp_path, [kind])
    (root / "base").mkdir()
    (root / "base").chmod(0o2775)
    os.chown(root / "base", 1000, 2000)
    (root / "base" / "file").write_text("from below")
    yield made
    assert made.mounts() == []
    mount.umount(str(made.places.kubelet_dir))
    assert (root / "base" / "file").read_text() == "from below"


def scratch(lab: VolumeLab, size: int | None = None) -> Volume:
    return volume(Overlay(str(lab.root / "base"), size=size), "0a1b/data")


def named(lab: VolumeLab, lower: str = "base", size: int | None = 16 * MIB) -> Volume:
    return volume(Overlay(str(lab.root / lower), "data", size))


def image(lab: VolumeLab) -> Path:
    return lab.places.state_dir / "volumes" / "overlay" / "default" / "data.img"


def test_what_is_written_in_memory_goes_with_the_publication(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(scratch(lab, MIB), target)
    assert not lab.publish(scratch(lab, MIB), target).fresh
    found = target.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (1000, 2000, 0o2775)
    (target / "file").write_text("changed")
    (target / "new").write_text("new")
    with pytest.raises(OSError, match="No space"):
        (target / "large").write_bytes(bytes(2 * MIB))
    assert lab.unpublish(target).unstaged
    lab.publish(scratch(lab, MIB), target)
    assert (target / "file").read_text() == "from below"
    assert sorted(one.name for one in target.iterdir()) == ["file"]
    lab.unpublish(target)


def test_what_is_written_to_a_named_one_is_found_again_until_it_is_thrown_away(
    lab: VolumeLab,
) -> None:
    target = lab.target("data")
    lab.publish(named(lab), target)
    (target / "file").write_text("changed")
    with pytest.raises(BusyError, match="unpublish"):
        lab.room.delete(named(lab), soon())
    lab.unpublish(target)
    found = image(lab).stat()
    assert loop.find_by_backing(found.st_dev, found.st_ino) == ()
    lab.publish(named(lab, size=None), target)
    assert (target / "file").read_text() == "changed"
    lab.unpublish(target)
    assert lab.room.delete(named(lab), soon())
    assert not lab.room.delete(named(lab), soon())
    lab.publish(named(lab), target)
    assert (target / "file").read_text() == "from below"
    lab.unpublish(target)


def test_one_that_is_known_by_its_name_alone_is_listed_and_never_mounted(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(named(lab), target)
    assert lab.room.find(NAMESPACE, "data") == (named(lab),)
    lab.unpublish(target)
    lab.room.stage(named(lab), TENANT, soon())
    assert lab.room.find(NAMESPACE, "data") == (named(lab),)
    lab.room.unstage(named(lab).id, soon())
    assert lab.room.find(NAMESPACE, "other") == ()
    (found,) = lab.room.find(NAMESPACE, "data")
    assert found == volume(Overlay(None, "data"))
    assert [one.volume for one in lab.room.list()] == [found]
    with pytest.raises(InvalidError, match="what lies below"):
        lab.room.validate(found, TENANT)
    with pytest.raises(InvalidError, match="what lies below"):
        lab.publish(found, target)
    with pytest.raises(InvalidError, match="needs what lies below"):
        Overlay(None)
    assert lab.mounts() == []


def test_longhorn_5561_errors_below_what_is_written_are_seen(lab: VolumeLab) -> None:
    """nbs#2936: a volume that went read-only is given to nobody else."""
    target = lab.target("data")
    lab.publish(named(lab), target)
    assert lab.room.stats(target).abnormal == ""
    found = image(lab).stat()
    (upper,) = loop.find_by_backing(found.st_dev, found.st_ino)
    Path(f"/sys/fs/ext4/loop{upper.number}/trigger_fs_error").write_text("test")
    assert "1 error" in lab.room.stats(target).abnormal
    with pytest.raises(MismatchError, match="went read-only"):
        lab.publish(named(lab), lab.target("data", "beef"))
    lab.unpublish(target)
    lab.publish(named(lab), target)
    (target / "new").write_text("checked, mounted, writable")
    lab.unpublish(target)


def test_two_pods_of_a_named_one_see_one_file_system(lab: VolumeLab) -> None:
    first, second = lab.target("data"), lab.target("data", "beef")
    lab.publish(named(lab), first)
    lab.publish(named(lab), second)
    (first / "new").write_text("x")
    assert (second / "new").read_text() == "x"
    (lab.root / "other").mkdir()
    with pytest.raises(ConflictError):
        lab.publish(named(lab, "other"), lab.target("data", "cafe"))
    lab.unpublish(first)
    lab.unpublish(second)


def test_an_image_lies_below(
    lab: VolumeLab, tmp_path: Path, need_program: Callable[[str, str], str]
) -> None:
    made, target = lab.root / "app.img", lab.target("data")
    program = need_program("mksquashfs", "squashfs-tools")
    subprocess.run([program, str(lab.root / "base"), str(made), "-quiet"], check=True)
    wanted = volume(Overlay(str(made)), "0a1b/data")
    lab.publish(wanted, target)
    (target / "file").write_text("changed")
    lab.unpublish(target)
    found = made.stat()
    assert loop.find_by_backing(found.st_dev, found.st_ino) == ()
    with pytest.raises(MismatchError, match="not mounted"):
        lab.publish(volume(Overlay(str(made), sha256="0" * 64), "0a1b/data"), target)
    assert not (tmp_path / "run" / "volumes" / "sources").exists()


def test_a_read_only_publication_takes_no_writes(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(scratch(lab), target, readonly=True)
    with pytest.raises(OSError, match="Read-only"):
        (target / "new").write_text("x")
    lab.unpublish(target)


def test_a_path_cannot_name_a_second_layer(lab: VolumeLab) -> None:
    (lab.root / "a:b,upperdir=c\\").mkdir()
    (lab.root / "a:b,upperdir=c\\" / "only").write_text("x")
    target = lab.target("data")
    lab.publish(volume(Overlay(str(lab.root / "a:b,upperdir=c\\")), "0a1b/data"), target)
    assert [one.name for one in target.iterdir()] == ["only"]
    lab.unpublish(target)


def test_what_lies_below_must_be_below_the_roots(lab: VolumeLab) -> None:
    (lab.root / "link").symlink_to("/etc")
    for lower, error in (("/etc", RefusedError), ("link", RefusedError), ("gone", NotFoundError)):
        wanted = volume(Overlay(str(lab.root / lower)), "0a1b/data")
        with pytest.raises(error):
            lab.publish(wanted, lab.target("data"))


def test_cve_2021_25741_what_lies_below_is_swapped_for_a_link(
    lab: VolumeLab, tmp_path: Path
) -> None:
    secret, target = tmp_path / "secret", lab.target("data")
    secret.mkdir()
    (secret / "key").write_text("the host's")
    wanted, shown = volume(Overlay(str(lab.root / "swapped")), "0a1b/data"), 0
    with flipping(lab.root / "swapped", secret):
        for _ in range(60):
            with suppress(VolumeError):
                lab.publish(wanted, target)
                shown += 1
                assert not (target / "key").exists()
            lab.unpublish(target)
    assert shown, "the directory was never there: nothing was tried"


def test_a_named_one_grows_with_its_next_mount(lab: VolumeLab) -> None:
    target = lab.target("data")
    with pytest.raises(InvalidError, match="needs a size"):
        lab.publish(named(lab, size=None), target)
    lab.publish(named(lab), target)
    before = lab.room.stats(target).bytes_total
    assert lab.room.expand(named(lab), TENANT, 64 * MIB, soon()) == 64 * MIB
    lab.unpublish(target)
    lab.publish(named(lab), target)
    assert lab.room.stats(target).bytes_total > before + 32 * MIB
    lab.unpublish(target)
    with pytest.raises(NotAvailableError, match="in memory"):
        lab.room.expand(scratch(lab), TENANT, 64 * MIB, soon())
    with pytest.raises(InvalidError, match="no block device"):
        lab.room.validate(Volume(named(lab).spec, NAMESPACE, block=True), TENANT)


def test_what_a_killed_process_left_half_made_is_finished(lab: VolumeLab) -> None:
    target, image_of_upper = lab.target("data"), image(lab)
    lab.publish(named(lab), target)
    lab.unpublish(target)
    subprocess.run(["debugfs", "-w", "-R", "rmdir upper", str(image_of_upper)], check=True)
    subprocess.run(["debugfs", "-w", "-R", "mkdir .upper", str(image_of_upper)], check=True)
    lab.publish(named(lab), target)
    assert (target / "file").read_text() == "from below"
    lab.unpublish(target)
