"""Read-only images on the real kernel: pinned content or none, known again, nothing left behind."""

import fcntl
import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ringbolt.linux import loop, mount
from ringbolt.volumes.errors import (
    BusyError,
    ConflictError,
    InvalidError,
    MismatchError,
    NotFoundError,
    RefusedError,
)
from ringbolt.volumes.image import ImageBackend
from ringbolt.volumes.spec import Image
from ringbolt.volumes.volume import Volume
from tests.kernel.volumes_lab import NAMESPACE, TENANT, VolumeLab, soon, volume, volume_lab

pytestmark = pytest.mark.root
MAKERS = {
    "squashfs": ("mksquashfs", "squashfs-tools"),
    "erofs": ("mkfs.erofs", "erofs-utils"),
}
Make = Callable[[str, str], tuple[Path, str]]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[VolumeLab]:
    made = volume_lab(tmp_path, [ImageBackend((str(tmp_path / "srv"),), tmp_path / "run")])
    yield made
    assert made.mounts() == []
    mount.umount(str(made.places.kubelet_dir))
    assert list((made.places.run_dir / "volumes").glob("sources/*")) == []


@pytest.fixture
def make(lab: VolumeLab, tmp_path: Path, need_program: Callable[[str, str], str]) -> Make:
    """Make the image `app.img` of one file with this text; its path and sha256."""

    def build(fs_type: str, text: str) -> tuple[Path, str]:
        program = need_program(*MAKERS[fs_type])
        source, image = tmp_path / "source", lab.root / "app.img"
        source.mkdir(exist_ok=True)
        (source / "file").write_text(text)
        new = image.with_suffix(".new")
        if fs_type == "squashfs":
            command = [program, str(source), str(new), "-quiet", "-no-progress", "-noappend"]
        else:
            command = [program, "--quiet", str(new), str(source)]
        subprocess.run(command, check=True, capture_output=True)
        new.rename(image)
        return image, hashlib.sha256(image.read_bytes()).hexdigest()

    return build


@pytest.mark.parametrize("fs_type", MAKERS)
def test_a_pinned_image_is_mounted_read_only_and_shared(
    lab: VolumeLab, make: Make, fs_type: str
) -> None:
    image, digest = make(fs_type, "content")
    wanted = volume(Image(str(image), digest))
    first, second = lab.target("app"), lab.target("app", "beef")
    assert lab.publish(wanted, first, fs_group=2000).fresh
    assert lab.publish(wanted, second).fresh
    assert not lab.publish(wanted, first).fresh
    assert {one.fstype for one in lab.mounts()} == {fs_type}
    assert len({one.device for one in lab.mounts()}) == 1
    assert (second / "file").read_text() == "content"
    with pytest.raises(OSError, match="Read-only"):
        (first / "new").write_text("x")
    assert not lab.unpublish(first).unstaged
    assert lab.unpublish(second).unstaged
    found = image.stat()
    assert loop.find_by_backing(found.st_dev, found.st_ino) == ()


def test_an_erofs_needs_no_loop_device_where_the_kernel_reads_files(
    lab: VolumeLab, make: Make
) -> None:
    image, digest = make("erofs", "content")
    lab.publish(volume(Image(str(image), digest)), lab.target("app"))
    found = image.stat()
    assert loop.find_by_backing(found.st_dev, found.st_ino) == ()
    lab.unpublish(lab.target("app"))


@pytest.mark.parametrize("fs_type", MAKERS)
def test_a_wrong_sum_is_refused_and_nothing_is_mounted(
    lab: VolumeLab, make: Make, fs_type: str
) -> None:
    image, digest = make(fs_type, "content")
    with pytest.raises(MismatchError, match=digest):
        lab.publish(volume(Image(str(image), "0" * 64)), lab.target("app"))
    assert lab.mounts() == []


def test_the_sum_is_taken_again_when_the_file_changed(lab: VolumeLab, make: Make) -> None:
    image, digest = make("squashfs", "content")
    os.utime(image, ns=(0, 0))
    wanted = volume(Image(str(image), digest))
    lab.publish(wanted, lab.target("app"))
    lab.unpublish(lab.target("app"))
    with image.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    os.utime(image, ns=(0, 0))
    with pytest.raises(MismatchError, match="not mounted"):
        lab.publish(wanted, lab.target("app"))


