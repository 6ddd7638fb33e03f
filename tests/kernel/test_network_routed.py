"""Pods by routes, without a bridge, on the real kernel."""

from dataclasses import replace
from pathlib import Path

from ringbolt.network.attachment import Repaired
from ringbolt.network.settings import Mode
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

ROUTED = replace(SETTINGS, mode=Mode.ROUTED)


def test_two_pods_reach_each_other_and_the_node_without_a_bridge(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a", "b") as (a, b):
        room.add(attach(a, ROUTED))
        result = room.add(attach(b, ROUTED))
        assert addresses(result) == ["10.88.0.3/32", "fd00:88::3/128"]
        assert [one.name for one in result.interfaces] == [host(result), "eth0"]
        assert {one.interface for one in result.addresses} == {1}
        assert {one["linkinfo"]["info_kind"] for one in links().values() if "linkinfo" in one} == {
            "veth"
        }
        with serving(b, 80), serving(None, 81):
            assert dial(a, "10.88.0.3", 80) == "10.88.0.2"
            assert dial(a, "fd00:88::3", 80) == "fd00:88::2"
            assert dial(a, "10.88.0.1", 81) == "10.88.0.2"
            assert dial(None, "10.88.0.3", 80)


def test_detaching_takes_the_routes_along(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        first = room.add(attach(a, ROUTED))
        assert room.add(attach(a, ROUTED)) == first
        assert {one["dst"] for one in ip("route")} == {"10.88.0.2"}
        room.delete(detach(a, ROUTED))
        assert set(links()) == {"lo"}
        assert ip("route") == []


def test_an_attachment_that_had_to_take_another_name_is_whole(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        taken = host(room.add(attach(a, ROUTED)))
        room.delete(detach(a, ROUTED))
        run("ip", "link", "add", taken, "type", "bridge")
        result = room.add(attach(a, ROUTED))
        assert host(result) != taken
        assert room.add(attach(a, ROUTED)) == result
        assert room.repair(ROUTED) == Repaired()
        with serving(None, 81):
            assert dial(a, "10.88.0.1", 81) == addresses(result)[0].partition("/")[0]
        room.delete(detach(a, ROUTED))
        run("ip", "link", "delete", taken)
