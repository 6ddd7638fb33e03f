"""Pods on a bridge, on the real kernel: what is made, that it works, that nothing is left."""

import ipaddress
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringbolt.linux.netlink import Socket
from ringbolt.network import wiring
from ringbolt.network.attachment import Bandwidth, PortMapping
from ringbolt.network.attachment import Pod as PodOwner
from ringbolt.network.errors import ConflictError
from ringbolt.network.network import Network
from ringbolt.network.settings import Route
from tests.kernel.network_lab import (
    SETTINGS,
    addresses,
    attach,
    detach,
    dial,
    host,
    ip,
    links,
    network,
    pods,
    run,
    serving,
)


def test_two_pods_reach_each_other_and_the_node(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a", "b") as (a, b):
        room.add(attach(a))
        room.add(attach(b))
        with serving(b, 80), serving(None, 81):
            assert dial(a, "10.88.0.3", 80) == "10.88.0.2"
            assert dial(a, "fd00:88::3", 80) == "fd00:88::2"
            assert dial(a, "10.88.0.1", 81) == "10.88.0.2"
            assert dial(None, "fd00:88::3", 80) == "fd00:88::1"


def test_what_is_made_is_what_the_result_says(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        result = room.add(attach(a))
        there = links()
        assert [one.name for one in result.interfaces] == ["rb0", host(result), "eth0"]
        assert [there[one.name]["address"] for one in result.interfaces[:2]] == [
            one.mac for one in result.interfaces[:2]
        ]
        (inside,) = a.ip("address", "show", "eth0")
        assert inside["address"] == result.interfaces[2].mac
        assert inside["mtu"] == result.interfaces[2].mtu == 1500
        found = [f"{one['local']}/{one['prefixlen']}" for one in inside["addr_info"]]
        assert found[:2] == addresses(result) == ["10.88.0.2/24", "fd00:88::2/64"]
        gateways = {one.get("gateway") for one in a.ip("route") + a.ip("-6", "route")}
        assert {"10.88.0.1", "fd00:88::1"} <= gateways
        assert there[host(result)]["master"] == "rb0"


def test_nothing_waits_for_duplicate_addresses_and_nothing_is_asked_by_arp(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        room.add(attach(a))
        (inside,) = a.ip("address", "show", "eth0")
        assert not [one for one in inside["addr_info"] if one.get("tentative")]
        assert {
            (one["dst"], *one["state"]) for one in a.ip("neigh", "show", "nud", "permanent")
        } >= {
            ("10.88.0.1", "PERMANENT"),
            ("fd00:88::1", "PERMANENT"),
        }
        assert {one["dst"] for one in ip("neigh", "show", "dev", "rb0", "nud", "permanent")} == {
            "10.88.0.2",
            "fd00:88::2",
        }


def test_the_same_call_answers_the_same(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        first = room.add(attach(a))
        before = links()
        assert room.add(attach(a)) == first
        assert links().keys() == before.keys()


@pytest.mark.parametrize(
    "other",
    [
        {"port_mappings": (PortMapping(8088, 80),)},
        {"mac": "02:00:00:00:00:63"},
        {"bandwidth": Bandwidth(8_000_000)},
        {"addresses": (ipaddress.ip_address("10.88.0.99"),)},
    ],
    ids=lambda one: next(iter(one)),
)
def test_another_call_for_the_same_interface_is_a_conflict_and_changes_nothing(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        wanted = attach(a)
        result = room.add(wanted)
        with pytest.raises(ConflictError, match="attached already"):
            room.add(attach(a, **other))
        room.check(wanted, result)
        assert room.add(wanted) == result


def test_a_foreign_interface_of_that_name_is_a_conflict_and_nothing_is_left(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        a.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")
        with pytest.raises(ConflictError, match=r"\(eth0\) already exists"):
            room.add(attach(a))
        assert set(links()) == {"lo", "rb0"}
        assert room.leases.all() == ()


@pytest.mark.parametrize("gone", [False, True])
def test_detaching_leaves_nothing_and_can_be_repeated(tmp_path: Path, *, gone: bool) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        room.add(attach(a))
        for _ in range(2):
            room.delete(detach(a, gone=gone))
            assert set(links()) == {"lo", "rb0"}
            assert room.leases.all() == ()
            assert ip("neigh", "show", "dev", "rb0", "nud", "permanent") == []
        assert [one["ifname"] for one in a.ip("link")] == ["lo"]


def test_detaching_works_when_the_namespace_is_gone(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        room.add(attach(a))
        a.go()
        room.delete(detach(a, gone=True))
        assert set(links()) == {"lo", "rb0"}


def test_what_was_attached_since_a_detaching_was_asked_for_stays(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        wanted = attach(a)
        result = room.add(wanted)
        room.delete(replace(detach(a, gone=True), age_s=60.0))
        room.check(wanted, result)
        room.delete(replace(detach(a, gone=True), age_s=0.0))
        assert room.attachments() == ()


def test_attaching_right_after_detaching_works_while_links_still_go(tmp_path: Path) -> None:
    with network(tmp_path, coalesce=True) as room, pods("a") as (a,):
        for _ in range(5):
            first = addresses(room.add(attach(a)))
            room.delete(detach(a))
            assert addresses(room.add(attach(a))) != first
            room.delete(detach(a))
    assert set(links()) == {"lo"}


def test_routes_of_a_link_that_goes_are_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with network(tmp_path) as other, pods("a") as (a,):
        with Network(tmp_path, coalesce=True) as room:
            monkeypatch.setattr(room._ground.sweeper, "sweep", bool)  # it takes its time
            room.add(attach(a))
            room.delete(detach(a))
            result = room.add(attach(a))
        other.check(attach(a), result)


def test_a_link_whose_deletion_was_cut_off_is_in_nobodys_way(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,), Socket() as node:
        assert wiring.doom(node, host(room.add(attach(a))))
        again = room.add(attach(a))
        room.check(attach(a), again)
        assert set(links()) == {"lo", "rb0", host(again)}


def test_a_failed_attachment_leaves_no_neighbour(tmp_path: Path) -> None:
    nowhere = Route(ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_address("198.51.100.1"))
    with network(tmp_path) as room, pods("a") as (a,):
        with pytest.raises(OSError, match=r"198\.51\.100\.1"):
            room.add(attach(a, replace(SETTINGS, routes=(nowhere,))))
        assert ip("neigh", "show", "dev", "rb0", "nud", "permanent") == []
        assert set(links()) == {"lo", "rb0"}


def test_the_bridge_of_another_subnet_is_not_taken_over(tmp_path: Path) -> None:
    run("ip", "link", "add", "rb0", "type", "bridge")
    run("ip", "address", "add", "192.0.2.1/24", "dev", "rb0")
    with network(tmp_path) as room, pods("a") as (a,):
        with pytest.raises(ConflictError, match="already has an IP address different from"):
            room.add(attach(a))
        assert SETTINGS.force_address is False


def test_many_at_once_get_addresses_of_their_own_and_leave_nothing(tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(40)]
    with (
        network(tmp_path, coalesce=True) as room,
        pods(*names) as many,
        ThreadPoolExecutor(8) as threads,
    ):
        results = list(threads.map(lambda pod: room.add(attach(pod)), many))
        given = [address for result in results for address in addresses(result)]
        assert len(set(given)) == 2 * len(names)
        with serving(many[-1], 80):
            assert dial(many[0], addresses(results[-1])[0].partition("/")[0], 80)
        list(threads.map(lambda pod: room.delete(detach(pod)), many))
        assert room.leases.all() == ()
    assert set(links()) == {"lo"}


def test_a_namespace_that_vanished_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        a.go()
        with pytest.raises(OSError, match="Bad file descriptor"):
            room.add(attach(a))
        assert room.leases.all() == ()


def test_isolated_pods_reach_the_node_and_not_each_other(tmp_path: Path) -> None:
    settings = replace(SETTINGS, isolated=True)
    with network(tmp_path) as room, pods("a", "b") as (a, b):
        for one in (a, b):
            room.add(attach(one, settings))
        with serving(b, 80), serving(None, 81):
            assert dial(a, "10.88.0.1", 81) == "10.88.0.2"
            with pytest.raises(AssertionError, match=r"timed out|No route"):
                dial(a, "10.88.0.3", 80)


def test_an_address_a_mac_and_a_name_can_be_asked_for(tmp_path: Path) -> None:
    wanted = (ipaddress.ip_address("10.88.0.99"), ipaddress.ip_address("fd00:88::99"))
    pod = PodOwner("default", "web", "1")
    with network(tmp_path) as room, pods("a") as (a,):
        result = room.add(attach(a, addresses=wanted, mac="02:00:00:00:00:63", pod=pod))
        assert addresses(result) == ["10.88.0.99/24", "fd00:88::99/64"]
        (inside,) = a.ip("link", "show", "eth0")
        assert inside["address"] == result.interfaces[2].mac == "02:00:00:00:00:63"
        assert links()[host(result)]["ifalias"] == "default/web"
        (one,) = room.attachments()
        assert (one.pod, one.addresses, one.host_name) == (pod, wanted, host(result))


def test_ipv6_that_a_runtime_switched_off_is_switched_on_for_those_who_use_it(
    tmp_path: Path,
) -> None:
    only_four = replace(SETTINGS, ranges=SETTINGS.ranges[:1])
    with network(tmp_path) as room, pods("a", "b") as (a, b):
        for one in (a, b):
            one.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
        room.add(attach(a))
        room.add(attach(b, only_four))
        assert a.run("sysctl", "-n", "net.ipv6.conf.eth0.disable_ipv6").strip() == "0"
        assert b.run("sysctl", "-n", "net.ipv6.conf.eth0.disable_ipv6").strip() == "1"
        assert b.run("sysctl", "-n", "net.ipv6.conf.default.accept_dad").strip() == "1"
