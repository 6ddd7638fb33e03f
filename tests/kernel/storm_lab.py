"""A runtime in a storm: calls by the hundred, and a look at everything they leave on the node."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ringbolt.linux import link, network_namespace
from ringbolt.linux.netlink import Socket
from ringbolt.network.leases import Leases
from ringbolt.network.ledger import Ledger
from tests.kernel.launcher_lab import HANGS_S, ROOT
from tests.kernel.network_lab import Pod, ip, links, run
from tests.kernel.test_cni_plugin import wait_until

Wire = dict[str, Any]
BRIDGE = "rbstorm0"
TRY_AGAIN = 11
CONF: Wire = {
    "cniVersion": "1.1.0",
    "name": "pods",
    "type": "ringbolt",
    "bridge": BRIDGE,
    "ipMasq": True,
    "ipam": {"ranges": [[{"subnet": "10.88.0.0/20"}], [{"subnet": "fd00:88::/64"}]]},
}
IN_ONE_PROCESS = (sys.executable, "-m", "cni")


@dataclass
class Running:
    """A plugin that was exec'd; standard input and output are files in memory."""

    process: "subprocess.Popen[bytes]"
    out: IO[bytes]

    def end(self) -> tuple[int, Any]:
        """Its exit code (negative: the signal) and its JSON or None."""
        with self.process, self.out:
            code = self.process.wait(HANGS_S)
            self.out.seek(0)
            said = self.out.read()
            return code, json.loads(said) if said and code >= 0 else None


@dataclass
class Sandbox:
    """A pod as its runtime knows it; `result` is None while it is not attached.

    `netns` is the namespace's file where it has one of its own.
    """

    pod: Pod
    wishes: Wire = field(default_factory=Wire)
    result: Wire | None = None
    netns: str = ""


@dataclass(frozen=True)
class Runtime:
    """Execs the plugin, which finds its agent in `run_dir`."""

    program: Path
    run_dir: Path
    conf: Wire = field(default_factory=lambda: CONF)

    def start(
        self, command: str, one: Sandbox, *, alone: bool = False, more: Wire | None = None
    ) -> Running:
        """One call; `alone`: by `python -m cni`, without the agent."""
        conf = self.conf | {"runtimeConfig": one.wishes} | (more or {})
        if one.result and command != "ADD":
            conf |= {"prevResult": one.result}
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": one.pod.name,
            "CNI_NETNS": one.netns or one.pod.path,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/usr/lib/cni",
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "RINGBOLT_SOCKET": str(self.run_dir / "agent.sock"),
        }
        given, out = (os.fdopen(os.memfd_create(name), "w+b") for name in ("stdin", "stdout"))
        with given:
            given.write(json.dumps(conf).encode())
            given.seek(0)
            words = IN_ONE_PROCESS if alone else (str(self.program),)
            return Running(subprocess.Popen(words, stdin=given, stdout=out, env=variables), out)

    def call(
        self, command: str, one: Sandbox, *, alone: bool = False, more: Wire | None = None
    ) -> tuple[int, Any]:
        return self.start(command, one, alone=alone, more=more).end()

    def insist(self, command: str, one: Sandbox, *, alone: bool = False) -> Any:
        """Call until it succeeds, as a kubelet has it done: what is refused can be tried again."""
        while True:
            code, told = self.call(command, one, alone=alone)
            if code == 0:
                return told
            assert (code, told["code"]) == (1, TRY_AGAIN), told

    def check_node(self, sandboxes: Iterable[Sandbox]) -> None:
        """The node has what the attached pods need, each its own, and nothing else."""
        live = [one for one in sandboxes if one.result]
        check_kernel(live)
        assert self.leases() == {one.pod.name: _addresses(one) for one in live}

    def leases(self) -> dict[str, list[str]]:
        """Who has which addresses, as the record says."""
        with closing(Leases(Ledger(self.run_dir))) as leases:
            return {
                one.key.container_id: [str(address) for address in one.addresses]
                for one in leases.all()
            }


def wishes_of(number: int, each: int) -> Wire:
    """One pod of `each` has a host port, and every other one of these limits."""
    wishes: Wire = {}
    if number % each == 0:
        wishes["portMappings"] = [{"hostPort": 20000 + number, "containerPort": 80}]
    if number % (2 * each) == 0:
        ways = ("ingress", "egress")
        wishes["bandwidth"] = {f"{way}Rate": 10**9 for way in ways}
        wishes["bandwidth"] |= {f"{way}Burst": 10**7 for way in ways}
    return wishes


def check_kernel(live: Sequence[Sandbox]) -> None:
    """As `check_node`, without what is on record."""
    wait_until(lambda: set(_doomable()) == _names(live))
    given = [address for one in live for address in _addresses(one)]
    assert len(given) == len(set(given)), "an address was given twice"
    assert _neighbours() == sorted(given)
    assert _ports() == sorted(_asked_ports(live))
    shaped = {one["dev"] for one in _json("tc", "qdisc", "show") if one["kind"] == "tbf"}
    assert shaped == {name for one in live for name in _shaped(one)}
    for one in live:
        assert _links_in(one.pod) == {"lo", "eth0"}


def remove_bridge() -> None:
    """And what a failed test leaves, which would hide why it failed."""
    for name, one in links().items():
        if name == BRIDGE or one.get("linkinfo", {}).get("info_kind") == "ifb":
            run("ip", "link", "delete", name)


def is_free(pod: Pod) -> bool:
    """Whether the pod has nothing but its loopback, or links that go."""
    return not {name for name in _links_in(pod) if not name.startswith("gone")} - {"lo"}


def _links_in(pod: Pod) -> set[str]:
    with network_namespace.inside(pod.fd, Socket) as inside:
        return {one.name for one in link.list_links(inside)}


def _doomable() -> list[str]:
    return [name for name in links() if name not in ("lo", BRIDGE)]


def _names(live: Iterable[Sandbox]) -> set[str]:
    return {name for one in live for name in (_host_name(one), *_shaped(one))}


def _host_name(one: Sandbox) -> str:
    assert one.result
    return str(one.result["interfaces"][1]["name"])


def _shaped(one: Sandbox) -> list[str]:
    """The node's end and the device for the other direction, of a pod with limits."""
    if "bandwidth" not in one.wishes:
        return []
    name = _host_name(one)
    return [name, name.replace("rb", "rbi", 1)]


def _addresses(one: Sandbox) -> list[str]:
    assert one.result
    return [ip["address"].partition("/")[0] for ip in one.result["ips"]]


def _neighbours() -> list[str]:
    return sorted(one["dst"] for one in ip("neigh", "show", "dev", BRIDGE, "nud", "permanent"))


def _asked_ports(live: Iterable[Sandbox]) -> list[tuple[int, str]]:
    return [
        (mapping["hostPort"], address)
        for one in live
        for mapping in one.wishes.get("portMappings", ())
        for address in _addresses(one)
    ]


def _ports() -> list[tuple[int, str]]:
    """Host ports with whom they lead to, of both families."""
    table = next(
        (one for one in _json("nft", "list", "ruleset")["nftables"] if "table" in one), None
    )
    if not table:
        return []
    listed = _json("nft", "list", "table", "inet", "ringbolt")["nftables"]
    maps = [one["map"] for one in listed if "map" in one and one["map"]["name"].startswith("ports")]
    return sorted(
        (key["concat"][-1], to["concat"][0]) for one in maps for key, to in one.get("elem", ())
    )


def _json(program: str, *words: str) -> Any:
    return json.loads(run(program, "-j", *words) or "[]")
