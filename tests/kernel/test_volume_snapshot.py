"""Copies of loop volumes: of one moment, shared where the file system can, never formatted."""

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from ringbolt.linux import freeze, mount
from ringbolt.volumes import loop_image
from ringbolt.volumes.content import find_filesystem
from ringbolt.volumes.errors import (
    BusyError,
    ConflictError,
    InvalidError,
    MismatchError,
    NotAvailableError,
)
from ringbolt.volumes.held import Held, identify
from ringbolt.volumes.loop_image import LoopBackend
from ringbolt.volumes.paths import Places
from ringbolt.volumes.policy import Policy, Rule
from ringbolt.volumes.spec import FsType, Kind, Loop
from ringbolt.volumes.volume import Volume
from ringbolt.volumes.volumes import Volumes
from tests.kernel.test_cni_plugin import wait_until
from tests.kernel.volume_lab import MIB, MadeFileSystem, made_file_system
from tests.kernel.volumes_lab import TENANT, VolumeLab, soon, volume, volume_lab

pytestmark = pytest.mark.root
SIZES = {FsType.EXT4: 16 * MIB, FsType.XFS: 320 * MIB, FsType.BTRFS: 128 * MIB}
PROGRAMS = {
    FsType.EXT4: ("mkfs.ext4", "e2fsprogs"),
    FsType.XFS: ("mkfs.xfs", "xfsprogs"),
    FsType.BTRFS: ("mkfs.btrfs", "btrfs-progs"),
}


@pytest.fixture
def sharing(tmp_path: Path, need_program: Callable[[str, str], str]) -> Iterator[MadeFileSystem]:
    """A file system that shares blocks between files."""
    program = need_program("mkfs.xfs", "xfsprogs")
    made = made_file_system(tmp_path / "disk", "xfs", 1024 * MIB, [program, "-q"])
    yield made
    made.close()


@pytest.fixture
def lab(tmp_path: Path, sharing: MadeFileSystem) -> Iterator[VolumeLab]:
    plain = volume_lab(tmp_path, [])
    places = Places(plain.places.run_dir, sharing.target, plain.places.kubelet_dir)
    policy = Policy((), (Rule(frozenset(Kind)),))
    yield VolumeLab(places, plain.root, Volumes(places, policy, [LoopBackend(sharing.target)]))
    assert plain.mounts() == []
    mount.umount(str(places.kubelet_dir))


def data(name: str = "data", fs_type: FsType = FsType.EXT4, size: int | None = None) -> Volume:
    return volume(Loop(name, size, fs_type=fs_type))


def images(lab: VolumeLab) -> set[str]:
    folder = lab.places.state_dir / "volumes" / "loop" / "default"
    return {one.name for one in folder.iterdir()}


def uuids(lab: VolumeLab) -> set[UUID]:
    """Those of the file systems in all images."""
    found: set[UUID] = set()
    for image in (lab.places.state_dir / "volumes" / "loop" / "default").iterdir():
        fd = os.open(image, os.O_RDONLY)
        superblock = find_filesystem(Held(fd, image.name, identify(fd), is_block=False))
        os.close(fd)
        assert superblock
        found.add(superblock.uuid)
    return found


@pytest.mark.parametrize("fs_type", FsType)
def test_a_copy_of_a_mounted_volume_is_whole_and_mounts_beside_it(
    lab: VolumeLab, fs_type: FsType, need_program: Callable[[str, str], str]
) -> None:
    need_program(*PROGRAMS[fs_type])
    target, other = lab.target("data"), lab.target("copy")
    lab.publish(data(fs_type=fs_type, size=SIZES[fs_type]), target)
    (target / "file").write_text("then")
    made = lab.room.snapshot(data(fs_type=fs_type), TENANT, "copy", soon())
    assert made.size == SIZES[fs_type]
    assert made.volume_id == data("copy").id
    (target / "file").write_text("now")
    lab.publish(data("copy", fs_type), other)
    assert (other / "file").read_text() == "then"
    (other / "file").write_text("otherwise")
    assert (target / "file").read_text() == "now"
    assert len({one.device for one in lab.mounts()}) == 2
    assert (len(uuids(lab)) == 2) is (fs_type is FsType.BTRFS)
    for place in (target, other):
        lab.unpublish(place)
    with pytest.raises(ConflictError, match="there is a volume"):
        lab.room.snapshot(data(fs_type=fs_type), TENANT, "copy", soon())
    assert images(lab) == {"data.img", "copy.img"}


def test_writes_go_on_while_copies_are_made(lab: VolumeLab) -> None:
    target, over = lab.target("data"), threading.Event()
    lab.publish(data(size=64 * MIB), target)

    def write() -> None:
        number = 0
        while not over.is_set():
            (target / f"file{number % 20}").write_bytes(os.urandom(4096))
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            lab.room.snapshot(data(), TENANT, f"copy{number}", soon())
    finally:
        over.set()
        writer.join()
    for number in range(3):
        lab.publish(data(f"copy{number}"), lab.target("copy"))
        lab.unpublish(lab.target("copy"))
    lab.unpublish(target)


