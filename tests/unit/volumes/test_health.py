"""What is wrong with a file system, by mountinfo and sysfs as a kernel shows them."""

from pathlib import Path

import pytest

from ringbolt.linux.mount import MountPoint, parse_mountinfo
from ringbolt.volumes.health import Fault, ailing


def point(options: str = "rw", fstype: str = "ext4", device: str = "8:1") -> MountPoint:
    line = f"36 35 {device} / /mnt rw,nosuid - {fstype} /dev/sda1 {options}"
    (found,) = parse_mountinfo(line)
    return found


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """A disk sda1 with an ext4 that counted nothing."""
    disk = tmp_path / "devices" / "sda1"
    counts = tmp_path / "fs" / "ext4" / "sda1"
    for folder in (disk / "loop", counts, tmp_path / "dev/block", tmp_path / "class/block"):
        folder.mkdir(parents=True)
    (tmp_path / "dev/block/8:1").symlink_to("../../devices/sda1")
    (tmp_path / "class/block/sda1").symlink_to("../../devices/sda1")
    for name in ("errors_count", "first_error_time", "last_error_time"):
        (counts / name).write_text("0\n")
    return tmp_path


def test_what_is_well_is_well(sys: Path) -> None:
    assert ailing(point(), sys) is None
    assert ailing(point(fstype="tmpfs", device="0:44"), sys) is None


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ("rw,errors=remount-ro,emergency_ro", Fault.READ_ONLY),
        ("rw,shutdown", Fault.SHUT_DOWN),
        ("rw,emergency_ro,shutdown", Fault.SHUT_DOWN),
    ],
)
def test_what_the_options_tell(sys: Path, options: str, fault: Fault) -> None:
    found = ailing(point(options), sys)
    assert found
    assert found[0] is fault


def test_errors_that_were_counted_are_told_with_their_number(sys: Path) -> None:
    counts = sys / "fs/ext4/sda1"
    (counts / "errors_count").write_text("3\n")
    (counts / "last_error_func").write_text("ext4_lookup\n")
    assert ailing(point(), sys) == (
        Fault.ERRORS,
        "its file system is damaged after 3 errors, the last in ext4_lookup",
    )
    assert ailing(point(fstype="xfs"), sys) is None


@pytest.mark.parametrize("fstype", ["ext4", "btrfs"])
def test_a_disk_that_was_taken_out_is_told_before_all_else(sys: Path, fstype: str) -> None:
    device = "0:44" if fstype == "btrfs" else "8:1"
    assert ailing(point("rw", fstype, device), sys) is None
    (sys / "dev/block/8:1").unlink()
    (sys / "class/block/sda1").unlink()
    found = ailing(point("rw,emergency_ro", fstype, device), sys)
    assert found == (Fault.DEVICE_GONE, "its disk /dev/sda1 was taken out")


def test_an_image_that_was_deleted_is_told(sys: Path) -> None:
    backing = sys / "devices/sda1/loop/backing_file"
    backing.write_text("/srv/data.img\n")
    assert ailing(point(), sys) is None
    backing.write_text("/srv/data.img (deleted)\n")
    assert ailing(point(), sys) == (Fault.IMAGE_DELETED, "its image /srv/data.img was deleted")
