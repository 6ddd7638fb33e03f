"""What is told of attached pods is what the kernel has, and what is amiss is told."""

import ipaddress
import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ringbolt.network.attachment import Attach, Bandwidth, Pod, PortMapping, Protocol
from ringbolt.network.flows import flow_holdings
from ringbolt.network.holdings import Health, Held, Kind, Place, State
from ringbolt.network.inspection import inspect
from ringbolt.network.ledger import ledger_path
from ringbolt.network.network import Network
from ringbolt.network.settings import Mode, Settings
from tests.kernel import network_lab
from tests.kernel.network_lab import SETTINGS, attach, detach, host, network, pods, run

FULL = replace(
    SETTINGS,
    masquerade=True,
    hairpin=True,
    masquerade_exempt=(ipaddress.ip_network("192.0.2.0/24"),),
)
WEB = Pod("shop", "web-1", "6f2")
PORTS = (PortMapping(8080, 80), PortMapping(5300, 53, Protocol.UDP))
LIMITS = Bandwidth(80_000_000, 0, 8_000_000, 0)


def _asked(pod: network_lab.Pod, settings: Settings) -> Attach:
    more = {"port_mappings": PORTS, "bandwidth": LIMITS, "pod": WEB}
    return attach(pod, settings, netns_path=pod.path, **more)


@contextmanager
def _attached(folder: Path, settings: Settings) -> Generator[tuple[Network, network_lab.Pod, str]]:
    """A room, a pod that has everything, and the name of its link on the node."""
    with network(folder) as room, pods("a") as (a,):
        yield room, a, host(room.add(_asked(a, settings)))


def _forget(folder: Path) -> None:
    """How the networks were set up: an older agent did not keep it."""
    with closing(sqlite3.connect(ledger_path(folder))) as database, database:
        database.execute("DELETE FROM networks")


def _only(folder: Path, *known: Settings) -> Held:
    (held,) = inspect(folder, {one.name: one for one in known}).held
    return held


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("told", [True, False], ids=["told", "guessed"])
def test_a_pod_that_was_just_attached_is_well(tmp_path: Path, mode: Mode, *, told: bool) -> None:
    settings = replace(FULL, mode=mode)
    with _attached(tmp_path, settings):
        if not told:
            _forget(tmp_path)
        held = _only(tmp_path)
    assert (held.health, held.faults) == (Health.WELL, ())
    assert held.guessed is not told
    assert {one.state for one in held.holdings} <= {State.THERE, State.FOREIGN}
    assert {one.kind for one in held.holdings} >= set(Kind) - {Kind.FLOWS}


def test_every_object_is_found_as_the_kernel_has_it(tmp_path: Path) -> None:
    with _attached(tmp_path, FULL) as (_room, a, name):
        held = _only(tmp_path, FULL)
        links = network_lab.links()
        inside = {one["ifname"]: one for one in a.ip("link", "show")}
        inode = os.fstat(a.fd).st_ino
    found = {(one.kind, one.place, one.name): one for one in held.holdings}
    node = found[Kind.LINK, Place.NODE, name]
    assert node.facts["index"] == links[name]["ifindex"]
    assert node.facts["peer"] == inside["eth0"]["ifindex"]
    assert (node.facts["hairpin"], node.facts["isolated"]) == (True, False)
    assert found[Kind.LINK, Place.POD, "eth0"].facts["mac"] == inside["eth0"]["address"]
    netns = found[Kind.NAMESPACE, Place.POD, a.path]
    assert (netns.facts["inode"], netns.facts["alive"]) == (inode, True)
    assert (Kind.ELEMENT, Place.NODE, "ports4 { udp . 5300 : 10.88.0.2 . 53 }") in found
    (chain,) = [one for one in held.holdings if one.kind is Kind.CHAIN]
    exempt = chain.facts["exempt"]
    assert isinstance(exempt, tuple)
    assert "192.0.2.0/24" in exempt


HARM = {
    "its address is gone": ("pod", "ip address delete 10.88.0.2/24 dev eth0", "lacks the address"),
    "its default route is gone": ("pod", "ip route delete default", "route to 0.0.0.0/0 is gone"),
    "its neighbour is gone": ("pod", "ip neigh delete 10.88.0.1 dev eth0", "10.88.0.1 at"),
    "its link is down": ("pod", "ip link set eth0 down", "eth0 is down"),
    "its MTU differs": ("pod", "ip link set eth0 mtu 9000", "MTU of 9000, not 1500"),
    "it left the bridge": ("node", "ip link set NAME nomaster", "not in the bridge rb0"),
    "its port lost hairpin": ("node", "bridge link set dev NAME hairpin off", "not hairpin"),
    "the node's neighbour is gone": ("node", "ip neigh delete 10.88.0.2 dev rb0", "10.88.0.2 at"),
    "the bridge lost an address": ("node", "ip address delete 10.88.0.1/24 dev rb0", "gateway's"),
    "what it receives is unbounded": ("node", "tc qdisc delete dev NAME root", "tbf on rb"),
    "what it sends is unbounded": ("node", "tc qdisc delete dev NAME ingress", "ingress on rb"),
    "its port is gone": (
        "node",
        "nft delete element inet ringbolt ports4 { tcp . 8080 }",
        "lacks the element ports4",
    ),
    "the filter was flushed": ("node", "nft delete table inet ringbolt", "net_"),
}


@pytest.mark.parametrize("harm", HARM)
def test_what_somebody_took_away_is_told(tmp_path: Path, harm: str) -> None:
    where, command, words = HARM[harm]
    with _attached(tmp_path, FULL) as (_room, a, name):
        say = a.run if where == "pod" else run
        say(*command.replace("NAME", name).split())
        held = _only(tmp_path, FULL)
    assert held.health is Health.DIFFERS
    assert any(words in fault for fault in held.faults), held.faults


