"""Subvolumes as volumes, on a real btrfs: limited, copied, shown, and only ours ever deleted."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ringbolt.linux import btrfs, mount
from ringbolt.volumes.errors import (
    BusyError,
    ConflictError,
    InvalidError,
    MismatchError,
    NotAvailableError,
    NotFoundError,
)
from ringbolt.volumes.spec import Encryption, Subvolume
from ringbolt.volumes.subvolume import SubvolumeBackend
from ringbolt.volumes.volume import Publication, Volume
from tests.kernel.volume_lab import MIB, MadeFileSystem
from tests.kernel.volumes_lab import NAMESPACE, TENANT, VolumeLab, soon, volume, volume_lab

pytestmark = pytest.mark.root


@dataclass(frozen=True, slots=True)
class Bench:
    lab: VolumeLab
    folder: Path
    disk: MadeFileSystem


@pytest.fixture
def bench(tmp_path: Path, make: Callable[[str], MadeFileSystem]) -> Iterator[Bench]:
    disk = make("btrfs")
    folder = disk.target / "volumes"
    lab = volume_lab(tmp_path, [SubvolumeBackend(folder)])
    yield Bench(lab, folder, disk)
    assert lab.mounts() == []
    mount.umount(str(lab.places.kubelet_dir))


def data(size: int | None = None, name: str = "data") -> Volume:
    return volume(Subvolume(name, size))


def test_what_is_written_is_found_again_and_only_delete_deletes_it(bench: Bench) -> None:
    lab, target = bench.lab, bench.lab.target("data")
    assert lab.publish(data(), target).fresh
    assert not lab.publish(data(), target).fresh
    (target / "file").write_text("kept")
    lab.unpublish(target)
    lab.publish(data(), target)
    assert (target / "file").read_text() == "kept"
    with pytest.raises(BusyError, match="unpublish"):
        lab.room.delete(data(), soon())
    lab.unpublish(target)
    assert [one.volume for one in lab.room.list()] == [data()]
    assert lab.room.delete(data(), soon())
    assert not lab.room.delete(data(), soon())
    assert list((bench.folder / "default").iterdir()) == []


def test_a_limit_holds_is_told_and_can_be_raised(bench: Bench) -> None:
    lab, target = bench.lab, bench.lab.target("data")
    lab.publish(data(4 * MIB), target)
    with pytest.raises(OSError, match="quota") as seen:
        (target / "large").write_bytes(bytes(8 * MIB))
    assert seen.value.errno == errno.EDQUOT
    assert lab.room.stats(target).bytes_total == 4 * MIB
    with pytest.raises(MismatchError, match="expand it"):
        lab.room.create(data(8 * MIB), TENANT, soon())
    assert lab.room.expand(data(), TENANT, 16 * MIB, soon()) == 16 * MIB
    assert lab.room.expand(data(), TENANT, MIB, soon()) == 16 * MIB
    (target / "large").write_bytes(bytes(8 * MIB))
    btrfs.sync(bench.disk.fd)
    assert lab.room.stats(target).bytes_used >= 8 * MIB
    lab.unpublish(target)


def test_a_snapshot_is_a_volume_with_the_same_limit(bench: Bench) -> None:
    lab, target, copy = bench.lab, bench.lab.target("data"), bench.lab.target("copy")
    lab.publish(data(16 * MIB), target)
    (target / "file").write_text("then")
    made = lab.room.snapshot(data(), TENANT, "copy", soon())
    (target / "file").write_text("now")
    assert made.size == 16 * MIB
    assert made.volume_id == data(name="copy").id
    lab.publish(data(name="copy"), copy)
    assert (copy / "file").read_text() == "then"
    assert lab.room.stats(copy).bytes_total == 16 * MIB
    with pytest.raises(ConflictError, match="there is a volume"):
        lab.room.snapshot(data(), TENANT, "copy", soon())
    for place in (target, copy):
        lab.unpublish(place)
    assert {one.name for one in (bench.folder / "default").iterdir()} == {"data", "copy"}


def test_a_volume_that_another_place_shows_is_not_deleted(bench: Bench, tmp_path: Path) -> None:
    lab, elsewhere = bench.lab, tmp_path / "elsewhere"
    lab.publish(data(), lab.target("data"))
    elsewhere.mkdir()
    mount.bind(str(lab.target("data")), str(elsewhere))
    lab.unpublish(lab.target("data"))
    with pytest.raises(BusyError, match="elsewhere"):
        lab.room.delete(data(), soon())
    mount.umount(str(elsewhere))
    assert lab.room.delete(data(), soon())


def test_a_volume_that_only_a_pods_own_mounts_show_is_not_deleted(bench: Bench) -> None:
    """Somebody unmounted the host's, and the pod goes on with its own."""
    lab, target = bench.lab, bench.lab.target("data")
    lab.publish(data(), target)
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec cat"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pod:
        assert pod.stdout
        pod.stdout.readline()
        lab.unpublish(target)
        with pytest.raises(BusyError, match=f"as cat .pid {pod.pid}."):
            lab.room.delete(data(), soon())
    assert lab.room.delete(data(), soon())


