"""What networks leave on a node goes when it is uninstalled, unless somebody uses it."""

from dataclasses import replace
from pathlib import Path

import pytest

from ringbolt.network.removal import remove_networks
from tests.kernel.network_lab import SETTINGS, attach, detach, links, network, pods, run

MASQUERADED = replace(SETTINGS, masquerade=True)


def test_bridge_and_table_go_when_no_pod_is_attached_and_come_back(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        room.add(attach(a, MASQUERADED))
        assert remove_networks(tmp_path) == ()
        room.delete(detach(a, MASQUERADED))
        assert remove_networks(tmp_path) == (
            "the bridge rb0",
            "the packet filter's table inet ringbolt",
        )
        assert "rb0" not in links()
        assert run("nft", "list", "tables") == ""
        assert remove_networks(tmp_path) == ()
        room.add(attach(a, MASQUERADED))
        room.status(MASQUERADED)


@pytest.mark.parametrize(
    "change",
    [
        "ip link set rb0 address 02:00:00:00:00:01",
        "ip link add other0 type veth peer name other1; ip link set other0 master rb0",
    ],
    ids=["not of our making", "has ports"],
)
def test_a_bridge_that_is_somebody_elses_stays(tmp_path: Path, change: str) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        room.add(attach(a))
        room.delete(detach(a))
        run("sh", "-c", change)
        assert remove_networks(tmp_path) == ()
        assert "rb0" in links()
        if "other0" in links():
            run("ip", "link", "delete", "other0")


def test_a_node_that_never_had_a_pod_is_left_alone(tmp_path: Path) -> None:
    assert remove_networks(tmp_path) == ()
    with network(tmp_path):
        assert remove_networks(tmp_path) == ()
