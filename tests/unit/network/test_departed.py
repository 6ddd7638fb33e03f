"""Who is gone is kept for a while, with the reason, and the oldest make room."""

import ipaddress
from pathlib import Path

import pytest

from ringbolt.network.attachment import ContainerId, InterfaceName, Key, Pod
from ringbolt.network.leases import Leases, Netns, Request
from ringbolt.network.ledger import Ledger
from ringbolt.network.record import Record
from ringbolt.network.settings import Mode, NetworkName, Range

NETWORK = NetworkName("pods")
SETS = ((Range(ipaddress.ip_network("10.1.0.0/16")),), (Range(ipaddress.ip_network("fd::/64")),))
NOTE = Record(Pod("shop", "web", "u"), "/run/netns/a", Mode.BRIDGE, "rb0").to_json()


@pytest.fixture
def leases(tmp_path: Path) -> Leases:
    return Leases(Ledger(tmp_path, lambda: "boot"), lambda: 5.0)


def give_and_take(leases: Leases, name: str, why: str) -> None:
    key = Key(ContainerId(name), InterfaceName("eth0"))
    request = Request(NETWORK, key, Netns(4, 5), SETS, note=NOTE)
    leases.release(leases.acquire(request).lease, why=why)


def test_what_is_told_is_what_was_released(leases: Leases) -> None:
    give_and_take(leases, "a", "its link is gone")
    (one,) = leases.departed()
    assert (one.network, one.key.container_id, one.pod.name) == (NETWORK, "a", "web")
    assert (one.addresses, one.gone, one.why) == (("10.1.0.2", "fd::2"), 5.0, "its link is gone")


def test_the_oldest_make_room(leases: Leases) -> None:
    for number in range(300):
        give_and_take(leases, f"c{number}", "")
    names = [one.key.container_id for one in leases.departed()]
    assert names == [f"c{number}" for number in range(299, 299 - 256, -1)]
