"""An operator's `ringbolt volumes delete`, `snapshot` and `reset`, on real volumes."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daemon.volumes_command import volumes as command
from ringbolt.linux import mount
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import TryAgainError
from ringbolt.volumes.kinds import all_kinds
from ringbolt.volumes.locks import Locks
from ringbolt.volumes.overlay import OverlayBackend
from ringbolt.volumes.paths import Places
from ringbolt.volumes.policy import Policy, Rule
from ringbolt.volumes.records import Records
from ringbolt.volumes.setting import Setting, write_setting
from ringbolt.volumes.spec import Directory, Kind, Loop, Overlay, Subvolume, Tmpfs
from ringbolt.volumes.volume import Volume
from tests.kernel.test_cni_plugin import wait_until
from tests.kernel.volume_lab import MIB, MadeFileSystem, made_file_system
from tests.kernel.volumes_lab import TENANT, VolumeLab, soon, volume, volume_lab

pytestmark = pytest.mark.root
DATA = volume(Loop("data", 16 * MIB))
NAME = "default/data"


def opened(folder: Path, state: Path | None = None) -> VolumeLab:
    """A room with all kinds, as an agent leaves its setting for commands."""
    plain = volume_lab(folder, [])
    places = Places(plain.places.run_dir, state or plain.places.state_dir, plain.places.kubelet_dir)
    setting = Setting(places, Policy((str(plain.root),), (Rule(frozenset(Kind)),)))
    write_setting(setting)
    (plain.root / "base").mkdir()
    (plain.root / "base" / "file").write_text("from below")
    return volume_lab(folder, all_kinds(setting), state=state)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[VolumeLab]:
    made = opened(tmp_path)
    yield made
    assert made.mounts() == []
    mount.umount(str(made.places.kubelet_dir))


def ringbolt(lab: VolumeLab, *words: str) -> Result:
    """`ringbolt volumes ...` where nobody can be asked."""
    return CliRunner().invoke(command, ["--run-dir", str(lab.places.run_dir), *words])


def failed(lab: VolumeLab, *words: str) -> str:
    """What it says of why it did nothing."""
    told = ringbolt(lab, *words)
    assert told.exit_code == 1, told.output
    assert told.stdout == ""
    assert told.stderr.startswith(f"ringbolt volumes {words[0]}: ")
    assert told.stderr.count("\n") == 1
    return told.stderr


def done(lab: VolumeLab, *words: str) -> str:
    told = ringbolt(lab, *words)
    assert told.exit_code == 0, told.output
    return told.stdout


def listed(lab: VolumeLab) -> set[str]:
    return {one["id"] for one in json.loads(done(lab, "-o", "json"))["volumes"]}


def image(lab: VolumeLab, kind: str = "loop", name: str = "data") -> Path:
    return lab.places.state_dir / "volumes" / kind / "default" / f"{name}.img"


def filled(lab: VolumeLab, wanted: Volume, text: str = "kept") -> None:
    """Make it, and write a file."""
    target = lab.target("data")
    lab.publish(wanted, target)
    (target / "file").write_text(text)
    (target / "large").write_bytes(os.urandom(4 * MIB))
    lab.unpublish(target)


def overlay(lab: VolumeLab, size: int | None = 16 * MIB) -> Volume:
    wanted = Overlay(str(lab.root / "base"), "data", size)
    if lack := OverlayBackend((), lab.places.run_dir, lab.places.state_dir).lacks():
        pytest.skip(lack)
    return volume(wanted)


def test_what_is_deleted_is_gone_and_its_room_comes_back(lab: VolumeLab) -> None:
    filled(lab, DATA)
    blocks = image(lab).stat().st_blocks
    assert blocks * 512 > 4 * MIB
    said = done(lab, "delete", NAME, "--yes")
    assert said == f"deleted default/data (loop.default.data): {blocks / 2048:.3g}Mi came free\n"
    assert not image(lab).exists()
    assert listed(lab) == set()
    lab.publish(DATA, lab.target("data"))
    assert not (lab.target("data") / "file").exists()
    lab.unpublish(lab.target("data"))


def test_what_a_pod_has_is_neither_deleted_nor_reset(lab: VolumeLab) -> None:
    target, wanted = lab.target("data"), overlay(lab)
    for one in (DATA, wanted):
        lab.publish(one, target)
        (target / "file").write_text("kept")
        for action in ("delete", "reset")[: 2 if one is wanted else 1]:
            text = failed(lab, action, NAME, "--yes", "--kind", one.kind.value)
            assert f"{one.id} is mounted for default/web-0" in text
        assert (target / "file").read_text() == "kept"
        lab.unpublish(target)
    lab.room.stage(DATA, TENANT, soon())
    assert "unstage" in failed(lab, "delete", NAME, "--yes", "--kind", "loop")
    lab.room.unstage(DATA.id, soon())
    assert image(lab).exists()


def test_who_cannot_be_asked_must_say_yes(lab: VolumeLab) -> None:
    filled(lab, overlay(lab))
    for action in ("delete", "reset"):
        told = ringbolt(lab, action, NAME)
        assert told.exit_code == 2
        assert "pass --yes" in told.stderr
    lab.publish(overlay(lab), lab.target("data"))
    assert (lab.target("data") / "file").read_text() == "kept"
    lab.unpublish(lab.target("data"))


@pytest.mark.parametrize(("typed", "code"), [("default/data", 0), ("yes", 1), ("", 1)])
def test_at_a_terminal_its_name_is_asked_for(lab: VolumeLab, typed: str, code: int) -> None:
    filled(lab, DATA)
    ours, theirs = pty.openpty()
    words = ["volumes", "--run-dir", str(lab.places.run_dir), "delete", NAME]
    os.write(ours, f"{typed}\n".encode())
    ended = subprocess.run(
        [sys.executable, "-m", "daemon", *words],
        stdin=theirs,
        capture_output=True,
        text=True,
        check=False,
    )
    for fd in (ours, theirs):
        os.close(fd)
    assert ended.returncode == code, ended.stderr
    assert "its data is deleted for ever" in ended.stdout
    assert image(lab).exists() is bool(code)
    assert ("nothing was done" in ended.stderr) is bool(code)


def test_of_two_kinds_with_one_name_one_must_be_named(lab: VolumeLab) -> None:
    filled(lab, DATA)
    filled(lab, overlay(lab))
    assert listed(lab) == {"loop.default.data", "overlay.default.data"}
    text = failed(lab, "delete", NAME, "--yes")
    assert "of loop and overlay" in text
    assert "--kind" in text
    assert "a loop and overlay volume" in failed(lab, "delete", NAME, "--kind", "subvolume")
    done(lab, "delete", NAME, "--kind", "overlay", "--yes")
    assert listed(lab) == {"loop.default.data"}
    assert "see --kind" in failed(lab, "delete", NAME, "--kind", "overlay", "--yes")


def test_a_name_that_there_is_not_leads_to_those_that_there_are(lab: VolumeLab) -> None:
    filled(lab, DATA)
    assert "did you mean default/data?" in failed(lab, "delete", "default/dat", "--yes")
    assert "NAMESPACE/NAME" in failed(lab, "delete", "data", "--yes")
    for name in ("../default/data", "default/../data", "default/", "/data", "Default/data"):
        assert re.search(r"is no (namespace|name of)", failed(lab, "delete", name, "--yes"))
    lab.publish(volume(Tmpfs(MIB), "0a1b/scratch"), lab.target("scratch"))
    assert "is a tmpfs volume" in failed(lab, "delete", "default/scratch", "--yes")
    lab.unpublish(lab.target("scratch"))
    lab.publish(volume(Directory(str(lab.root / "base"))), lab.target("base"))
    assert "is a dir volume" in failed(lab, "delete", f"default/{lab.root}/base", "--yes")
    lab.unpublish(lab.target("base"))
    assert (lab.root / "base" / "file").exists()
    assert image(lab).exists()


def test_a_reset_overlay_begins_anew_in_its_size(lab: VolumeLab) -> None:
    target = lab.target("data")
    filled(lab, overlay(lab), "changed")
    size = image(lab, "overlay").stat().st_size
    assert "came free" in done(lab, "reset", NAME, "--yes")
    assert image(lab, "overlay").stat().st_size == size
    assert image(lab, "overlay").stat().st_blocks * 512 < 4 * MIB
    lab.publish(overlay(lab, None), target)
    assert (target / "file").read_text() == "from below"
    assert sorted(one.name for one in target.iterdir()) == ["file"]
    lab.unpublish(target)
    filled(lab, volume(Loop("other", 16 * MIB)))
    assert "nothing to go back to" in failed(lab, "reset", "default/other", "--yes")


def test_a_plain_copy_where_blocks_cannot_be_shared(lab: VolumeLab) -> None:
    filled(lab, DATA)
    assert "plain copy" in failed(lab, "snapshot", NAME, "copy")
    assert not image(lab, name="copy").exists()
    assert "default/copy (loop.default.copy, 16Mi)" in done(
        lab, "snapshot", NAME, "copy", "--plain"
    )
    lab.publish(volume(Loop("copy")), lab.target("copy"))
    assert (lab.target("copy") / "file").read_text() == "kept"
    lab.unpublish(lab.target("copy"))
    for name in ("copy", "data"):
        assert "there is a volume" in failed(lab, "snapshot", NAME, name, "--plain")
    assert "no name of a volume" in failed(lab, "snapshot", NAME, "../copy", "--plain")
    filled(lab, volume(overlay(lab).spec))
    assert "cannot be copied" in failed(lab, "snapshot", NAME, "other", "--kind", "overlay")


@pytest.fixture
def sharing(tmp_path: Path, need_program: Callable[[str, str], str]) -> Iterator[MadeFileSystem]:
    program = need_program("mkfs.xfs", "xfsprogs")
    made = made_file_system(tmp_path / "disk", "xfs", 512 * MIB, [program, "-q"])
    yield made
    made.close()


def test_a_mounted_volume_is_copied_and_what_is_shared_does_not_come_free(
    tmp_path: Path, sharing: MadeFileSystem
) -> None:
    lab = opened(tmp_path, sharing.target)
    target, other = lab.target("data"), lab.target("copy")
    lab.publish(DATA, target)
    (target / "file").write_text("then")
    (target / "large").write_bytes(os.urandom(8 * MIB))
    done(lab, "snapshot", NAME, "copy")
    (target / "file").write_text("now")
    lab.publish(volume(Loop("copy")), other)
    assert (other / "file").read_text() == "then"
    lab.unpublish(other)
    lab.unpublish(target)
    before = os.statvfs(sharing.target).f_bavail
    deleted = done(lab, "delete", "default/copy", "--yes")
    freed = (os.statvfs(sharing.target).f_bavail - before) * os.statvfs(sharing.target).f_frsize
    assert freed < 4 * MIB
    assert "Ki came free" in deleted
    mount.umount(str(lab.places.kubelet_dir))


def test_subvolumes_are_copied_and_deleted(
    tmp_path: Path, make: Callable[[str], MadeFileSystem]
) -> None:
    lab = opened(tmp_path, make("btrfs").target)
    target, wanted = lab.target("data"), volume(Subvolume("data"))
    lab.publish(wanted, target)
    (target / "file").write_text("then")
    assert "default/copy (subvolume.default.copy)" in done(lab, "snapshot", NAME, "copy")
    (target / "file").write_text("now")
    assert "mounted for default/web-0" in failed(lab, "delete", NAME, "--yes")
    lab.unpublish(target)
    lab.publish(volume(Subvolume("copy")), target)
    assert (target / "file").read_text() == "then"
    lab.unpublish(target)
    for name in ("data", "copy"):
        said = done(lab, "delete", f"default/{name}", "--yes")
        assert said.startswith(f"deleted default/{name} (subvolume.default.{name})")
        assert "does not tell" in said
    assert listed(lab) == set()
    lab.publish(volume(Subvolume("data", 16 * MIB)), target)
    (target / "large").write_bytes(os.urandom(4 * MIB))
    os.sync()
    lab.unpublish(target)
    assert ": 4.0" in done(lab, "delete", NAME, "--yes")
    mount.umount(str(lab.places.kubelet_dir))


def test_what_a_killed_agent_left_staged_is_taken_off(lab: VolumeLab) -> None:
    filled(lab, DATA)
    lab.publish(DATA, lab.target("data"))
    mount.umount(str(lab.target("data")))
    text = failed(lab, "delete", NAME, "--yes")
    assert "is mounted at" in text
    assert "remembered for default/web-0" in text
    Records(lab.places.run_dir).drop_published(lab.target("data"))
    done(lab, "delete", NAME, "--yes")
    assert lab.mounts() == []
    assert not image(lab).exists()
    lab.room.reconcile()


def test_what_only_a_pods_own_mounts_show_is_not_deleted(lab: VolumeLab) -> None:
    """Somebody unmounted the host's, and the pod goes on with its own."""
    lab.publish(DATA, lab.target("data"))
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec cat"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pod:
        assert pod.stdout
        pod.stdout.readline()
        for path in (lab.target("data"), lab.places.stagings / DATA.id / "mount"):
            mount.umount(str(path))
        text = failed(lab, "delete", NAME, "--yes")
        assert "in use by /dev/loop" in text
        assert "remembered for default/web-0" in text
        assert image(lab).exists()
    lab.unpublish(lab.target("data"))
    wait_until(lambda: ringbolt(lab, "delete", NAME, "--yes").exit_code == 0)


@pytest.mark.parametrize("busy", ["data", "copy"])
def test_what_another_process_is_at_is_left_alone(lab: VolumeLab, busy: str) -> None:
    wanted = overlay(lab)
    for one in (DATA, wanted):
        filled(lab, one)
    at_once = Deadline.after(0)
    with ExitStack() as held:
        for kind in ("loop", "overlay"):
            other = Locks(lab.places.run_dir)
            held.enter_context(other.hold(f"{kind}.default.{busy}", "publish it", soon()))
        with pytest.raises(TryAgainError, match=f"{busy}: another process"):
            lab.room.snapshot(DATA, None, "copy", at_once)
        if busy == "data":
            for verb in (lab.room.delete, lab.room.reset):
                with pytest.raises(TryAgainError, match="another process"):
                    verb(wanted, at_once)
    assert {path.name for path in image(lab).parent.iterdir()} == {"data.img"}
    assert image(lab, "overlay").stat().st_blocks * 512 > 4 * MIB
