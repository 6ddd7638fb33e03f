"""Full disks: nothing half is left, and what is mounted can be taken off."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringbolt.linux import mount
from ringbolt.volumes.errors import VolumeError
from ringbolt.volumes.spec import Loop, Tmpfs
from tests.kernel.volumes_lab import VolumeLab, volume, volume_lab

pytestmark = pytest.mark.root
MEMORY = volume(Tmpfs(size=1 << 20), "0a1b/scratch")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[VolumeLab]:
    """The run and state directories are small file systems of their own."""
    for name, options in (("run", "nr_inodes=12"), ("state", "size=8M")):
        (tmp_path / name).mkdir()
        mount.mount("small", str(tmp_path / name), "tmpfs", 0, options)
    made = volume_lab(tmp_path)
    yield made
    assert made.mounts() == []
    for name in ("kubelet", "run", "state"):
        mount.umount(str(tmp_path / name))


def fill(folder: Path) -> list[Path]:
    made: list[Path] = []
    while True:
        try:
            path = folder / f"filler-{len(made)}"
            path.touch()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return made
        made.append(path)


def test_what_is_mounted_comes_off_though_the_run_directory_is_full(lab: VolumeLab) -> None:
    target = lab.target("scratch")
    lab.publish(MEMORY, target)
    fill(lab.places.run_dir)
    assert lab.unpublish(target).unmounted == 1
    target.rmdir()


def test_without_room_for_a_record_nothing_is_mounted(lab: VolumeLab) -> None:
    target = lab.target("scratch")
    filler = fill(lab.places.run_dir)
    with pytest.raises(OSError, match="No space left"):
        lab.publish(MEMORY, target)
    assert lab.mounts() == []
    target.rmdir()
    for path in filler:
        path.unlink()
    lab.publish(MEMORY, lab.target("scratch"))
    lab.unpublish(lab.target("scratch"))


def test_an_image_that_does_not_fit_leaves_nothing(lab: VolumeLab) -> None:
    folder = lab.places.state_dir / "volumes" / "loop" / "default"
    for wanted in (Loop("data", 64 << 20), Loop("data", 7 << 20, preallocate=True)):
        (lab.places.state_dir / "ballast").write_bytes(bytes(4 << 20))
        with pytest.raises(VolumeError):
            lab.publish(volume(wanted), lab.target("data"))
        assert list(folder.iterdir()) == []
    (lab.places.state_dir / "ballast").unlink()
    lab.publish(volume(Loop("data", 4 << 20)), lab.target("data"))
    assert lab.unpublish(lab.target("data")).unstaged