def test_what_is_kept_with_the_leases_counts_and_not_what_is_configured_now(tmp_path: Path) -> None:
    with _attached(tmp_path, FULL):
        other = replace(FULL, masquerade=False, mtu=1280, hairpin=False)
        kept = _only(tmp_path, other)
        _forget(tmp_path)
        told = _only(tmp_path, other)
    assert (kept.settings.mtu, kept.guessed, kept.health) == (None, False, Health.WELL)
    assert (told.settings.mtu, told.guessed, told.health) == (1280, False, Health.DIFFERS)


def test_more_than_was_set_up_is_no_fault(tmp_path: Path) -> None:
    with _attached(tmp_path, FULL) as (_room, a, _name):
        a.run("ip", "address", "add", "203.0.113.9/32", "dev", "eth0")
        held = _only(tmp_path, FULL)
    assert held.health is Health.WELL
    (foreign,) = [one for one in held.holdings if "203.0.113.9/32" in one.name]
    assert foreign.state is State.FOREIGN


def test_a_pod_without_link_and_namespace_is_dead_after_a_while(tmp_path: Path) -> None:
    with _attached(tmp_path, FULL) as (_room, pod, name):
        run("ip", "link", "delete", name)
        young = _only(tmp_path, FULL)
        assert (young.health, young.death) == (Health.DIFFERS, "")
        assert any("the node's end, is gone" in fault for fault in young.faults)
        with closing(sqlite3.connect(ledger_path(tmp_path))) as database, database:
            database.execute("UPDATE attachments SET born = born - 100")
        assert _only(tmp_path, FULL).death == "", "its namespace lives: the agent mends it"
        pod.go()
        held = _only(tmp_path, FULL)
    assert held.health is Health.DEAD
    assert held.death == f"its link {name} is gone, and its namespace with it"


def test_a_namespace_that_its_path_leads_to_no_more_is_told(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        room.add(attach(a, SETTINGS, netns_path=f"{tmp_path}/none"))
        held = _only(tmp_path, SETTINGS)
    assert held.faults == (f"its namespace cannot be seen: {tmp_path}/none does not lead to it",)


def test_what_was_given_back_cools_down(tmp_path: Path) -> None:
    with _attached(tmp_path, FULL) as (room, a, _name):
        room.delete(detach(a, FULL))
        found = inspect(tmp_path, {})
    assert found.held == ()
    assert [str(one.address) for one in found.cooling] == ["10.88.0.2", "fd00:88::2"]
    (gone,) = found.departed
    assert (gone.pod, gone.addresses, gone.why) == (
        WEB,
        ("10.88.0.2", "fd00:88::2"),
        "it was detached",
    )
    assert all(0 < one.until - found.now <= FULL.cool_down_s for one in found.cooling)


def test_looking_makes_nothing(tmp_path: Path) -> None:
    assert inspect(tmp_path / "none", {}).held == ()
    assert not (tmp_path / "none").exists()
    with _attached(tmp_path, FULL):
        pass
    there = {path: path.read_bytes() for path in tmp_path.glob("leases-*.sqlite")}
    assert list(there) == [ledger_path(tmp_path)]
    before = set(network_lab.links())
    _only(tmp_path)
    assert {path: path.read_bytes() for path in there} == there
    assert set(network_lab.links()) <= before  # the pod's may still be on its way out


def test_tracked_flows_of_its_udp_ports_are_counted(tmp_path: Path) -> None:
    with _attached(tmp_path, FULL):
        before = flow_holdings(_only(tmp_path, FULL))
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as one:
            one.connect(("10.88.0.1", 5300))
            one.send(b"hello")
            after = flow_holdings(_only(tmp_path, FULL))
    assert [flows.facts["count"] for flows in before] == [0, 0]
    assert [flows.facts["count"] for flows in after] == [1, 0]


def test_the_commands_tell_it_beside_the_room_that_serves(tmp_path: Path) -> None:
    with _attached(tmp_path, FULL) as (_room, a, _name):
        a.run("ip", "link", "set", "eth0", "mtu", "9000")
        _forget(tmp_path)
        places = ("--run-dir", str(tmp_path), "--cni-conf-dir", str(tmp_path))
        ringbolt = ("env", "-u", "COLUMNS", sys.executable, "-m", "daemon")
        table = run(*ringbolt, "pods", *places)
        (row,) = json.loads(run(*ringbolt, "pods", "-o", "json", *places))["attachments"]
        text = run(*ringbolt, "explain", "pod", "shop/web-1", *places)
        (whole,) = json.loads(run(*ringbolt, "explain", "pod", a.name, "-o", "json", *places))[
            "attachments"
        ]
        missing = subprocess.run(
            [*ringbolt, "explain", "pod", "shop/web-2", *places],
            check=False,
            capture_output=True,
            text=True,
        )
    assert "\nshop/web-1  10.88.0.2 fd00:88::2  pods bridge  eth0 rb" in table
    assert "  8080->80/tcp 5300->53/udp  in 80M out 8M  differs (eth0 has" in table
    assert "note: nobody tells how pods was set up" in table
    assert (row["state"], row["addresses"]) == ("differs", ["10.88.0.2", "fd00:88::2"])
    assert text.startswith("shop/web-1: differs\n  amiss: eth0 has an MTU of 9000")
    assert "    link eth0 (differs): the pod's end of the pair\n" in text
    assert {one["kind"] for one in whole["objects"]} == {kind.value for kind in Kind}
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "did you mean shop/web-1" in missing.stderr
