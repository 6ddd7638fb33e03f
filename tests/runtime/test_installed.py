"""What `ringbolt install` put on a node stays there while the agent runs."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asyncinotify import Inotify, Mask

from daemon.cni_conflist import NAME
from tests.kernel.network_lab import new_pod
from tests.runtime.cni_lab import Node, agent, until

pytestmark = pytest.mark.root


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    launcher = tmp_path / "launcher"
    launcher.write_bytes(b"program")
    (tmp_path / "network.yaml").write_text("network: {ranges: [[{subnet: 10.88.0.0/24}]]}\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/loopback").touch()
    space = new_pod("node")
    try:
        yield Node(space, tmp_path, launcher)
    finally:
        space.go()


def _ringbolt(node: Node, command: str, *more: str) -> None:
    at = node.folder
    words = ["--cni-bin-dir", str(at / "bin"), "--cni-conf-dir", str(at / "net.d")]
    words += ["--state-dir", str(at / "state"), "--config", str(at / "network.yaml"), *more]
    subprocess.run([sys.executable, "-m", "daemon", command, *words], check=True)


def _install(node: Node) -> None:
    _ringbolt(node, "install", "--launcher", str(node.launcher))


DAMAGES: list[Callable[[Path], object]] = [
    lambda at: (at / "net.d" / NAME).unlink(),
    lambda at: (at / "net.d" / NAME).write_text("{}"),
    lambda at: (at / "bin/ringbolt").unlink(),
    lambda at: (at / "bin/ringbolt").write_bytes(b"another"),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=["removed", "altered", "no plugin", "another"])
def test_it_is_put_back_so_that_containerd_sees_it(
    node: Node, damage: Callable[[Path], object]
) -> None:
    at = node.folder
    _install(node)
    conflist = (at / "net.d" / NAME).read_bytes()

    def is_whole() -> bool:
        try:
            there = (at / "bin/ringbolt").read_bytes(), (at / "net.d" / NAME).read_bytes()
        except FileNotFoundError:
            return False
        return there == (b"program", conflist)

    with agent(node), Inotify(sync_timeout=0) as watcher:
        watcher.add_watch(at / "net.d", Mask.MODIFY)
        damage(at)
        list(watcher)
        until(is_whole)
        log = at / "agent.log"
        until(lambda: "put back" in log.read_text())
        if damage in DAMAGES[:2]:
            until(lambda: any(one.name and one.name.name == NAME for one in watcher))
        assert is_whole()


def test_uninstalling_is_not_fought_and_installing_anew_is_seen(node: Node) -> None:
    at = node.folder
    with agent(node):
        _install(node)
        (at / "net.d" / NAME).unlink()
        until((at / "net.d" / NAME).exists)
        _ringbolt(node, "uninstall", "--run-dir", str(at / "run"))
        assert not (at / "net.d" / NAME).exists()
        (at / "net.d/00-other.conf").touch()
        _install(node)
        until(lambda: "00-other.conf comes before" in (at / "agent.log").read_text())
        _ringbolt(node, "uninstall", "--run-dir", str(at / "run"))
    told = [json.loads(one) for one in (at / "agent.log").read_text().splitlines()]
    assert [one["path"] for one in told if one["event"] == "put back"] == [str(at / "net.d" / NAME)]
    assert not (at / "net.d" / NAME).exists()
