"""Volumes that a program serves by FUSE, for real: started, supervised, revived, hung, ended."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ringbolt.linux import mount
from ringbolt.volumes import hanging
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import DeadlineError, InvalidError, NotAvailableError, RefusedError
from ringbolt.volumes.fuse import FuseBackend
from ringbolt.volumes.helper import Helper
from ringbolt.volumes.paths import Places
from ringbolt.volumes.server_watch import ServerWatch
from ringbolt.volumes.servers import Servers
from ringbolt.volumes.spec import Fuse, Tmpfs
from ringbolt.volumes.tmpfs import TmpfsBackend
from ringbolt.volumes.volume import Publication, Secrets, Volume
from ringbolt.volumes.volumes import Volumes
from tests.kernel.volumes_lab import TENANT, VolumeLab, soon, volume, volume_lab

pytestmark = pytest.mark.root

SCRIPT = str(Path(__file__).with_name("fuse_helper.py"))
SECRETS = Secrets({"key": "p,w ö\n".encode()})


@dataclass(frozen=True, slots=True)
class FuseLab:
    """A room whose helpers are told what to do by files in `folder`."""

    lab: VolumeLab
    folder: Path

    def source(self, name: str) -> Path:
        """What one helper is told by."""
        (self.folder / name).mkdir(exist_ok=True)
        return self.folder / name

    def wanted(self, name: str, helper: str = "file") -> Volume:
        """A volume served by a helper of its own."""
        return volume(Fuse(helper, str(self.source(name))))

    def show(self, wanted: Volume, target: Path) -> None:
        """Publish, with the secret."""
        self.lab.room.create(wanted, TENANT, soon(), SECRETS)
        self.lab.room.publish(wanted, Publication(target, TENANT), soon(), SECRETS)

    def pid(self, name: str) -> int:
        """Whom a helper's mount is answered by."""
        return int((self.source(name) / "pid").read_text())

    def kill(self, name: str) -> None:
        """As the kernel does when memory is short; and see it gone."""
        fd = os.pidfd_open(self.pid(name))
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        select.select([fd], [], [], 10)
        os.close(fd)


HELPERS = (
    Helper("file", (sys.executable, SCRIPT, "{source}", "{target}", "{secret:key}"), ("/*",)),
    Helper("stdin", (sys.executable, SCRIPT, "{source}", "{target}"), ("/*",), stdin="key"),
    Helper(
        "foreground",
        (sys.executable, SCRIPT, "-f", "{source}", "{target}", "{secret:key}"),
        ("/*",),
        foreground=True,
    ),
    Helper("mine", (sys.executable, SCRIPT, "{source}", "{target}"), ("/srv/mine/*",)),
    Helper("gone", ("no-such-program", "{source}", "{target}"), ("*",)),
)


@pytest.fixture
def fuse(tmp_path: Path) -> Iterator[FuseLab]:
    if not Path("/dev/fuse").exists():
        pytest.skip("needs /dev/fuse: `modprobe fuse`")
    places = Places(tmp_path / "run", tmp_path / "state", tmp_path / "kubelet")
    lab = volume_lab(tmp_path, (FuseBackend(places, HELPERS), TmpfsBackend()))
    (tmp_path / "sources").mkdir()
    yield FuseLab(lab, tmp_path / "sources")
    assert lab.mounts() == []
    assert list(Servers(places.run_dir).all()) == []
    mount.umount(str(lab.places.kubelet_dir))


@pytest.mark.parametrize("helper", ["file", "stdin", "foreground"])
def test_a_helper_serves_two_pods_and_ends_with_the_last(fuse: FuseLab, helper: str) -> None:
    wanted = fuse.wanted("one", helper)
    targets = [fuse.lab.target("data", pod) for pod in ("a", "b")]
    for target in targets:
        fuse.show(wanted, target)
        assert (target / "disk").read_bytes() == SECRETS.values["key"]
    pid = fuse.pid("one")
    command = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    assert b"p,w" not in command
    fuse.lab.unpublish(targets[0])
    assert (targets[1] / "disk").exists()
    assert fuse.lab.unpublish(targets[1]).unstaged
    assert not Path(f"/proc/{pid}").exists()
    targets[1].rmdir()


# volumes.md section 3, item 7: FUSE dies with the node's pod; corrupted mounts are never mended


def test_a_server_lives_on_when_the_agent_is_gone_and_is_known_to_the_next(
    fuse: FuseLab,
) -> None:
    """blob-csi-driver#115, ceph-csi#91."""
    wanted, target = fuse.wanted("one"), fuse.lab.target("data")
    fuse.show(wanted, target)
    pid = fuse.pid("one")
    assert os.getsid(pid) not in (os.getsid(0), 0)
    for number in (0, 1, 2):
        assert "pipe" not in str(Path(f"/proc/{pid}/fd/{number}").readlink())
    places = fuse.lab.places
    next_room = Volumes(places, fuse.lab.policy, (FuseBackend(places, HELPERS),))
    assert not next_room.reconcile().unstaged
    assert (target / "disk").read_bytes() == SECRETS.values["key"]
    (server,) = (one for _, one in Servers(places.run_dir).all())
    assert server.is_alive
    assert next_room.unpublish(target, soon()).unstaged
    assert not server.is_alive


