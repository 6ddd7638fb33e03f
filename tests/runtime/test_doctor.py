"""What `ringbolt doctor` says of a node where something is missing, as people meet it."""

import json
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daemon.cni_conflist import NAME
from tests.kernel.launcher_lab import build
from tests.kernel.network_lab import new_pod
from tests.runtime import cni_lab
from tests.runtime.cni_lab import Node

NETWORK = "network: {name: pods, masquerade: true, ranges: [[{subnet: 10.77.0.0/24}]]}\n"


@dataclass(frozen=True)
class Ward:
    """A node with a network installed, and the doctor that looks at it."""

    node: Node
    config: Path

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """`ringbolt` on the node."""
        ringbolt = [sys.executable, "-m", "daemon", *words, "--config", str(self.config)]
        for option in ("bin", "conf"):
            ringbolt += [f"--cni-{option}-dir", str(self.node.folder / option)]
        command = ["nsenter", f"--net={self.node.space.path}", *ringbolt]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    def ask(self) -> tuple[int, dict[str, dict[str, str]]]:
        """Exit code and checks by name."""
        places: list[str] = []
        for option in ("kubelet", "run", "state"):
            places += [f"--{option}-dir", str(self.node.folder / option)]
        done = self.run("doctor", "-o", "json", *places)
        checks: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
        return done.returncode, {one["name"]: one for one in checks}

    def states(self) -> dict[str, str]:
        return {name: one["state"] for name, one in self.ask()[1].items()}


@pytest.fixture(scope="session")
def program(
    tmp_path_factory: pytest.TempPathFactory, need_program: Callable[[str, str], str]
) -> Path:
    need_program("cc", "gcc")
    need_program("nsenter", "util-linux")
    need_program("nft", "nftables")
    return build(tmp_path_factory.mktemp("launcher"))


@pytest.fixture
def ward(tmp_path: Path, program: Path) -> Generator[Ward]:
    config = tmp_path / "node.yaml"
    config.write_text(NETWORK)
    space = new_pod("node")
    try:
        ward = Ward(Node(space, tmp_path, program), config)
        state = str(tmp_path / "installed")
        done = ward.run("install", "--launcher", str(program), "--state-dir", state)
        assert done.returncode == 0, done.stderr
        yield ward
    finally:
        space.go()


VITAL = {"configuration", "agent", "network", "plugin", "kernel", "packet filter", "status"}


def test_a_node_with_all_that_pods_need_is_well(ward: Ward) -> None:
    with cni_lab.agent(ward.node):
        code, checks = ward.ask()
    assert code == 0, checks
    assert {name for name in VITAL if checks[name]["state"] == "fail"} == set()
    assert checks["status"] | {"found": ""} == {
        "name": "status",
        "state": "ok",
        "found": "",
        "toDo": "",
    }


def test_an_agent_that_is_away_stops_pods(ward: Ward) -> None:
    code, checks = ward.ask()
    assert (code, checks["agent"]["state"]) == (1, "fail")
    assert "systemctl start ringbolt" in checks["agent"]["toDo"]
    assert "status" not in checks


def test_a_network_that_was_not_installed_is_told(ward: Ward) -> None:
    (ward.node.folder / "conf" / NAME).unlink()
    (ward.node.folder / "bin" / "ringbolt").write_text("no program\n")
    code, checks = ward.ask()
    assert code == 1
    assert (checks["network"]["state"], checks["network"]["toDo"]) == ("fail", "ringbolt install")
    assert checks["plugin"]["state"] == "fail"


def test_what_is_installed_is_compared_with_the_configuration(ward: Ward) -> None:
    ward.config.write_text(NETWORK.replace("10.77.", "10.78."))
    assert ward.states()["network"] == "warn"


def test_a_configuration_that_runtimes_prefer_is_named(ward: Ward) -> None:
    (ward.node.folder / "conf" / "05-other.conf").write_text('{"type": "bridge", "name": "o"}')
    network = ward.ask()[1]["network"]
    assert network["state"] == "warn"
    assert "05-other.conf" in network["found"]


def test_a_foreign_filter_that_drops_what_pods_send_is_named(ward: Ward) -> None:
    space = ward.node.space
    space.run("nft", "add table ip filter")
    space.run(
        "nft", "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"
    )
    code, checks = ward.ask()
    assert (code, checks["foreign filter"]["state"]) == (1, "fail")
    assert "ip filter FORWARD" in checks["foreign filter"]["found"]
    space.run("nft", 'add rule ip filter FORWARD iifname "ringbolt0" accept')
    assert ward.states()["foreign filter"] == "ok"


def test_a_wrong_configuration_stops_pods(ward: Ward) -> None:
    ward.config.write_text("resources: 7\n")
    code, checks = ward.ask()
    assert (code, checks["configuration"]["state"]) == (1, "fail")
    assert "ringbolt config check" in checks["configuration"]["toDo"]


def test_forwarding_that_is_off_is_told(ward: Ward) -> None:
    ward.node.space.run("sysctl", "-w", "net.ipv4.ip_forward=0")
    checks = ward.ask()[1]
    assert checks["forwarding"]["state"] == "warn"
    assert checks["forwarding"]["toDo"] == "sysctl -w net.ipv4.ip_forward=1"


def test_people_get_a_row_for_each_check(ward: Ward) -> None:
    done = ward.run("doctor", "--run-dir", str(ward.node.folder / "run"))
    rows = [line.split()[0] for line in done.stdout.splitlines() if line[:1].strip()]
    assert rows[0] == "CHECK"
    assert {"configuration", "agent", "network", "plugin", "kernel"} <= set(rows)