def test_a_new_image_at_the_old_path_is_another_volume(lab: VolumeLab, make: Make) -> None:
    image, old_digest = make("squashfs", "old")
    old, first = volume(Image(str(image), old_digest)), lab.target("app")
    lab.publish(old, first)
    image, new_digest = make("squashfs", "new")
    second, third = lab.target("app", "beef"), lab.target("app", "cafe")
    lab.publish(volume(Image(str(image), new_digest)), second)
    lab.publish(old, third)
    assert [(one / "file").read_text() for one in (first, second, third)] == ["old", "new", "old"]
    for target in (first, second, third):
        lab.unpublish(target)
    with pytest.raises(MismatchError):
        lab.publish(old, first)


def test_an_image_changed_under_its_mount_is_given_to_nobody_else(
    lab: VolumeLab, make: Make
) -> None:
    image, digest = make("squashfs", "old")
    wanted = volume(Image(str(image), digest))
    lab.publish(wanted, lab.target("app"))
    os.utime(image, ns=(1, 1))
    with pytest.raises(ConflictError):
        lab.publish(wanted, lab.target("app", "beef"))
    lab.unpublish(lab.target("app"))


def test_an_image_that_is_being_written_is_busy(lab: VolumeLab, make: Make) -> None:
    image, _ = make("erofs", "content")
    with image.open("r+b"), pytest.raises(BusyError, match="open for writing"):
        lab.publish(volume(Image(str(image))), lab.target("app"))
    assert lab.mounts() == []


def test_nobody_can_write_an_image_between_its_check_and_its_mount(
    lab: VolumeLab, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, digest = make("squashfs", "content")

    def sum_while_another_writes(*_: object) -> str:
        with pytest.raises(BlockingIOError):
            os.close(os.open(image, os.O_RDWR | os.O_NONBLOCK))
        return digest

    monkeypatch.setattr("ringbolt.volumes.verified._sum", sum_while_another_writes)
    with pytest.raises(MismatchError, match="while it was mounted"):
        lab.publish(volume(Image(str(image), digest)), lab.target("app"))
    assert lab.mounts() == []


@pytest.mark.parametrize(
    ("path", "error"),
    [("/etc/passwd", RefusedError), ("link/app.img", RefusedError), ("gone.img", NotFoundError)],
)
def test_only_files_below_the_roots_and_through_no_link_are_images(
    lab: VolumeLab, make: Make, tmp_path: Path, path: str, error: type[Exception]
) -> None:
    image, _ = make("squashfs", "content")
    (tmp_path / "outside").mkdir()
    image.rename(tmp_path / "outside" / "app.img")
    (lab.root / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(error):
        lab.publish(volume(Image(str(lab.root / path))), lab.target("app"))


def test_what_is_no_image_is_said(lab: VolumeLab) -> None:
    (lab.root / "text").write_text("no image")
    (lab.root / "pipe").mkdir()
    with pytest.raises(MismatchError, match="neither a squashfs nor an erofs"):
        lab.publish(volume(Image(str(lab.root / "text"))), lab.target("app"))
    with pytest.raises(RefusedError, match="no regular file"):
        lab.publish(volume(Image(str(lab.root / "pipe"))), lab.target("app"))
    with pytest.raises(InvalidError, match="no block device"):
        lab.room.validate(Volume(Image(str(lab.root / "text")), NAMESPACE, block=True), TENANT)
    with pytest.raises(RefusedError, match="delete it there"):
        lab.room.delete(volume(Image(str(lab.root / "text"))), soon())


def test_a_lease_is_not_left_on_the_file(lab: VolumeLab, make: Make) -> None:
    image, _ = make("squashfs", "content")
    lab.publish(volume(Image(str(image))), lab.target("app"))
    with image.open("rb") as file:
        assert fcntl.fcntl(file, fcntl.F_GETLEASE) == fcntl.F_UNLCK
    image.open("r+b").close()
    lab.unpublish(lab.target("app"))
