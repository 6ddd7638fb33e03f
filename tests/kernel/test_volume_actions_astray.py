"""An operator's commands where the node is not as it should be: full, failing, strangers' files."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ringbolt.linux import mount
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import FullError
from ringbolt.volumes.loop_image import LoopBackend
from ringbolt.volumes.volume import Volume
from tests.kernel.test_mount_api import mount_tmpfs
from tests.kernel.test_volume_actions import DATA, NAME, done, failed, filled, image, listed, opened
from tests.kernel.volume_lab import MIB
from tests.kernel.volumes_lab import VolumeLab, soon, volume_lab

pytestmark = pytest.mark.root


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[VolumeLab]:
    made = opened(tmp_path)
    yield made
    assert made.mounts() == []
    mount.umount(str(made.places.kubelet_dir))


@dataclass(frozen=True, slots=True)
class _Filling(Deadline):
    """Somebody fills the disk of a folder once the copy has begun."""

    folder: Path

    def check(self, doing: str) -> None:
        found = os.statvfs(self.folder)
        with (self.folder / "other").open("ab") as file:
            if not file.tell():
                os.posix_fallocate(file.fileno(), 0, (found.f_bavail - 16) * found.f_frsize)
        Deadline.check(self, doing)


def test_a_disk_that_fills_up_while_it_is_copied_to_keeps_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount_tmpfs(small, size=str(32 * MIB))
    lab = opened(tmp_path, small)
    filled(lab, DATA)
    deadline = _Filling(soon().end, small)
    with pytest.raises(FullError, match="make room where images lie"):
        lab.room.snapshot(DATA, None, "copy", deadline, plain=True)
    assert {path.name for path in image(lab).parent.iterdir()} == {"data.img"}
    done(lab, "delete", NAME, "--yes")
    mount.umount(str(lab.places.kubelet_dir))
    mount.umount(str(small))


def test_what_others_put_among_images_hides_no_volume(lab: VolumeLab) -> None:
    filled(lab, DATA)
    strays = image(lab, name="a copy"), image(lab).parent.parent / "lost+found" / "data.img"
    for stray in strays:
        stray.parent.mkdir(exist_ok=True)
        stray.touch()
    assert listed(lab) == {"loop.default.data"}
    assert "is no name of" in failed(lab, "delete", "default/a copy", "--yes")
    done(lab, "delete", NAME, "--yes")
    assert all(stray.exists() for stray in strays)


class _Untold(LoopBackend):
    """On a disk that cannot tell any more what a file has of it."""

    def freeable(self, volume: Volume) -> int | None:
        raise OSError(errno.EIO, f"FS_IOC_FIEMAP: {volume.id}")


def test_a_disk_that_cannot_tell_what_comes_free_keeps_nobody_from_deleting(
    tmp_path: Path,
) -> None:
    plain = volume_lab(tmp_path, [])
    lab = volume_lab(tmp_path, [_Untold(plain.places.state_dir)])
    filled(lab, DATA)
    deleted = lab.room.delete(DATA, soon())
    assert deleted
    assert deleted.freed is None
    assert not image(lab).exists()
    mount.umount(str(lab.places.kubelet_dir))


def test_without_a_standard_input_nobody_is_asked(lab: VolumeLab) -> None:
    filled(lab, DATA)
    words = ("-m", "daemon", "volumes", "--run-dir", str(lab.places.run_dir), "delete", NAME)
    closed = ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, *words]
    ended = subprocess.run(closed, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "pass --yes" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert image(lab).exists()


def test_who_is_not_root_is_told_so(lab: VolumeLab) -> None:
    filled(lab, DATA)
    lab.places.run_dir.chmod(0o700)
    held = os.geteuid()
    os.seteuid(65534)
    try:
        assert failed(lab, "delete", NAME, "--yes").endswith(": run it as root\n")
    finally:
        os.seteuid(held)
    assert image(lab).exists()
