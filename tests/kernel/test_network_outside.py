"""Masquerade and host ports, on the real kernel, with a namespace that plays the outside."""

import ipaddress
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ringbolt.network.attachment import Given, PodAddress, PortMapping, Protocol, Repaired
from ringbolt.network.errors import ConflictError
from ringbolt.network.settings import Mode, Range, Settings
from tests.kernel.network_lab import (
    SETTINGS,
    Pod,
    attach,
    detach,
    dial,
    links,
    network,
    new_pod,
    pods,
    run,
    serving,
)

MASQUERADED = replace(SETTINGS, masquerade=True)
ROUTED = replace(MASQUERADED, mode=Mode.ROUTED)
PORT = (PortMapping(8080, 80),)
both_modes = pytest.mark.parametrize("settings", [MASQUERADED, ROUTED], ids=["bridge", "routed"])


@contextmanager
def outside() -> Iterator[Pod]:
    """A namespace beyond the node's uplink: 192.0.2.2 and 2001:db8::2; the node is .1 and ::1."""
    with ExitStack() as undo:
        pod = new_pod("outside")
        undo.callback(pod.go)
        run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "far", "netns", pod.path)
        undo.callback(run, "ip", "link", "delete", "uplink")
        for words in (("192.0.2.1/24",), ("2001:db8::1/64", "nodad")):
            run("ip", "address", "add", *words, "dev", "uplink")
        run("ip", "link", "set", "uplink", "up")
        for words in (("192.0.2.2/24",), ("2001:db8::2/64", "nodad")):
            pod.run("ip", "address", "add", *words, "dev", "far")
        for name in ("far", "lo"):
            pod.run("ip", "link", "set", name, "up")
        yield pod


def elements(name: str) -> list[object]:
    """What a map of our table holds."""
    (found,) = [
        one["map"]
        for one in json.loads(run("nft", "-j", "list", "map", "inet", "ringbolt", name))["nftables"]
        if "map" in one
    ]
    return list(found.get("elem", []))


@both_modes
def test_pods_leave_with_the_nodes_address_and_stay_themselves_inside(
    tmp_path: Path, settings: Settings
) -> None:
    with network(tmp_path) as room, outside() as world, pods("a", "b") as (a, b):
        for one in (a, b):
            room.add(attach(one, settings))
        with serving(world, 80), serving(b, 80):
            assert dial(a, "192.0.2.2", 80) == "192.0.2.1"
            assert dial(a, "2001:db8::2", 80) == "2001:db8::1"
            assert dial(a, "10.88.0.3", 80) == "10.88.0.2"
            assert dial(a, "fd00:88::3", 80) == "fd00:88::2"


def test_pods_of_an_earlier_range_leave_with_the_nodes_address_still(tmp_path: Path) -> None:
    later = replace(ROUTED, ranges=((Range(ipaddress.ip_network("10.87.0.0/24")),),))
    with network(tmp_path) as room, outside() as world, pods("a", "b") as (a, b):
        room.add(attach(a, ROUTED))
        room.add(attach(b, later))
        with serving(world, 80):
            assert dial(b, "192.0.2.2", 80) == "192.0.2.1"
            assert dial(a, "192.0.2.2", 80) == "192.0.2.1"
            assert dial(a, "2001:db8::2", 80) == "2001:db8::1"


def test_what_is_exempt_sees_the_pod(tmp_path: Path) -> None:
    settings = replace(MASQUERADED, masquerade_exempt=(ipaddress.ip_network("192.0.2.0/24"),))
    with network(tmp_path) as room, outside() as world, pods("a") as (a,):
        room.add(attach(a, settings))
        world.run("ip", "route", "add", "10.88.0.0/24", "via", "192.0.2.1")
        with serving(world, 80):
            assert dial(a, "192.0.2.2", 80) == "10.88.0.2"


@both_modes
def test_pods_with_addresses_of_another_management_leave_and_come_back_as_well(
    tmp_path: Path, settings: Settings
) -> None:
    settings = replace(settings, ranges=())
    address = PodAddress(ipaddress.ip_interface("10.99.0.7/24"), ipaddress.ip_address("10.99.0.1"))
    with network(tmp_path) as room, outside() as world, pods("a", "b") as (a, b):
        wanted = attach(a, settings, given=Given((address,)), port_mappings=PORT, netns_path=a.path)
        result = room.add(wanted)
        room.check(wanted, result)
        assert room.repair(settings) == Repaired()
        other = replace(address, address=ipaddress.ip_interface("10.99.0.8/24"), gateway=None)
        room.add(attach(b, settings, given=Given((other,))))
        with serving(world, 81), serving(a, 80):
            assert dial(a, "192.0.2.2", 81) == "192.0.2.1"
            assert dial(b, "192.0.2.2", 81) == "192.0.2.1"
            assert dial(world, "192.0.2.1", 8080) == "192.0.2.2"
        room.delete(detach(a, settings))
        assert elements("ports4") == []


@both_modes
def test_a_host_port_leads_to_the_pod_from_everywhere(tmp_path: Path, settings: Settings) -> None:
    with network(tmp_path) as room, outside() as world, pods("a", "b") as (a, b):
        room.add(attach(a, settings, port_mappings=PORT))
        room.add(attach(b, settings))
        with serving(a, 80):
            assert dial(world, "192.0.2.1", 8080) == "192.0.2.2"
            assert dial(world, "2001:db8::1", 8080) == "2001:db8::2"
            assert dial(None, "127.0.0.1", 8080)
            assert dial(None, "192.0.2.1", 8080)
            assert dial(b, "192.0.2.1", 8080)
            assert dial(a, "192.0.2.1", 8080), "a pod reaches itself by its host port"


