"""Bounds on a pod's bandwidth, on the real kernel."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ringbolt.network.attachment import Attached, Bandwidth
from ringbolt.network.names import ifb_name
from tests.kernel.network_lab import (
    SETTINGS,
    attach,
    detach,
    dial,
    host,
    links,
    network,
    pods,
    run,
    serving,
)

MEGABIT = 1_000_000
UNSET = (1 << 32) - 1
LIMITS = Bandwidth(80 * MEGABIT, UNSET, 8 * MEGABIT, UNSET)
IPV4 = replace(SETTINGS, ranges=SETTINGS.ranges[:1])


def _buckets(result: Attached) -> dict[str, dict[str, Any]]:
    found = json.loads(run("tc", "-j", "qdisc", "show"))
    names = {host(result), ifb_name(host(result))}
    return {
        one["dev"]: one["options"] for one in found if one["dev"] in names and "tbf" in one["kind"]
    }


def test_both_directions_are_bounded_on_the_node(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        result = room.add(attach(a, IPV4, bandwidth=LIMITS))
        found = _buckets(result)
        assert found[host(result)]["rate"] == 80 * MEGABIT // 8
        assert found[ifb_name(host(result))]["rate"] == 8 * MEGABIT // 8
        assert abs(found[host(result)]["burst"] - 500_000) < 1000
        assert abs(found[ifb_name(host(result))]["burst"] - 65536) < 1000
        with serving(None, 80):
            assert dial(a, "10.88.0.1", 80) == "10.88.0.2"


def test_the_same_call_keeps_the_bounds_and_detaching_takes_all_of_them(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        first = room.add(attach(a, IPV4, bandwidth=LIMITS))
        assert room.add(attach(a, IPV4, bandwidth=LIMITS)) == first
        assert len(_buckets(first)) == 2
        room.delete(detach(a, IPV4))
        assert set(links()) == {"lo", "rb0"}
