"""Volumes on disks, on real loop devices: the right one, held alone, ready, or a refusal."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from daemon.device_finder import DeviceFinder
from ringbolt.devices.scan import Scanner
from ringbolt.linux import loop, mount
from ringbolt.linux.freeze import frozen
from ringbolt.volumes import mounts, vault
from ringbolt.volumes.device import Candidate, DeviceBackend, Found
from ringbolt.volumes.errors import (
    BusyError,
    ConflictError,
    InvalidError,
    MismatchError,
    NotAvailableError,
    NotBlankError,
    NotFoundError,
    RefusedError,
    TryAgainError,
)
from ringbolt.volumes.spec import Device, DeviceKey, Encryption, FormatPolicy, FsType
from ringbolt.volumes.volume import Publication, Secrets, Volume
from tests.kernel.format_lab import digest
from tests.kernel.volume_lab import MIB, disk, mount_device
from tests.kernel.volumes_lab import NAMESPACE, TENANT, VolumeLab, soon, volume, volume_lab

pytestmark = pytest.mark.root
SIZES = {FsType.EXT4: 16 * MIB, FsType.XFS: 320 * MIB, FsType.BTRFS: 128 * MIB}
PROGRAMS = {
    FsType.EXT4: ("mkfs.ext4", "e2fsprogs"),
    FsType.XFS: ("mkfs.xfs", "xfsprogs"),
    FsType.BTRFS: ("mkfs.btrfs", "btrfs-progs"),
}


@dataclass
class Bench:
    """Disks that have the names they are given here; loop devices have no serial numbers."""

    folder: Path
    open: ExitStack
    lab: VolumeLab = field(init=False)
    names: dict[str, tuple[Candidate, ...]] = field(default_factory=dict)

    def find(self, _key: DeviceKey, value: str) -> Found:
        return Found(self.names.get(value, ()), tuple(self.names))

    def disk(self, name: str = "A1", size: int = 16 * MIB) -> str:
        node = self.open.enter_context(disk(self.folder / f"{name}.img", size))
        self.names[name] = (Candidate(node, Path(node).stat().st_rdev),)
        return node

    def image(self, name: str = "A1") -> Path:
        return self.folder / f"{name}.img"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as undo:
        bench = Bench(tmp_path, undo)
        bench.lab = volume_lab(tmp_path, [DeviceBackend(bench.find, tmp_path / "state")])
        yield bench
        assert bench.lab.mounts() == []
        mount.umount(str(bench.lab.places.kubelet_dir))


def blank(
    name: str = "A1", fs_type: FsType | None = FsType.EXT4, key: DeviceKey = DeviceKey.SERIAL
) -> Volume:
    return volume(Device(key, name, fs_type, FormatPolicy.IF_BLANK))


def raw(name: str = "A1") -> Volume:
    return Volume(Device(DeviceKey.SERIAL, name), NAMESPACE, block=True)


@pytest.mark.parametrize("fs_type", FsType)
def test_what_is_written_to_a_disk_is_found_again(
    bench: Bench, fs_type: FsType, need_program: Callable[[str, str], str]
) -> None:
    need_program(*PROGRAMS[fs_type])
    lab, target = bench.lab, bench.lab.target("data")
    node = bench.disk(size=SIZES[fs_type])
    for turn in (True, False):
        assert lab.publish(blank(fs_type=fs_type), target).fresh
        assert not lab.publish(blank(fs_type=fs_type), target).fresh
        assert {(one.fstype, one.source) for one in lab.mounts()} == {(fs_type.value, node)}
        if turn:
            (target / "file").write_text("kept")
        assert (target / "file").read_text() == "kept"
        assert lab.unpublish(target).unstaged
    with pytest.raises(RefusedError, match="wipe it there"):
        lab.room.delete(blank(), soon())


def test_without_leave_nothing_is_formatted(bench: Bench) -> None:
    bench.disk()
    before = digest(bench.image())
    with pytest.raises(NotBlankError, match="format: if-blank"):
        bench.lab.publish(volume(Device(DeviceKey.SERIAL, "A1")), bench.lab.target("data"))
    readonly = Volume(blank().spec, NAMESPACE, readonly=True)
    with pytest.raises(NotBlankError):
        bench.lab.publish(readonly, bench.lab.target("data"))
    assert digest(bench.image()) == before


def test_another_file_system_than_asked_for_is_refused(bench: Bench) -> None:
    node = bench.disk()
    subprocess.run(["mkfs.ext4", "-q", node], check=True)
    before = digest(bench.image())
    with pytest.raises(MismatchError, match="holds ext4, not xfs"):
        bench.lab.publish(blank(fs_type=FsType.XFS), bench.lab.target("data"))
    assert digest(bench.image()) == before


def test_a_name_of_several_disks_or_of_none_is_refused_and_told(bench: Bench) -> None:
    one, other = bench.disk("A1"), bench.disk("B2")
    bench.names["both"] = bench.names["A1"] + bench.names["B2"]
    with pytest.raises(ConflictError, match=f"{one}, {other}"):
        bench.lab.publish(blank("both"), bench.lab.target("data"))
    with pytest.raises(NotFoundError, match="A1, B2"):
        bench.lab.publish(blank("C3"), bench.lab.target("data"))


def test_a_disk_that_udev_has_not_looked_at_is_left_alone(bench: Bench) -> None:
    """hetznercloud/csi-driver#1346, k/k#95183: ready only when it was wiped."""
    node = bench.disk()
    bench.names["A1"] = (Candidate(node, Path(node).stat().st_rdev, settled=False),)
    with pytest.raises(TryAgainError, match="udev"):
        bench.lab.publish(blank(), bench.lab.target("data"))