def test_a_server_lives_in_a_cgroup_of_its_own_where_the_node_has_them(fuse: FuseLab) -> None:
    wanted, target = fuse.wanted("one"), fuse.lab.target("data")
    fuse.show(wanted, target)
    (server,) = (one for _, one in Servers(fuse.lab.places.run_dir).all())
    if not server.cgroup:
        fuse.lab.unpublish(target)
        pytest.skip("needs a writable cgroup v2 hierarchy")
    assert str(fuse.pid("one")) in Path(server.cgroup, "cgroup.procs").read_text().split()
    fuse.lab.unpublish(target)
    assert not Path(server.cgroup).exists()


def test_a_server_keeps_no_other_volume_busy(fuse: FuseLab) -> None:
    """What is mounted while it starts is not held by its copy of the mounts."""
    scratch, target = fuse.lab.target("scratch"), fuse.lab.target("data")
    fuse.lab.publish(volume(Tmpfs(size=1 << 20), "0a1b/scratch"), scratch)
    fuse.show(fuse.wanted("one"), target)
    seen = mount.read_mountinfo(fuse.pid("one"))
    inside = str(fuse.lab.places.kubelet_dir)
    assert not [one for one in seen if one.target.startswith(inside)]
    assert [one.fstype for one in seen if "volumes/aside" in one.target] == ["tmpfs"]
    for one in (scratch, target):
        fuse.lab.unpublish(one)


def test_what_has_died_is_mounted_anew_for_all_its_pods(fuse: FuseLab) -> None:
    """k/k#96361, kadalu#1003: a dead server's mounts never came back."""
    wanted = fuse.wanted("one")
    targets = [fuse.lab.target("data", pod) for pod in ("a", "b")]
    for target in targets:
        fuse.show(wanted, target)
    first = fuse.pid("one")
    fuse.kill("one")
    with pytest.raises(OSError, match="not connected"):
        os.stat(targets[0])  # noqa: PTH116
    (volume_id,) = fuse.lab.room.dead()
    remarks = fuse.lab.room.revive(volume_id, soon())
    assert any("mounted anew" in one for one in remarks)
    assert fuse.pid("one") != first
    for target in targets:
        assert (target / "disk").read_bytes() == SECRETS.values["key"]
    assert fuse.lab.room.dead() == ()
    assert fuse.lab.room.revive(volume_id, soon()) == ()
    for target in targets:
        fuse.lab.unpublish(target)


def test_what_has_died_is_taken_off_all_the_same(fuse: FuseLab) -> None:
    wanted, target = fuse.wanted("one"), fuse.lab.target("data")
    fuse.show(wanted, target)
    held = os.open(target, os.O_RDONLY)
    fuse.kill("one")
    assert fuse.lab.unpublish(target).unstaged
    os.close(held)
    target.rmdir()


def test_after_a_restart_its_secret_is_unknown_and_its_pods_are_told_so(fuse: FuseLab) -> None:
    wanted, target = fuse.wanted("one"), fuse.lab.target("data")
    fuse.show(wanted, target)
    fuse.kill("one")
    places = fuse.lab.places
    next_room = Volumes(places, fuse.lab.policy, (FuseBackend(places, HELPERS),))
    (volume_id,) = next_room.dead()
    with pytest.raises(NotAvailableError, match="restart its pods"):
        next_room.revive(volume_id, soon())
    next_room.publish(wanted, Publication(target, TENANT), soon(), SECRETS)
    assert (target / "disk").read_bytes() == SECRETS.values["key"]
    next_room.unpublish(target, soon())


# --- What is not the pod's to choose -------------------------------------------------------------


@pytest.mark.parametrize(
    ("helper", "source", "said"),
    [
        ("mine", "/srv/theirs", "none of the sources"),
        ("mine", "/srv/mine/../theirs", "no "),
        ("file", "-oallow_root", "none of the sources"),
        ("gone", "-o,exec=/bin/sh", "no dash"),
        ("other", "/srv", "is no helper of this node"),
        ("gone", "/srv", "no-such-program is missing"),
    ],
)
def test_only_what_the_operator_named_is_run(
    fuse: FuseLab, helper: str, source: str, said: str
) -> None:
    with pytest.raises((InvalidError, RefusedError, NotAvailableError), match=said):
        fuse.lab.room.validate(volume(Fuse(helper, source)), TENANT)


