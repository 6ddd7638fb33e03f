"""A namespace that plays the node: its agent, and the programs that a runtime execs there."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from ringbolt.network.leases import Leases
from ringbolt.network.ledger import Ledger
from tests.kernel.network_lab import Pod, new_pod

REFERENCE = Path("/usr/lib/cni")
WAIT_S = 30.0
Wire = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """What a plugin answered: its exit code, and its JSON or None."""

    code: int
    wire: Any


@dataclass(frozen=True)
class Node:
    """A node whose agent keeps everything in `folder`."""

    space: Pod
    folder: Path
    launcher: Path

    @property
    def socket(self) -> Path:
        return self.folder / "run/agent.sock"

    @property
    def spool(self) -> Path:
        return self.folder / "run/spool"

    def call(
        self, command: str, pod: Pod, conf: Wire, program: Path | None = None, **more: str
    ) -> Told:
        """Exec the plugin (None: ours) as a runtime does."""
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": pod.name,
            "CNI_NETNS": pod.path,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(REFERENCE),
            "PATH": os.environ["PATH"],
            "RINGBOLT_SOCKET": str(self.socket),
        }
        done = subprocess.run(
            ["nsenter", f"--net={self.space.path}", program or self.launcher],
            env=variables | more,
            input=json.dumps(conf).encode(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Told(done.returncode, json.loads(done.stdout) if done.stdout else None)

    def must(self, command: str, pod: Pod, conf: Wire, program: Path | None = None) -> Any:
        """As `call`, of what succeeds."""
        told = self.call(command, pod, conf, program)
        assert told.code == 0, told.wire
        return told.wire

    def leases(self) -> list[str]:
        """Who has a lease, as the agent's record says."""
        leases = Leases(Ledger(self.folder / "run"))
        try:
            return [one.key.container_id for one in leases.all()]
        finally:
            leases.close()

    def links(self) -> list[str]:
        """What there is beside the loopback and the bridge."""
        found = self.space.ip("-d", "link", "show")
        return [
            one["ifname"]
            for one in found
            if one["ifname"] != "lo" and one.get("linkinfo", {}).get("info_kind") != "bridge"
        ]

    def elements(self) -> list[Any]:
        """What the maps of our nft table hold: a pod's host ports."""
        said = json.loads(self.space.run("nft", "-j", "list", "table", "inet", "ringbolt"))
        maps = [one["map"] for one in said["nftables"] if "map" in one]
        ports = [one for one in maps if one["name"].startswith("ports")]
        assert ports, "the table has no maps for host ports"
        return [element for one in ports for element in one.get("elem", [])]


@contextmanager
def new_node(folder: Path, program: Path) -> Generator[Node]:
    """A node whose agent does not run."""
    folder.mkdir()
    space = new_pod("node")
    try:
        space.run("ip", "link", "set", "lo", "up")
        yield Node(space, folder, program)
    finally:
        space.go()


def addresses(wire: Wire) -> list[str]:
    """A result's addresses without their prefixes."""
    return [one["address"].split("/")[0] for one in wire["ips"]]


@contextmanager
def agent(node: Node) -> Generator[None]:
    """The node's agent, which has its socket when the block begins and is gone when it ends."""
    config = node.folder / "config.yaml"
    config.write_text("resources: []\n")
    words = ["nsenter", f"--net={node.space.path}", sys.executable, "-m", "daemon", "agent"]
    words += ["--config", str(config), "--http", "127.0.0.1:0"]
    for option in ("kubelet", "run", "state", "cdi"):
        words += [f"--{option}-dir", str(node.folder / option)]
    log = node.folder / "agent.log"
    with log.open("ab") as out, subprocess.Popen(words, stdout=out, stderr=out) as process:
        try:
            until(lambda: node.socket.is_socket() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()


def until(holds: Callable[[], bool]) -> None:
    """Wait for what other processes do; neither links nor sockets of another namespace call us."""
    end = monotonic() + WAIT_S
    while not holds():
        assert monotonic() < end, "what was waited for did not come"
        sleep(0.01)


def reference(kind: str) -> Path:
    """The reference plugin, or the test is skipped."""
    if not (program := REFERENCE / kind).exists():
        pytest.skip("needs the reference plugins: apt-get install containernetworking-plugins")
    return program


def shape(wire: Mapping[str, Any]) -> Wire:
    """A result without what differs from one attachment to the next: MACs, the host end's name.

    Routes name their gateway: the reference leaves out one that the addresses name. Whether an
    empty `dns` is written is a matter of the reference's age.
    """
    interfaces = [dict(one) for one in wire["interfaces"]]
    for one in interfaces:
        assert one.pop("mac")
    interfaces[1]["name"] = "host end"
    gateways = {":" in one["address"]: one["gateway"] for one in wire["ips"]}
    routes = [{"gw": gateways[":" in one["dst"]], **one} for one in wire["routes"]]
    return {"dns": {}, **wire, "interfaces": interfaces, "routes": routes}