def test_one_disk_by_two_names_is_mounted_once(bench: Bench) -> None:
    lab, target = bench.lab, bench.lab.target("data")
    bench.disk()
    bench.names["0x5000"] = bench.names["A1"]
    lab.publish(blank(), target)
    other = blank("0x5000", key=DeviceKey.WWN)
    for again in (other, Volume(other.spec, NAMESPACE, readonly=True)):
        with pytest.raises(BusyError, match="is mounted at"):
            lab.publish(again, lab.target("data", "beef"))
    lab.unpublish(target)
    lab.publish(other, target)
    lab.unpublish(target)


def test_a_disk_that_is_mounted_elsewhere_is_refused(bench: Bench, tmp_path: Path) -> None:
    node, elsewhere = bench.disk(), tmp_path / "elsewhere"
    subprocess.run(["mkfs.ext4", "-q", node], check=True)
    elsewhere.mkdir()
    mount_device("ext4", node, elsewhere)
    with pytest.raises(BusyError, match=str(elsewhere)):
        bench.lab.publish(blank(), bench.lab.target("data"))
    held = os.open(elsewhere, os.O_RDONLY)
    mount.umount(str(elsewhere), mount.MNT_DETACH)
    with pytest.raises(BusyError, match="still in use by ext4"):
        bench.lab.publish(blank(), bench.lab.target("data"))
    os.close(held)
    bench.lab.publish(blank(), bench.lab.target("data"))
    bench.lab.unpublish(bench.lab.target("data"))


def test_a_disk_with_partitions_is_refused(
    bench: Bench, tmp_path: Path, need_program: Callable[[str, str], str]
) -> None:
    addpart = need_program("addpart", "util-linux")
    image = tmp_path / "P1.img"
    image.touch()
    os.truncate(image, 16 * MIB)
    with image.open("r+b") as file:
        made = loop.attach_free(
            file.fileno(), loop.Setup(loop.LO_FLAGS_AUTOCLEAR | loop.LO_FLAGS_PARTSCAN)
        )
    bench.open.callback(os.close, made.fd)
    node = loop.device_path(made.number)
    bench.names["P1"] = (Candidate(node, Path(node).stat().st_rdev),)
    subprocess.run([addpart, node, "1", "2048", "4096"], check=True)
    with pytest.raises(MismatchError, match=f"has partitions, loop{made.number}p1"):
        bench.lab.publish(blank("P1"), bench.lab.target("data"))
    subprocess.run(["delpart", node, "1"], check=True)


