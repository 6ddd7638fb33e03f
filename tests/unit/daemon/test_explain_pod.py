"""What `ringbolt explain pod` finds by a name, and what it says where there is no such pod."""

import ipaddress
from dataclasses import replace

import pytest

from daemon import explain_pod, pods_report
from ringbolt.network.attachment import ContainerId, InterfaceName, Key, Pod
from ringbolt.network.departed import Departed
from ringbolt.network.inspection import Inspection
from ringbolt.network.leases import Cooling
from tests.unit.daemon.test_pods_report import GONE, NETWORK, RECORD, held

NAMELESS = replace(held(), record=replace(RECORD, pod=Pod()))
COOLING = Cooling(NETWORK, ipaddress.ip_address("10.1.0.9"), 112.4)
DEPARTED = Departed(
    NETWORK,
    Key(ContainerId("fedcba"), InterfaceName("eth0")),
    Pod("shop", "old-1", "7a3"),
    "rb9876543210",
    ("10.1.0.9",),
    88.0,
    "its link is gone",
)
FOUND = Inspection((held(GONE),), (COOLING,), (DEPARTED,), 100.0)


@pytest.mark.parametrize(
    "which",
    [
        *("web-1", "shop/web-1", "6f2", "0123456789abcdef", "0123", "10.1.0.2"),
        *("rb0123456789", "/run/netns/a"),
    ],
)
def test_a_pod_goes_by_many_names(which: str) -> None:
    assert explain_pod.find(FOUND, which) == list(FOUND.held)


@pytest.mark.parametrize("which", ["web", "012", "", "/", "other/web-1", "10.1.0.9", "eth0"])
def test_it_goes_by_no_other(which: str) -> None:
    assert explain_pod.find(FOUND, which) == []
    assert explain_pod.find(Inspection((NAMELESS,)), which) == []


def test_an_unknown_name_brings_names_like_it() -> None:
    lines = list(explain_pod.describe_unknown(FOUND, "shop/web-2"))
    assert lines[0].startswith("shop/web-2: no such pod, container or address")
    assert lines[1].startswith("  did you mean shop/web-1")


def test_an_address_that_cools_down_is_told() -> None:
    lines = list(explain_pod.describe_unknown(FOUND, "10.1.0.9"))
    assert "10.1.0.9 of pods was given back a moment ago" in lines[1]
    assert " for 12 s " in lines[1]


@pytest.mark.parametrize("which", ["old-1", "shop/old-1", "7a3", "fedcba", "10.1.0.9"])
def test_who_is_gone_is_told_with_the_reason(which: str) -> None:
    lines = list(explain_pod.describe_unknown(FOUND, which))
    told = "shop/old-1 (container fedcba, 10.1.0.9) went 12s ago: its link is gone"
    assert f"  {told}" in lines


def test_what_is_amiss_is_said_first_and_where_it_is() -> None:
    lines = list(explain_pod.describe(pods_report.explained(held(GONE))))
    assert lines[:2] == ["shop/web-1: differs", "  amiss: eth0 is gone"]
    at = lines.index("    link eth0 (missing): ")
    assert lines[at + 1] == "      amiss: eth0 is gone"
    assert "  host ports: 8080->80/tcp" in lines
