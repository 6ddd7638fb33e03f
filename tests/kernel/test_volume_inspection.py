"""What is told of volumes, beside the real kernel: what is there, for whom, and what is wrong."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from daemon.volumes_command import volumes as command
from ringbolt.linux import loop, mount
from ringbolt.volumes import hanging
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import MismatchError
from ringbolt.volumes.health import Fault
from ringbolt.volumes.inspection import Inspected, Inspection, ground_to_look, inspect
from ringbolt.volumes.locks import Locks
from ringbolt.volumes.outcome import State
from ringbolt.volumes.policy import Policy, Rule
from ringbolt.volumes.setting import Setting, write_setting
from ringbolt.volumes.spec import Kind, Loop, Tmpfs
from tests.kernel.test_volume_dead import unserved
from tests.kernel.volumes_lab import VolumeLab, soon, volume, volume_lab

pytestmark = pytest.mark.root
MIB = 1 << 20
DATA = volume(Loop("data", 16 * MIB))
SCRATCH = volume(Tmpfs(MIB), "0a1b/scratch")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[VolumeLab]:
    made = volume_lab(tmp_path)
    yield made
    for target in {one.target for one in made.mounts() if "/pods/" in one.target}:
        made.room.unpublish(Path(target), soon())
    made.room.reconcile()
    assert made.mounts() == []
    mount.umount(str(made.places.kubelet_dir))


def seen(lab: VolumeLab) -> Inspection:
    policy = Policy((str(lab.root),), (Rule(frozenset({Kind.TMPFS})),))
    return inspect(ground_to_look(Setting(lab.places, policy)))


def only(lab: VolumeLab) -> Inspected:
    (one,) = seen(lab).volumes
    return one


def faults(lab: VolumeLab) -> list[Fault]:
    return [ailment.fault for ailment in only(lab).ailments]


def trigger_error(lab: VolumeLab) -> None:
    image = (lab.places.state_dir / "volumes/loop/default/data.img").stat()
    (found,) = loop.find_by_backing(image.st_dev, image.st_ino)
    Path(f"/sys/fs/ext4/loop{found.number}/trigger_fs_error").write_text("test")


def test_a_look_makes_nothing(lab: VolumeLab, tmp_path: Path) -> None:
    places = type(lab.places)(tmp_path / "r", tmp_path / "s", tmp_path / "k")
    found = inspect(ground_to_look(Setting(places, Policy())))
    assert not found.volumes
    assert not found.orphans
    assert {one.kind for one in found.kinds} == set(Kind)
    assert not any(path.exists() for path in (places.run_dir, places.state_dir))


def test_what_is_mounted_is_told_with_its_use_and_its_pods(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(DATA, target, readonly=True)
    one = only(lab)
    assert (one.status.volume_id, one.name, one.status.staged) == (DATA.id, "data", State.MOUNTED)
    assert one.device.startswith("/dev/loop")
    assert one.stats
    assert 0 < one.stats.bytes_used < one.stats.bytes_total <= 16 * MIB
    (place,) = one.status.publications
    assert (place.target, place.readonly, place.tenant.pod) == (target, True, "web-0")
    assert one.ailments == ()
    lab.unpublish(target)
    left = only(lab)
    assert (left.status.staged, left.status.publications, left.stats) == (None, (), None)


def test_a_file_system_that_went_read_only_is_told(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(DATA, target)
    trigger_error(lab)
    (ailment,) = only(lab).ailments
    assert ailment.fault is Fault.READ_ONLY
    assert "after 1 error" in ailment.what
    assert [one.pod for one in ailment.tenants] == ["web-0"]
    assert "read-only" in lab.room.stats(target).abnormal
    with pytest.raises(MismatchError):
        lab.publish(DATA, lab.target("data", "beef"))


def test_what_somebody_unmounted_is_told_until_it_is_published_again(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(DATA, target)
    mount.umount(str(target))
    assert faults(lab) == [Fault.UNMOUNTED]
    assert only(lab).status.publications[0].state is State.MISSING
    lab.publish(DATA, target)
    assert faults(lab) == []


def test_a_staging_mount_that_somebody_unmounted_is_told(lab: VolumeLab) -> None:
    lab.publish(DATA, lab.target("data"))
    mount.umount(str(lab.places.stagings / DATA.id / "mount"))
    assert faults(lab) == [Fault.UNMOUNTED]
    assert only(lab).status.staged is State.MISSING
    lab.room.unpublish(lab.target("data"), soon())


def test_foreign_and_stacked_mounts_are_told(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(DATA, target)
    mount.mount("none", str(target), "tmpfs")
    assert faults(lab) == [Fault.FOREIGN]
    mount.umount(str(target))
    mount.bind(str(target), str(target))
    assert faults(lab) == [Fault.STACKED]


def test_an_image_that_was_deleted_under_its_mount_is_told(lab: VolumeLab) -> None:
    lab.publish(DATA, lab.target("data"))
    (lab.places.state_dir / "volumes/loop/default/data.img").unlink()
    assert faults(lab) == [Fault.IMAGE_DELETED]


def test_mounts_that_nothing_is_remembered_of_are_told(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(DATA, target)
    for path in (lab.places.run_dir / "volumes").rglob("*.json"):
        path.unlink()
    assert set(seen(lab).orphans) == {lab.places.stagings / DATA.id / "mount", target}


def test_a_call_of_another_process_is_told_and_explains_what_looks_wrong(lab: VolumeLab) -> None:
    target = lab.target("scratch")
    lab.publish(SCRATCH, target)
    mount.umount(str(target))
    assert faults(lab) == [Fault.UNMOUNTED]
    with Locks(lab.places.run_dir).hold(SCRATCH.id, "unpublish it", Deadline.after(5)):
        one = only(lab)
        assert one.status.lock
        assert one.status.lock.call == "unpublish it"
        assert one.ailments == ()
        assert lab.room.examine().in_flux
    assert only(lab).status.lock is None


def test_what_a_killed_process_left_locked_is_not_told(lab: VolumeLab) -> None:
    lab.publish(SCRATCH, lab.target("scratch"))
    pid = os.fork()
    if not pid:
        with Locks(lab.places.run_dir).hold(SCRATCH.id, "die", Deadline.after(5)):
            os._exit(0)
    os.waitpid(pid, 0)
    assert any((lab.places.run_dir / "volumes/locks").iterdir())
    assert only(lab).status.lock is None


def test_a_volume_that_hangs_keeps_no_other_from_being_told(
    lab: VolumeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hanging, "PATIENCE_S", 1.0)
    lab.publish(DATA, lab.target("data"))
    target = lab.target("scratch")
    lab.publish(SCRATCH, target)
    mount.umount(str(target))
    with unserved(target):
        data, scratch = seen(lab).volumes
        assert data.stats
        assert scratch.stats is None
        assert {one.fault for one in scratch.ailments} == {Fault.FOREIGN, Fault.SILENT}
        lab.room.unpublish(target, soon())


def test_the_command_says_it_to_people_and_programs(lab: VolumeLab) -> None:
    lab.publish(DATA, lab.target("data"))
    trigger_error(lab)
    write_setting(Setting(lab.places, Policy()))
    run_dir = ["--run-dir", str(lab.places.run_dir)]
    found = json.loads(CliRunner().invoke(command, [*run_dir, "-o", "json"]).stdout)
    (row,) = found["volumes"]
    assert (row["id"], row["namespace"], row["name"]) == (DATA.id, "default", "data")
    assert [one["fault"] for one in row["ailments"]] == ["read-only"]
    assert found["lacks"] == []
    text = CliRunner().invoke(command, run_dir)
    assert text.exit_code == 0
    assert "default/web-0" in text.stdout
    assert f"note: {DATA.id}: its file system went read-only after 1 error" in text.stdout
