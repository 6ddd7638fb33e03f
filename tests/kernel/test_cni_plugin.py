"""The whole plugin as a runtime execs it, in one process and by launcher and agent: real pods."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Protocol

import pytest

from cni.versions import SUPPORTED
from tests.kernel.launcher_lab import ROOT, build
from tests.kernel.network_lab import Pod, dial, links, pods, run, serving

DEADLINE_S = 30.0
CONF: dict[str, Any] = {
    "cniVersion": "1.1.0",
    "name": "pods",
    "type": "ringbolt",
    "bridge": "rb0",
    "ipam": {"ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]]},
}


class Plugin(Protocol):
    """What a runtime can do with a plugin."""

    def call(
        self, command: str, pod: Pod, conf: object = CONF, **variables: str
    ) -> tuple[int, Any]: ...


@dataclass(frozen=True)
class Exec:
    """A plugin that is exec'd: its argv, and where its agent would be."""

    argv: tuple[str, ...]
    run_dir: Path

    def call(
        self, command: str, pod: Pod, conf: object = CONF, **variables: str
    ) -> tuple[int, Any]:
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": pod.name,
            "CNI_NETNS": pod.path,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/usr/lib/cni",
            "RINGBOLT_SOCKET": str(self.run_dir / "agent.sock"),
            "PYTHONPATH": str(ROOT),
            "PATH": os.environ["PATH"],
            **variables,
        }
        done = subprocess.run(
            self.argv,
            env=environment,
            input=json.dumps(conf).encode(),
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.stderr == b"", done.stderr.decode()
        return done.returncode, json.loads(done.stdout) if done.stdout else None


def wait_until(holds: Callable[[], bool]) -> None:
    """Dead links go many at once, a moment after the answer."""
    end = monotonic() + DEADLINE_S
    while not holds():
        assert monotonic() < end
        sleep(0.02)


@contextmanager
def agent(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """An agent that has nothing but launchers to serve; it logs to agent.log."""
    (folder / "config.yaml").write_text("resources: []\n")
    options = {
        "--config": folder / "config.yaml",
        "--kubelet-dir": folder / "kubelet",
        "--run-dir": folder / "run",
        "--state-dir": folder / "state",
        "--cdi-dir": folder / "cdi",
        "--http": "",
    }
    words = [str(word) for option in options.items() for word in option]
    with (folder / "agent.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon", "agent", *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
        )
    with process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def launcher(
    tmp_path_factory: pytest.TempPathFactory, need_program: Callable[[str, str], str]
) -> Path:
    need_program("cc", "gcc")
    return build(tmp_path_factory.mktemp("launcher"))


@pytest.fixture(params=["python -m cni", "launcher and agent"])
def plugin(request: pytest.FixtureRequest, tmp_path: Path, launcher: Path) -> Iterator[Plugin]:
    with ExitStack() as undo:
        undo.callback(remove_bridge)
        if request.param == "python -m cni":
            yield Exec((sys.executable, "-m", "cni"), tmp_path / "run")
        else:
            undo.enter_context(agent(tmp_path))
            yield Exec((str(launcher),), tmp_path / "run")


def remove_bridge() -> None:
    if "rb0" in links():
        run("ip", "link", "delete", "rb0")


def test_a_pods_life(plugin: Plugin) -> None:
    with pods("a", "b") as (a, b):
        code, first = plugin.call("ADD", a)
        assert code == 0, first
        assert [one["address"] for one in first["ips"]] == ["10.88.0.2/24", "fd00:88::2/64"]
        assert plugin.call("ADD", a) == (0, first)
        assert [one["sandbox"] for one in first["interfaces"][2:]] == [a.path]
        code, second = plugin.call("ADD", b)
        assert code == 0
        with serving(b, 80):
            assert dial(a, second["ips"][0]["address"].partition("/")[0], 80) == "10.88.0.2"
        assert plugin.call("CHECK", a, {**CONF, "prevResult": first}) == (0, None)
        assert plugin.call("STATUS", a) == (0, None)
        a.run("ip", "address", "delete", "10.88.0.2/24", "dev", "eth0")
        code, drift = plugin.call("CHECK", a, {**CONF, "prevResult": first})
        assert (code, drift["code"]) == (1, 101)
        for _ in range(2):
            assert plugin.call("DEL", a) == (0, None)
        assert "eth0" not in [one["ifname"] for one in a.ip("link", "show")]
        wait_until(lambda: [one["ifname"] for one in a.ip("link", "show")] == ["lo"])
        valid = [{"containerID": "b", "ifname": "eth0"}]
        assert plugin.call("GC", b, {**CONF, "cni.dev/valid-attachments": valid}) == (0, None)
        assert "eth0" in [one["ifname"] for one in b.ip("link", "show")]
        assert plugin.call("GC", b, {**CONF, "cni.dev/valid-attachments": None}) == (0, None)
        wait_until(lambda: [one["ifname"] for one in b.ip("link", "show")] == ["lo"])


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_version_gets_its_result(plugin: Plugin, version: str) -> None:
    conf = {**CONF, "cniVersion": version}
    with pods("a") as (a,):
        code, result = plugin.call("ADD", a, conf)
        assert (code, result["cniVersion"]) == (0, version)
        assert plugin.call("DEL", a, {**conf, "prevResult": result}, CNI_NETNS="") == (0, None)


def test_a_name_that_is_taken_is_an_error_and_nothing_is_left(plugin: Plugin) -> None:
    with pods("a") as (a,):
        a.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
        code, told = plugin.call("ADD", a)
        assert (code, told["code"]) == (1, 100)
        assert plugin.call("DEL", a) == (0, None)
        assert set(links()) <= {"lo", "rb0"}


def test_the_nodes_own_namespace_is_no_pods(plugin: Plugin) -> None:
    with pods("a") as (a,):
        path = f"/proc/{os.getpid()}/task/{_thread_id()}/ns/net"
        code, told = plugin.call("ADD", a, CNI_NETNS=path)
        assert (code, told["code"]) == (1, 8)


def test_a_call_is_one_line_in_the_log_with_its_trace_and_nothing_secret(
    tmp_path: Path, launcher: Path
) -> None:
    plugin = Exec((str(launcher),), tmp_path / "run")
    with agent(tmp_path), pods("a") as (a,):
        args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web;PASSWORD=hunter2"
        conf = {**CONF, "vlan": 5, "password": "hunter2"}
        plugin.call("ADD", a, conf, CNI_ARGS=args, TRACEPARENT="00-abc-def-01")
    log = (tmp_path / "agent.log").read_text()
    (line,) = [one for one in map(json.loads, log.splitlines()) if one["event"] == "exec call"]
    wanted = {
        "command": "ADD",
        "container_id": "a",
        "ifname": "eth0",
        "network": "pods",
        "pod": "ns/web",
        "traceparent": "00-abc-def-01",
        "exit_code": 1,
        "code": "2",
        "level": "warning",
    }
    assert wanted.items() <= line.items()
    assert {"took_ms", "waited_ms"} <= line.keys()
    assert "hunter2" not in log


def test_an_agent_that_is_killed_and_replaced_loses_no_call(tmp_path: Path, launcher: Path) -> None:
    plugin = Exec((str(launcher),), tmp_path / "run")
    with ExitStack() as undo:
        undo.callback(remove_bridge)
        (a,) = undo.enter_context(pods("a"))
        with agent(tmp_path) as old:
            code, first = plugin.call("ADD", a)
            assert code == 0
            old.kill()
            old.wait()
            code, told = plugin.call("STATUS", a)
            assert (code, told["code"]) == (1, 50)
            assert plugin.call("DEL", a) == (0, None)
            assert len(list((tmp_path / "run/spool").glob("*.frame"))) == 1
            with agent(tmp_path):
                wait_until(lambda: [one["ifname"] for one in a.ip("link", "show")] == ["lo"])
                code, again = plugin.call("ADD", a)
                assert (code, again["ips"] != first["ips"]) == (0, True), "cool-down"
                assert list((tmp_path / "run/spool").iterdir()) == []
                assert plugin.call("DEL", a) == (0, None)


def _thread_id() -> int:
    return int(Path("/proc/thread-self").readlink().name)
