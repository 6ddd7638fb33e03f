"""From paths and volumes to what is behind them, on the real kernel."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from daemon.explain_command import path as explain_path
from daemon.explain_command import volume as explain_volume
from ringbolt.linux import mount
from ringbolt.volumes.inspection import ground_to_look, inspect
from ringbolt.volumes.mounts import Mounts
from ringbolt.volumes.policy import Policy, Rule
from ringbolt.volumes.setting import Setting, write_setting
from ringbolt.volumes.spec import Kind, Loop
from ringbolt.volumes.tracing import PathTrace, Traced, covering, resolve, trace_path, trace_volume
from tests.kernel.volumes_lab import VolumeLab, soon, volume, volume_lab

pytestmark = pytest.mark.root
MIB = 1 << 20
DATA = volume(Loop("data", 16 * MIB))
POLICY = Policy(
    (), (Rule(frozenset({Kind.TMPFS})), Rule(frozenset({Kind.LOOP}), max_size=32 * MIB))
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[VolumeLab]:
    made = volume_lab(tmp_path)
    yield made
    for target in {one.target for one in made.mounts() if "/pods/" in one.target}:
        made.room.unpublish(Path(target), soon())
    made.room.reconcile()
    assert made.mounts() == []
    mount.umount(str(made.places.kubelet_dir))


def traced(lab: VolumeLab, policy: Policy = POLICY) -> Traced:
    ground = ground_to_look(Setting(lab.places, policy))
    (one,) = inspect(ground).volumes
    return trace_volume(ground, one)


def path_of(lab: VolumeLab, path: Path) -> PathTrace:
    ground = ground_to_look(Setting(lab.places, POLICY))
    return trace_path(ground, inspect(ground), str(path))


def test_a_volume_is_followed_to_its_image_places_and_rules(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(DATA, target, readonly=True)
    found = traced(lab)
    assert found.backing == str(lab.places.state_dir / "volumes/loop/default/data.img")
    staged, shown = found.places
    assert staged.target == str(lab.places.stagings / DATA.id / "mount")
    assert (shown.target, shown.has) == (str(target), ("nodev", "nosuid", "ro"))
    assert shown.wanted == shown.has
    assert (staged.guarded, shown.guarded) == (True, True)
    assert [(one.number, one.reason) for one in found.rules] == [
        (1, "it is not about loop volumes"),
        (2, ""),
    ]
    assert any(
        one.namespace == Path("/proc/thread-self/ns/mnt").stat().st_ino for one in found.showers
    )


def test_flags_that_somebody_changed_and_a_guard_that_is_off_are_told(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(DATA, target)
    mount.mount_setattr(str(target), clear=mount.MOUNT_ATTR_NOSUID)
    _, shown = traced(lab).places
    assert (shown.wanted, shown.has) == (("nodev", "nosuid"), ("nodev",))
    mount.umount(str(target))
    subprocess.run(["chattr", "-i", str(target)], check=True)
    _, shown = traced(lab).places
    assert (shown.points, shown.guarded) == ((), False)


def test_a_rule_that_is_no_more_says_why(lab: VolumeLab) -> None:
    lab.publish(DATA, lab.target("data"))
    found = traced(lab, Policy((), (Rule(frozenset({Kind.LOOP}), max_size=MIB),)))
    assert "more than the 1048576" in found.rules[0].reason
    assert found.places[1].wanted is None


def test_who_has_files_open_and_who_shows_it_elsewhere_is_told(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(DATA, target)
    (target / "file").write_text("x")
    script = f"exec 3<{target}/file; umount {target}; echo ready; read line"
    with subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        assert other.stdout.readline() in {b"ready\n", b""}
        found = traced(lab)
        assert other.pid in {one.pid for one in found.showers}
        other.communicate(b"\n")
    with (target / "file").open():
        (user,) = traced(lab).users
        assert (user.pid, user.files) == (os.getpid(), 1)


def test_paths_are_told_apart(lab: VolumeLab, tmp_path: Path) -> None:
    target = lab.target("data")
    lab.publish(DATA, target)
    (target / "folder").mkdir()
    image = lab.places.state_dir / "volumes/loop/default/data.img"
    (tmp_path / "link").symlink_to(target / "folder")
    for path, role in (
        (target / "folder" / "none", "where default/web-0 has it"),
        (tmp_path / "link", "where default/web-0 has it"),
        (lab.places.stagings / DATA.id / "mount", "where it is staged"),
        (image, "its data"),
    ):
        found = path_of(lab, path)
        assert (found.volume_id, found.role) == (DATA.id, role), path
    assert path_of(lab, tmp_path / "link").backing == str(image)
    other = path_of(lab, Path("/proc/sys"))
    assert (other.volume_id, other.role) == (None, "")
    assert other.point
    assert other.point.fstype == "proc"


def test_a_target_whose_mount_is_gone_is_known_still(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(DATA, target)
    mount.umount(str(target))
    assert path_of(lab, target).volume_id == DATA.id


def test_a_further_mount_of_a_volume_is_known(lab: VolumeLab, tmp_path: Path) -> None:
    target, other = lab.target("data"), tmp_path / "other"
    other.mkdir()
    lab.publish(DATA, target)
    mount.bind(str(target), str(other))
    found = path_of(lab, other)
    assert (found.volume_id, found.role) == (DATA.id, "a further mount of it")
    mount.umount(str(other))


def test_stacked_mounts_are_counted(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(DATA, target)
    mount.bind(str(target), str(target))
    assert path_of(lab, target).stacked == 2
    mount.umount(str(target))


def test_links_are_followed_as_the_kernel_does(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/up").symlink_to("../a/b/../b")
    (tmp_path / "loop").symlink_to("loop")
    mounts = Mounts.look()
    assert resolve(mounts, f"{tmp_path}/a/up/x") == f"{tmp_path}/a/b/x"
    assert resolve(mounts, f"{tmp_path}/loop/x").endswith("/loop/x")
    here = covering(mounts, str(tmp_path))
    assert here
    assert here.device == (os.major(tmp_path.stat().st_dev), os.minor(tmp_path.stat().st_dev))


def test_people_and_programs_are_told(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(DATA, target)
    write_setting(Setting(lab.places, POLICY))
    run_dir = ["--run-dir", str(lab.places.run_dir)]
    text = CliRunner().invoke(explain_path, [*run_dir, str(target)])
    for words in ("of the volume loop.default.data", "rule 2 of volumes.allow gives it", "ext4"):
        assert words in text.stdout
    whole = json.loads(CliRunner().invoke(explain_volume, [*run_dir, "data", "-o", "json"]).stdout)
    assert whole["volumes"][0]["places"][1]["pod"] == "default/web-0"
    wrong = CliRunner().invoke(explain_volume, [*run_dir, "dats"])
    assert wrong.exit_code == 1
    assert "did you mean data" in wrong.stderr
    nothing = CliRunner().invoke(explain_path, [*run_dir, "/proc"])
    assert nothing.exit_code == 0
    assert "it is none of Ringbolt's" in nothing.stdout