def frozen(target: Path) -> bool:
    fd = os.open(target, os.O_RDONLY)
    try:
        freeze.freeze(fd)
        freeze.thaw(fd)
    except OSError as error:
        assert error.errno == errno.EBUSY  # noqa: PT017 - the other outcome is none
        return True
    finally:
        os.close(fd)
    return False


def test_writes_go_on_when_a_copier_is_killed_in_the_midst(
    lab: VolumeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel keeps frozen what nobody thaws, and its pods hang."""
    target = lab.target("data")
    lab.publish(data(size=16 * MIB), target)
    ready, told = os.pipe()
    root = os.open(target, os.O_RDONLY)

    def die(*_: int) -> None:
        os.write(told, b"frozen" if frozen(target) else b"not")
        for one in psutil.Process().children():
            one.terminate()  # as all that belongs to a service is
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(loop_image, "share_blocks", die)
    if not (child := os.fork()):
        lab.room.snapshot(data(), TENANT, "copy", soon())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    try:
        assert os.WIFSIGNALED(status)
        assert os.read(ready, 10) == b"frozen"
        wait_until(lambda: not frozen(target))
        (target / "file").write_text("written")
    finally:
        with suppress(OSError):  # a failed test leaves nothing frozen either
            freeze.thaw(root)
        for fd in (ready, told, root):
            os.close(fd)
    lab.unpublish(target)
    assert images(lab) == {"data.img"}


def test_what_somebody_else_froze_stays_frozen(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(data(size=16 * MIB), target)
    fd = os.open(target, os.O_RDONLY)
    freeze.freeze(fd)
    try:
        with pytest.raises(BusyError, match=r"somebody else froze.*FIFREEZE"):
            lab.room.snapshot(data(), TENANT, "copy", soon())
        assert frozen(target)
    finally:
        freeze.thaw(fd)
        os.close(fd)
    lab.unpublish(target)


def test_what_lies_below_all_images_is_never_frozen(
    lab: VolumeLab, sharing: MadeFileSystem
) -> None:
    """Somebody mounted it where the volume is staged: the copy would wait for itself."""
    lab.room.create(data(size=16 * MIB), TENANT, soon())
    staged = lab.places.stagings / data().id / "mount"
    staged.mkdir(parents=True)
    mount.bind(str(sharing.target), str(staged))
    freed = threading.Timer(10, freeze.thaw, [sharing.fd])  # should it come to that
    freed.start()
    try:
        with pytest.raises(MismatchError, match="unmount it first"):
            lab.room.snapshot(data(), TENANT, "copy", soon())
    finally:
        freed.cancel()
        freed.join()
        mount.umount(str(staged))
    assert images(lab) == {"data.img"}


def test_a_copy_takes_no_room_until_it_is_written_to(
    lab: VolumeLab, sharing: MadeFileSystem
) -> None:
    lab.room.create(volume(Loop("data", 128 * MIB, preallocate=True)), TENANT, soon())
    before = os.statvfs(sharing.target).f_bfree
    lab.room.snapshot(data(), TENANT, "copy", soon())
    unit = os.statvfs(sharing.target).f_frsize
    assert (before - os.statvfs(sharing.target).f_bfree) * unit < 8 * MIB


def test_a_volume_that_is_in_use_elsewhere_is_not_copied(lab: VolumeLab, tmp_path: Path) -> None:
    target, elsewhere = lab.target("data"), tmp_path / "elsewhere"
    lab.publish(data(size=16 * MIB), target)
    elsewhere.mkdir()
    mount.bind(str(target), str(elsewhere))
    with pytest.raises(BusyError, match="brought to rest"):
        lab.room.snapshot(data(), TENANT, "copy", soon(), plain=True)
    lab.unpublish(target)
    with pytest.raises(BusyError, match="brought to rest"):
        lab.room.snapshot(data(), TENANT, "copy", soon())
    mount.umount(str(elsewhere))
    lab.room.snapshot(data(), TENANT, "copy", soon())
    with pytest.raises(InvalidError):
        lab.room.snapshot(data(), TENANT, "../copy", soon())


def test_where_blocks_cannot_be_shared_a_plain_copy_must_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    mount.mount("tmpfs", str(tmp_path / "state"), "tmpfs")
    lab = volume_lab(tmp_path)
    lab.publish(data(size=16 * MIB), lab.target("data"))
    (lab.target("data") / "file").write_text("kept")
    with pytest.raises(NotAvailableError, match="ask for a plain copy"):
        lab.room.snapshot(data(), TENANT, "copy", soon())
    lab.unpublish(lab.target("data"))
    assert images(lab) == {"data.img"}
    lab.room.snapshot(data(), TENANT, "copy", soon(), plain=True)
    folder = lab.places.state_dir / "volumes" / "loop" / "default"
    assert (folder / "copy.img").stat().st_blocks <= (folder / "data.img").stat().st_blocks + 16
    lab.publish(data("copy"), lab.target("copy"))
    assert (lab.target("copy") / "file").read_text() == "kept"
    lab.unpublish(lab.target("copy"))
    for place in (lab.places.kubelet_dir, lab.places.state_dir):
        mount.umount(str(place))
