"""`ringbolt sandbox` as its users run it: the demo, own pods, Ctrl-C, what it says of mistakes."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ringbolt.sandbox.ability import Means, find_ability
from ringbolt.sandbox.cni_install import servable

ROOT = Path(__file__).parents[2]
SANDBOX = (sys.executable, "-m", "daemon", "sandbox")
DEADLINE_S = 100


@pytest.fixture(autouse=True)
def _nothing_in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it use a folder of ours, short enough for unix sockets."""
    short = tmp_path.parents[1] / "t"
    short.mkdir(exist_ok=True)
    monkeypatch.setenv("TMPDIR", str(short))
    monkeypatch.chdir(ROOT)


def sandbox(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*SANDBOX, *arguments], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


def demo_loops() -> set[str]:
    return {path.name for path in Path("/sys/block").glob("loop7[0-9][0-9]")}


def assert_no_loop_since(before: set[str]) -> None:
    """Another demo on this machine may have one for as long as it runs."""
    end = time.monotonic() + DEADLINE_S
    while (left := demo_loops() - before) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left


def test_the_demo_ends_well_and_leaves_nothing(tmp_path: Path) -> None:
    before = demo_loops()
    shown = sandbox("demo")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stderr == ""
    left_out = "left out:" in shown.stdout
    last = "What was shown worked" if left_out else "All of it worked."
    assert last in shown.stdout
    for step in ("Allocate", "create and start", "taken away until", "kubelet restarted"):
        assert step in shown.stdout
    if "left out: pods' network" not in shown.stdout:
        for line in ("client has the addresses", "pod to pod: 10.244.0.", "web sends ", "CNI DEL"):
            assert line in shown.stdout
    assert_no_loop_since(before)
    assert list((tmp_path.parents[1] / "t").iterdir()) == []


@pytest.mark.root
def test_the_demo_as_root_leaves_nothing_out() -> None:
    if find_ability().means is Means.NONE:
        pytest.skip(find_ability().lacks[0])
    shown = sandbox("demo").stdout
    assert "wrote 4096 bytes to /dev/disk and read them back" in shown
    if not servable({"network": {"ranges": []}}).lacks:
        assert "masquerade: the outside at 192.0.2.2 sees 192.0.2.1, the node" in shown
        assert "hairpin: web reaches itself by the node's port" in shown
    if find_ability().device_group is not None:
        assert "left out:" not in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_can_be_interrupted(number: int, tmp_path: Path) -> None:
    before = demo_loops()
    with subprocess.Popen([*SANDBOX, "demo"], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        assert any("starting the kubelet" in line for line in demo.stdout)
        demo.send_signal(number)
        assert demo.wait(DEADLINE_S) == 130
    assert_no_loop_since(before)
    assert list((tmp_path.parents[1] / "t").iterdir()) == []


def test_own_pods_run_and_give_their_exit_code(tmp_path: Path) -> None:
    if find_ability().means is Means.NONE:
        pytest.skip(find_ability().lacks[0])
    config = tmp_path / "config.yaml"
    config.write_text("resources: [{name: lab.dev/zero, select: [{path: /dev/zero}]}]\n")
    pod = tmp_path / "pod.yaml"
    pod.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  restartPolicy: Never\n"
        "  containers:\n  - name: c\n    command: [sh, -c, 'head -c4 /dev/zero | wc -c; exit 7']\n"
        "    resources: {limits: {lab.dev/zero: 1}}\n"
    )
    shown = sandbox("run", "--config", str(config), str(pod))
    assert shown.returncode == 7, shown.stderr
    assert "p/c | 4" in shown.stdout
    assert "p/c ended with exit code 7" in shown.stdout


def test_mistakes_are_told_without_a_traceback(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("kind: Pod\n")
    shown = sandbox("run", str(bad))
    assert shown.returncode == 1
    assert f"{bad}: line 1: spec.containers: Required value" in shown.stderr
    shown = sandbox("run", "--config", str(bad), str(ROOT / "examples/fuse-and-tun.yaml"))
    assert shown.returncode == 1
    assert f"{bad}:1" in shown.stderr
    for wrong in (("run",), ("run", "/none"), ("shell", "fuse"), ("fly",)):
        assert sandbox(*wrong).returncode == 2
    assert "Traceback" not in shown.stderr


def test_a_shell_in_a_pod_asks_for_a_terminal() -> None:
    shown = subprocess.run(
        [*SANDBOX, "shell", "ringbolt.dev/fuse"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (shown.returncode, shown.stdout) == (1, "")
    assert "needs a terminal" in shown.stderr