def test_a_number_that_became_another_disk_is_not_touched(bench: Bench) -> None:
    """hwameistor#982, k/k#57444: between the look and the mount the name moved on."""
    bench.disk("A1")
    bench.disk("B2")
    (first,), (second,) = bench.names["A1"], bench.names["B2"]
    before = [digest(bench.image(name)) for name in ("A1", "B2")]
    bench.names["A1"] = (Candidate(second.node, first.number),)
    with pytest.raises(MismatchError, match="renamed meanwhile"):
        bench.lab.publish(blank(), bench.lab.target("data"))
    answers = iter([(first,), (first,), (second,)])

    def moves_on(_key: DeviceKey, _value: str) -> Found:
        return Found(next(answers))

    bench.lab.room.adopt(
        bench.lab.room._ground.policy, [DeviceBackend(moves_on, bench.folder / "state")]
    )
    with pytest.raises(MismatchError, match="another device just now"):
        bench.lab.publish(blank(), bench.lab.target("data"))
    assert [digest(bench.image(name)) for name in ("A1", "B2")] == before


def test_a_raw_disk_is_its_node_at_a_file_and_nobody_elses_meanwhile(bench: Bench) -> None:
    lab, target = bench.lab, bench.lab.places.kubelet_dir / "plugins" / "raw"
    node = bench.disk()
    bench.names["alias"] = bench.names["A1"]
    for _ in range(2):
        lab.publish(raw(), target)
    assert target.stat().st_rdev == Path(node).stat().st_rdev
    with pytest.raises(BusyError, match="given out raw"):
        lab.publish(blank("alias"), lab.target("data"))
    with target.open("r+b") as device:
        device.write(b"raw")
    assert lab.room.unpublish(target, soon(), remove=True).unstaged
    with Path(node).open("rb") as device:
        assert device.read(3) == b"raw"
    with pytest.raises(InvalidError, match="read-only"):
        lab.room.validate(Volume(raw().spec, NAMESPACE, readonly=True, block=True), TENANT)


@pytest.mark.parametrize("fs_type", FsType)
def test_a_file_system_gets_all_of_a_disk_that_grew(
    bench: Bench, fs_type: FsType, need_program: Callable[[str, str], str]
) -> None:
    need_program(*PROGRAMS[fs_type])
    lab, target, size = bench.lab, bench.lab.target("data"), max(SIZES[fs_type], 256 * MIB)
    node = bench.disk(size=size)
    lab.publish(blank(fs_type=fs_type), target)
    before = lab.room.stats(target).bytes_total
    with pytest.raises(NotAvailableError, match="gets no larger"):
        lab.room.expand(blank(), TENANT, size + 64 * MIB, soon())
    lab.unpublish(target)
    os.truncate(bench.image(), size + 128 * MIB)
    fd = os.open(node, os.O_RDONLY)
    loop.update_capacity(fd)
    os.close(fd)
    lab.publish(blank(fs_type=fs_type), target)
    assert lab.room.stats(target).bytes_total > before + 64 * MIB
    lab.unpublish(target)