def test_what_is_no_subvolume_of_ours_is_not_deleted(bench: Bench) -> None:
    lab, folder = bench.lab, bench.folder / "default"
    lab.room.create(data(), TENANT, soon())
    (folder / "folder").mkdir()
    (folder / "folder" / "file").write_text("kept")
    (folder / "link").symlink_to("data")
    with pytest.raises(MismatchError, match="no subvolume"):
        lab.room.delete(data(name="folder"), soon())
    with pytest.raises(OSError, match="symbolic") as seen:
        lab.room.delete(data(name="link"), soon())
    assert seen.value.errno == errno.ELOOP
    btrfs.create_subvolume(bench.disk.fd, "foreign")
    with pytest.raises(InvalidError):
        data(name="../../foreign")
    (folder / "data" / "file").write_text("kept")
    assert (folder / "folder" / "file").exists()


def test_a_subvolume_with_others_in_it_is_not_deleted(bench: Bench) -> None:
    lab, target = bench.lab, bench.lab.target("data")
    lab.publish(data(), target)
    fd = os.open(target, os.O_RDONLY)
    btrfs.create_subvolume(fd, "nested")
    os.close(fd)
    lab.unpublish(target)
    with pytest.raises(BusyError, match="subvolume list"):
        lab.room.delete(data(), soon())


def test_what_a_killed_process_left_half_made_goes_with_the_next(bench: Bench) -> None:
    lab = bench.lab
    lab.room.create(data(name="first"), TENANT, soon())
    fd = os.open(bench.folder / "default", os.O_RDONLY)
    btrfs.create_subvolume(fd, ".new-data")
    os.close(fd)
    assert lab.room.create(data(), TENANT, soon()).fresh
    assert {one.name for one in (bench.folder / "default").iterdir()} == {"first", "data"}


def test_what_others_made_beside_them_is_no_volume(bench: Bench) -> None:
    bench.lab.room.create(data(), TENANT, soon())
    strangers = bench.folder / ".snapshots"
    strangers.mkdir()
    for folder, name in ((strangers, "one"), (bench.folder / "default", "a copy")):
        fd = os.open(folder, os.O_RDONLY)
        btrfs.create_subvolume(fd, name)
        os.close(fd)
    assert [one.volume_id for one in bench.lab.room.list()] == [data().id]
    assert bench.lab.room.delete(data(), soon())
    assert (strangers / "one").exists()


def test_a_node_without_btrfs_says_what_to_do(tmp_path: Path) -> None:
    lab = volume_lab(tmp_path, [SubvolumeBackend(tmp_path / "volumes")])
    with pytest.raises(NotAvailableError, match="mount a btrfs there"):
        lab.room.create(data(), TENANT, soon())
    mount.umount(str(lab.places.kubelet_dir))


def test_what_a_subvolume_cannot_be_is_refused(bench: Bench) -> None:
    room = bench.lab.room
    with pytest.raises(InvalidError):
        room.validate(Volume(Subvolume("data"), NAMESPACE, block=True), TENANT)
    encrypted = Volume(Subvolume("data"), NAMESPACE, encryption=Encryption.FSCRYPT)
    with pytest.raises(NotAvailableError, match="encrypt"):
        room.validate(encrypted, TENANT)
    with pytest.raises(NotFoundError):
        room.publish(data(), Publication(bench.lab.target("gone"), TENANT), soon())