def test_nobody_but_the_node_reaches_its_localhost(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        room.add(attach(a, MASQUERADED, port_mappings=PORT))
        a.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
        a.run("ip", "address", "delete", "127.0.0.1/8", "dev", "lo")
        a.run("ip", "route", "add", "127.0.0.1/32", "via", "10.88.0.1")
        with serving(None, 9000):
            with pytest.raises(AssertionError, match="timed out"):
                dial(a, "127.0.0.1", 9000)
            run("nft", "flush", "chain", "inet", "ringbolt", "guard")
            assert dial(a, "127.0.0.1", 9000) == "10.88.0.2", "the guard alone kept it away"


def test_a_port_of_one_address_of_the_node_is_of_no_other(tmp_path: Path) -> None:
    port = (PortMapping(8080, 80, host_ip=ipaddress.ip_address("192.0.2.1")),)
    with network(tmp_path) as room, outside() as world, pods("a") as (a,):
        room.add(attach(a, MASQUERADED, port_mappings=port))
        with serving(a, 80):
            assert dial(world, "192.0.2.1", 8080) == "192.0.2.2"
            with pytest.raises(AssertionError, match="refused"):
                dial(world, "2001:db8::1", 8080)


def test_ranges_of_ports_keep_their_order(tmp_path: Path) -> None:
    with network(tmp_path) as room, outside() as world, pods("a") as (a,):
        room.add(attach(a, port_mappings=(PortMapping(8000, 80, count=5),)))
        with serving(a, 83):
            assert dial(world, "192.0.2.1", 8003) == "192.0.2.2"


def test_ports_go_with_the_pod_and_are_free_for_the_next(tmp_path: Path) -> None:
    ports = (*PORT, PortMapping(8080, 80, Protocol.UDP), PortMapping(9, 9, Protocol.SCTP))
    with network(tmp_path) as room, pods("a", "b") as (a, b):
        room.add(attach(a, MASQUERADED, port_mappings=ports))
        assert len(elements("ports4")) == len(elements("ports6")) == 3
        with pytest.raises(ConflictError, match="8080/tcp leads to container a already"):
            room.add(attach(b, MASQUERADED, port_mappings=PORT))
        room.delete(detach(a, MASQUERADED))
        assert elements("ports4") == elements("ports6") == []
        room.add(attach(b, MASQUERADED, port_mappings=PORT))


def test_a_table_that_was_flushed_comes_back_with_all_ports(tmp_path: Path) -> None:
    with network(tmp_path) as room, outside() as world, pods("a", "b") as (a, b):
        room.add(attach(a, MASQUERADED, port_mappings=PORT))
        run("nft", "flush", "ruleset")
        room.add(attach(b, MASQUERADED))
        with serving(a, 80), serving(world, 81):
            assert dial(world, "192.0.2.1", 8080) == "192.0.2.2"
            assert dial(a, "192.0.2.2", 81) == "192.0.2.1"


def test_a_failed_attachment_leaves_no_port(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        room.add(attach(a, MASQUERADED))
        room.delete(detach(a, MASQUERADED))
        a.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")
        with pytest.raises(ConflictError):
            room.add(attach(a, MASQUERADED, port_mappings=PORT))
        assert elements("ports4") == []
        assert set(links()) == {"lo", "rb0"}


def test_pods_without_ports_and_masquerade_need_no_packet_filter(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        room.add(attach(a))
        room.delete(detach(a))
        assert "ringbolt" not in run("nft", "list", "tables")


_SEND = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.bind(("192.0.2.2", 7000))
    one.settimeout(float(sys.argv[1]))
    one.sendto(b"hello", ("192.0.2.1", 5353))
    try:
        print(one.recv(100).decode())
    except OSError as error:
        print(type(error).__name__)
"""

_ANSWER = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.bind(("", 53))
    print("ready", flush=True)
    while True:
        _, peer = one.recvfrom(100)
        one.sendto(b"from the pod", peer)
"""


def _send(world: Pod, patience_s: float) -> str:
    return world.run(sys.executable, "-c", _SEND, str(patience_s)).strip()


def test_a_flow_of_udp_finds_the_pod_that_came_after_it_and_not_the_one_that_left(
    tmp_path: Path,
) -> None:
    port = (PortMapping(5353, 53, Protocol.UDP),)
    with ExitStack() as undo:
        room = undo.enter_context(network(tmp_path))
        world = undo.enter_context(outside())
        a, b = undo.enter_context(pods("a", "b"))
        for one in (a, b):
            words = ("nsenter", f"--net={one.path}", sys.executable, "-c", _ANSWER)
            answering = undo.enter_context(
                subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            )
            undo.callback(answering.kill)
            assert answering.stdout
            assert answering.stdout.readline() == "ready\n"
        room.add(attach(a, MASQUERADED))
        room.delete(detach(a, MASQUERADED))
        assert _send(world, 0.2) != "from the pod"
        room.add(attach(a, MASQUERADED, port_mappings=port))
        assert _send(world, 3) == "from the pod"
        room.delete(detach(a, MASQUERADED))
        room.add(attach(b, MASQUERADED, port_mappings=port))
        assert _send(world, 3) == "from the pod"