def test_a_helper_that_fails_leaves_nothing_and_no_secret_in_its_error(fuse: FuseLab) -> None:
    wanted, target = fuse.wanted("one"), fuse.lab.target("data")
    (fuse.source("one") / "pid").mkdir()
    with pytest.raises(OSError, match=r"does not answer|exited with 1") as caught:
        fuse.show(volume(Fuse("foreground", str(fuse.source("one")))), target)
    assert "p,w" not in str(caught.value)
    with pytest.raises(InvalidError, match="key"):
        fuse.lab.publish(wanted, target)


# --- What hangs (volumes.md section 3, item 6) ---------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hanging, "PATIENCE_S", 1.0)


@pytest.mark.usefixtures("impatient")
def test_one_hung_volume_keeps_no_other_waiting(fuse: FuseLab) -> None:
    """csi-driver-nfs#569, k/k#72048: the dead one blocked all."""
    hung, target = fuse.wanted("hung"), fuse.lab.target("hung")
    fuse.show(hung, target)
    (fuse.source("hung") / "hang").touch()
    others = [fuse.lab.target(f"other-{number}") for number in range(20)]
    failed: list[BaseException] = []

    def again() -> None:
        try:
            fuse.show(hung, fuse.lab.target("hung", "again"))
        except DeadlineError as error:
            failed.append(error)

    thread = threading.Thread(target=again)
    thread.start()
    for number, other in enumerate(others):
        fuse.lab.publish(volume(Tmpfs(size=1 << 20), f"0a1b/{number}"), other)
    fuse.show(fuse.wanted("well"), fuse.lab.target("well"))
    thread.join()
    assert len(failed) == 1
    assert "does not answer" in str(failed[0])
    (told,) = (one for one in fuse.lab.room.list() if one.quarantined)
    assert told.quarantined.startswith("since 20")
    assert fuse.lab.unpublish(target).unmounted == 1
    for other in (*others, fuse.lab.target("well")):
        fuse.lab.unpublish(other)
    assert fuse.lab.unpublish(fuse.lab.target("hung", "again")).unmounted == 0


@pytest.mark.usefixtures("impatient")
def test_a_hung_volume_is_taken_off_while_a_process_waits_for_it(fuse: FuseLab) -> None:
    """aws-fsx-csi-driver#495: a hung unmount held its volume's lock for 44 days."""
    wanted, target = fuse.wanted("hung"), fuse.lab.target("hung")
    fuse.show(wanted, target)
    (fuse.source("hung") / "hang").touch()
    waiting = subprocess.Popen(["/bin/cat", str(target / "disk")], stderr=subprocess.DEVNULL)
    try:
        pid = fuse.pid("hung")
        assert fuse.lab.unpublish(target).unstaged
        assert fuse.lab.mounts() == []
        assert not Path(f"/proc/{pid}").exists()
    finally:
        waiting.kill()
        waiting.wait()
    (fuse.source("hung") / "hang").unlink()
    fuse.show(wanted, target)
    assert (target / "disk").exists()
    assert not [one for one in fuse.lab.room.list() if one.quarantined]
    fuse.lab.unpublish(target)


@pytest.mark.usefixtures("impatient")
def test_stats_of_a_hung_volume_end(fuse: FuseLab) -> None:
    wanted, target = fuse.wanted("hung"), fuse.lab.target("hung")
    fuse.show(wanted, target)
    assert fuse.lab.room.stats(target).bytes_total >= 0
    (fuse.source("hung") / "hang").touch()
    with pytest.raises(DeadlineError, match="does not answer"):
        fuse.lab.room.stats(target)
    fuse.lab.unpublish(target)


def test_a_server_that_answers_nobody_is_ended_with_the_call(fuse: FuseLab) -> None:
    (fuse.source("one") / "hang").touch()
    place = Publication(fuse.lab.target("data"), TENANT)
    with pytest.raises(DeadlineError, match="nobody answers"):
        fuse.lab.room.publish(fuse.wanted("one"), place, Deadline.after(2), SECRETS)
    assert not Path(f"/proc/{fuse.pid('one')}").exists()


# --- The agent's watch ---------------------------------------------------------------------------


def test_a_watch_ends_when_a_server_comes_goes_or_dies(fuse: FuseLab) -> None:
    wanted, target = fuse.wanted("one"), fuse.lab.target("data")
    with ServerWatch(fuse.lab.places.run_dir) as watch:
        came = threading.Thread(target=watch.wait, daemon=True)
        came.start()
        fuse.show(wanted, target)
        came.join(20)
        assert not came.is_alive()
        died = threading.Thread(target=watch.wait, daemon=True)
        died.start()
        fuse.kill("one")
        died.join(20)
        assert not died.is_alive()
    fuse.lab.unpublish(target)
