"""The driver as a kubelet execs it: the launcher with an agent, and `python -m flexvolume`."""

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from daemon import volume_propagation
from ringbolt.linux import mount as mounting
from tests.kernel.driver_lab import Driver, agent, install, log_lines, prepared
from tests.kernel.launcher_lab import HANGS_S, build

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.fixture(scope="session")
def launcher(
    tmp_path_factory: pytest.TempPathFactory, need_program: Callable[[str, str], str]
) -> Path:
    need_program("cc", "gcc")
    return build(tmp_path_factory.mktemp("launcher"))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Path]:
    """The folder of a node without an agent."""
    with prepared(tmp_path):
        yield tmp_path


@pytest.fixture(params=["launcher and agent", "python -m flexvolume"])
def driver(request: pytest.FixtureRequest, node: Path, launcher: Path) -> Iterator[Driver]:
    """Both beside an agent, whose configuration says what is allowed."""
    argv = install(node, launcher)
    if request.param == "python -m flexvolume":
        argv = (sys.executable, "-m", "flexvolume")
    with agent(node):
        yield Driver(argv, node)


def test_a_volume_in_memory(driver: Driver) -> None:
    assert driver.mount("scratch", kind="tmpfs", size="8Mi") == ""
    target = driver.target("scratch")
    found = os.statvfs(target)
    assert found.f_blocks * found.f_frsize == 8 * MIB
    (point,) = driver.mounts()
    assert {"nosuid", "nodev"} <= point.options
    assert driver.unmount("scratch") == ""
    assert driver.mounts() == []
    assert not target.exists()


def test_a_loop_volume_is_found_again_by_another_pod(driver: Driver) -> None:
    assert driver.mount("data", kind="loop", name="data", size="32Mi") == ""
    (driver.target("data") / "kept").write_text("here")
    assert driver.unmount("data") == ""
    driver.pod = "u2"
    assert driver.mount("again", kind="loop", name="data") == ""
    assert (driver.target("again") / "kept").read_text() == "here"
    assert driver.unmount("again") == ""
    assert driver.mounts() == []


def test_a_call_that_is_made_again_stacks_nothing(driver: Driver) -> None:
    """topolvm#1225, aws-ebs-csi-driver#1007."""
    for _ in range(3):
        assert driver.mount("data", kind="loop", name="data", size="32Mi") == ""
    assert len(driver.mounts()) == 2, "staged once, published once"
    assert driver.unmount("data") == ""
    for _ in range(2):
        assert driver.unmount("data") == ""


def test_read_only_and_a_group(driver: Driver) -> None:
    group = {"kubernetes.io/mounterArgs.FsGroup": "4711"}
    assert driver.mount("data", group, kind="loop", name="data", size="32Mi") == ""
    assert driver.target("data").stat().st_gid == 4711
    readonly = {"kubernetes.io/readwrite": "ro"}
    assert driver.mount("same", readonly, kind="loop", name="data") == ""
    with pytest.raises(OSError, match="Read-only file system"):
        (driver.target("same") / "x").touch()
    for name in ("same", "data"):
        assert driver.unmount(name) == ""


def test_a_volume_grows_while_it_is_used(
    driver: Driver, need_program: Callable[[str, str], str]
) -> None:
    need_program("mkfs.btrfs", "btrfs-progs")
    btrfs = {"kubernetes.io/fsType": "btrfs"}
    assert driver.mount("data", btrfs, kind="loop", name="data", size="300Mi") == ""
    target = driver.target("data")
    told = driver.call("expandfs", "{}", "", str(target), str(400 * MIB), str(300 * MIB))
    assert told == {"status": "Success", "volumeNewSize": 400 * MIB}
    found = os.statvfs(target)
    assert found.f_blocks * found.f_frsize == 400 * MIB
    told = driver.call("expandfs", "{}", "", str(target), str(1 << 40), str(400 * MIB))
    assert "more than the 1073741824" in told["message"]
    assert driver.unmount("data") == ""


def test_what_is_not_allowed_is_refused_with_the_reason(driver: Driver) -> None:
    told = driver.mount("data", kind="loop", name="data", size="2Gi")
    assert "more than the 1073741824 that volumes.allow gives" in told
    told = driver.mount("etc", kind="dir", path="/etc")
    assert "/etc is below none of volumes.roots" in told
    told = driver.mount("nfs", kind="nfs", server="a", path="/b")
    assert "this node has no nfs volumes" in told or "no rule of volumes.allow" in told
    assert driver.mounts() == []
    for name in ("data", "etc", "nfs"):
        driver.target(name).rmdir()


def test_a_driver_serves_beside_the_agent_with_the_same_records(node: Path, launcher: Path) -> None:
    first = Driver(install(node, launcher), node)
    second = Driver((sys.executable, "-m", "flexvolume"), node)
    with agent(node):
        assert first.mount("a", kind="loop", name="data", size="32Mi") == ""
        assert second.mount("b", kind="loop", name="data") == ""
        assert first.unmount("b") == ""
        assert second.unmount("a") == ""
    assert first.mounts() == []


def test_without_an_agent_since_the_boot_nothing_is_allowed(node: Path) -> None:
    driver = Driver((sys.executable, "-m", "flexvolume"), node)
    assert "no agent has run" in driver.mount("a", kind="tmpfs")