def test_a_disk_that_was_taken_out_is_seen_and_taken_off(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, target = bench.lab, bench.lab.target("data")
    bench.disk()
    lab.publish(blank(), target)
    assert lab.room.stats(target).abnormal == ""

    def none_there(point: mount.MountPoint, _sysfs: str) -> bool:
        return mounts.is_gone(point, "/nowhere")

    monkeypatch.setattr("ringbolt.volumes.health.is_gone", none_there)
    assert "taken out" in lab.room.stats(target).abnormal
    bench.names.clear()
    assert lab.unpublish(target).unstaged


def test_dead_mounts_of_a_disk_make_way_when_it_is_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, target = bench.lab, bench.lab.target("data")
    old = bench.disk()
    lab.publish(blank(), target)
    new = bench.disk("A2")
    bench.names["A1"] = bench.names.pop("A2")

    def is_old(point: mount.MountPoint) -> bool:
        return point.source == old

    monkeypatch.setattr("ringbolt.volumes.standing.is_gone", is_old)
    assert lab.publish(blank(), target).fresh
    assert {one.source for one in lab.mounts()} == {new}
    lab.unpublish(target)


def test_a_disk_is_encrypted_by_a_key_that_is_gone_with_the_mount(bench: Bench) -> None:
    if lack := vault.lacking():
        pytest.skip(lack)
    lab, target = bench.lab, bench.lab.target("data")
    bench.disk()
    wanted = replace(blank(), encryption=Encryption.FSCRYPT)
    place, key = Publication(target, TENANT), Secrets({"key": bytes(range(32))})
    lab.room.publish(wanted, place, soon(), key)
    (target / "file").write_bytes(b"in plain words" * 400)
    lab.unpublish(target)
    assert b"in plain words" not in bench.image().read_bytes()
    with pytest.raises(MismatchError, match="another key"):
        lab.room.publish(wanted, place, soon(), Secrets({"key": bytes(32)}))
    with pytest.raises(MismatchError, match="encrypt: fscrypt"):
        lab.publish(blank(), target)


@pytest.mark.parametrize("fs_type", [FsType.EXT4, FsType.XFS])
def test_a_log_is_left_unread_only_where_that_is_asked_for(
    bench: Bench, fs_type: FsType, need_program: Callable[[str, str], str]
) -> None:
    """A disk that takes no writes cannot be put right by mounting it, as others would be."""
    need_program(*PROGRAMS[fs_type])
    lab, target = bench.lab, bench.lab.target("data")
    bench.disk(size=SIZES[fs_type])
    lab.publish(blank(fs_type=fs_type), target)
    (target / "file").write_text("written last")
    fd = os.open(target, os.O_RDONLY)
    os.fsync(fd)
    with frozen(fd) if fs_type is FsType.XFS else nullcontext():  # which leaves its log dirty
        shutil.copyfile(bench.image(), bench.image("B2"))
    os.close(fd)
    lab.unpublish(target)
    image = os.open(bench.image("B2"), os.O_RDONLY)
    made = loop.attach_free(image, loop.Setup(loop.LO_FLAGS_READ_ONLY | loop.LO_FLAGS_AUTOCLEAR))
    bench.open.callback(os.close, made.fd)
    os.close(image)
    node = loop.device_path(made.number)
    bench.names["B2"] = (Candidate(node, Path(node).stat().st_rdev),)
    spec = Device(DeviceKey.SERIAL, "B2")
    with pytest.raises(NotAvailableError, match="takes no writes"):
        lab.publish(volume(spec), target)
    with pytest.raises(MismatchError, match="not unmounted cleanly"):
        lab.publish(Volume(spec, NAMESPACE, readonly=True), target)
    with pytest.raises(InvalidError, match="read-only volumes alone"):
        lab.publish(volume(blank(fs_type=fs_type).spec, "", "norecovery"), target)
    shown = Volume(spec, NAMESPACE, options=("norecovery",), readonly=True)
    lab.publish(shown, target)
    assert target.is_dir()
    lab.unpublish(target)


def test_disks_are_found_as_this_machine_tells_of_them(bench: Bench) -> None:
    find = DeviceFinder(Scanner(run_udev=bench.folder / "no-udev"))
    node = bench.disk()
    name = Path(node).name
    assert find(DeviceKey.SELECTOR, f'{{"kernel": "{name}"}}') == Found(bench.names["A1"])
    assert find(DeviceKey.SERIAL, "no such").candidates == ()
    assert len(find(DeviceKey.SELECTOR, '[{"kernel": "loop*"}]').candidates) > 1