def test_while_the_agent_is_away_a_kubelet_is_told_so_and_tries_again(
    node: Path, hasty_launcher: Path
) -> None:
    driver = Driver(install(node, hasty_launcher), node)
    with agent(node):
        assert driver.mount("data", kind="loop", name="data", size="32Mi") == ""
    assert driver.call("init")["status"] == "Success"
    assert driver.call("getvolumename", "{}")["status"] == "Not supported"
    assert "the agent is away" in driver.unmount("data")
    assert "the agent is away" in driver.mount("more", kind="tmpfs")
    with agent(node):
        assert driver.unmount("data") == ""
        assert driver.mount("more", kind="tmpfs") == ""
        assert driver.unmount("more") == ""
    assert driver.mounts() == []


@pytest.fixture(scope="session")
def hasty_launcher(
    tmp_path_factory: pytest.TempPathFactory, need_program: Callable[[str, str], str]
) -> Path:
    need_program("cc", "gcc")
    short = [f"-D{name}=300" for name in ("ADD_MS", "ADD_WAIT_MS", "DEL_MS", "DEL_WAIT_MS")]
    return build(tmp_path_factory.mktemp("hasty"), " ".join(short))


def test_each_call_is_one_line_without_an_option(node: Path, launcher: Path) -> None:
    driver = Driver(install(node, launcher), node)
    with agent(node):
        assert driver.mount("data", kind="tmpfs", mountOptions="huge=never") == ""
        assert driver.unmount("data") == ""
        assert driver.mount("data", kind="tmpfs", mountOptions="password=hunter2")
    lines = [line for line in log_lines(node) if line["event"] == "exec call"]
    assert [(line["call"], line["outcome"], line["level"]) for line in lines] == [
        ("mount", "done", "info"),
        ("unmount", "done", "info"),
        ("mount", "refused", "warning"),
    ]
    assert lines[0]["pod"] == "default/web-0"
    assert lines[0]["target"] == str(driver.target("data"))
    whole = (node / "agent.log").read_text()
    for word in ("hunter2", "swordfish", "huge", "c3dvcmRmaXNo"):
        assert word not in whole


def test_the_largest_argument_that_linux_hands_over_is_served(node: Path, launcher: Path) -> None:
    driver = Driver(install(node, launcher), node)
    big = {"kubernetes.io/secret/big": "QUJD" * ((128 * 1024 - 1200) // 4)}
    with agent(node):
        assert driver.mount("data", big, kind="tmpfs") == ""
        assert driver.unmount("data") == ""


def test_another_configuration_is_taken_over_while_volumes_are_mounted(
    node: Path, launcher: Path
) -> None:
    driver = Driver(install(node, launcher), node)
    config = (node / "config.yaml").read_text()
    with agent(node) as process:
        assert driver.mount("kept", kind="tmpfs") == ""
        (node / "config.yaml").write_text(config.replace("tmpfs, dir, loop", "loop"))
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "no rule" in driver.mount("more", kind="tmpfs"))
        assert "no rule" in driver.mount("kept", kind="tmpfs")
        assert driver.unmount("kept") == ""


def test_what_a_killed_agent_left_is_put_right_with_a_line_each(node: Path, launcher: Path) -> None:
    driver = Driver(install(node, launcher), node)
    with agent(node) as process:
        assert driver.mount("data", kind="loop", name="data", size="32Mi") == ""
        process.kill()
        process.wait()
    mounting.umount(str(driver.target("data")))
    (driver.run_dir / "agent.sock").unlink()
    with agent(node):
        wait_for(lambda: driver.mounts() == [])
    lines = [line for line in log_lines(node) if line["event"].startswith("volume: ")]
    assert [(line["event"], line.get("volume_id", "")) for line in lines] == [
        ("volume: guard taken off", ""),
        ("volume: record dropped", ""),
        ("volume: unstaged", "loop.default.data"),
    ]
    driver.target("data").rmdir()


def test_mounts_that_nobody_else_sees_are_told_of(node: Path) -> None:
    kubelet = node / "kubelet"
    assert volume_propagation.find_lack(kubelet) == ""
    mounting.set_propagation(str(kubelet), mounting.MS_PRIVATE)
    assert "is seen by the agent alone" in volume_propagation.find_lack(kubelet)


def wait_for(holds: Callable[[], bool]) -> None:
    end = monotonic() + HANGS_S
    while not holds():
        assert monotonic() < end
        sleep(0.05)


def test_calls_of_one_target_wait_for_each_other_and_for_no_other(
    node: Path, launcher: Path
) -> None:
    """A volume whose call hangs: another process holds its lock."""
    driver = Driver(install(node, launcher), node)
    with agent(node):
        assert driver.mount("hung", kind="loop", name="hung", size="32Mi") == ""
        (lock,) = _hold(driver, "loop.default.hung")
        waiting = [
            subprocess.Popen(
                [*driver.argv, "unmount", str(driver.target("hung"))],
                env={"RINGBOLT_SOCKET": str(driver.run_dir / "agent.sock")},
                stdout=subprocess.PIPE,
            )
            for _ in range(8)
        ]
        for name in ("a", "b", "c"):
            assert driver.mount(name, kind="loop", name=name, size="32Mi") == ""
            assert driver.unmount(name) == ""
        os.close(lock)
        answers = [one.communicate()[0] for one in waiting]
    told = sorted(answer.decode() for answer in answers)
    assert told[-3:] == ['{"status":"Success"}\n'] * 3, "one at work, two behind it"
    assert all("one like it has not ended yet" in answer for answer in told[:-3])
    assert driver.mounts() == []


def _hold(driver: Driver, what: str) -> tuple[int]:
    """Take a volume's lock as another process has it."""
    folder = driver.run_dir / "volumes" / "locks"
    path = folder / hashlib.sha256(what.encode()).hexdigest()[:40]
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return (fd,)
