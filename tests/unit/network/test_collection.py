"""What is dead and what only looks so."""

import ipaddress
from dataclasses import replace

import pytest

from ringbolt.linux.link import Link
from ringbolt.network.attachment import ContainerId, InterfaceName, Key
from ringbolt.network.collection import GRACE_S, death_of, orphans_of
from ringbolt.network.leases import NOWHERE, AttachmentId, Lease, Netns
from ringbolt.network.names import host_name, ifb_name
from ringbolt.network.settings import NetworkName
from ringbolt.network.wiring import DOOMED_GROUP

NETWORK = NetworkName("pods")
KEY = Key(ContainerId("a"), InterfaceName("eth0"))
NAME = host_name(NETWORK, KEY, 0)
LEASE = Lease(
    AttachmentId(1), NETWORK, KEY, Netns(4, 7), NAME, 100.0, "", (ipaddress.ip_address("10.0.0.2"),)
)
LATER = LEASE.born + GRACE_S
THERE = {NAME: Link(5, NAME, master=3)}


@pytest.mark.parametrize(
    ("lease", "links", "valid", "now", "lives", "dead"),
    [
        (LEASE, THERE, None, LATER, False, False),
        (LEASE, {}, None, LATER, False, True),
        (LEASE, {}, None, LATER - 1, False, False),
        (LEASE, {NAME: Link(5, NAME, group=DOOMED_GROUP)}, None, LATER, False, True),
        (replace(LEASE, netns=NOWHERE), {}, None, LATER, False, False),
        (LEASE, THERE, frozenset[Key](), 100.0, False, True),
        (LEASE, {}, frozenset([KEY]), LATER, False, False),
        (LEASE, {}, None, LATER, True, False),
    ],
    ids=[
        "lives",
        "link gone",
        "being attached",
        "doomed",
        "unknown",
        "not valid",
        "valid",
        "link deleted",
    ],
)
def test_a_lease_is_dead_only_for_a_reason(  # all that it depends on
    lease: Lease,
    links: dict[str, Link],
    valid: frozenset[Key] | None,
    now: float,
    *,
    lives: bool,
    dead: bool,
) -> None:
    assert bool(death_of(lease, links, valid, now, lives=lambda _lease: lives)) is dead


def test_links_without_a_lease_are_spared_unless_the_runtime_told_which_pods_there_are() -> None:
    other = Link(6, host_name(NETWORK, Key(ContainerId("b"), KEY.ifname), 0), master=3)
    links = [*THERE.values(), other, replace(other, index=7, name="eth0")]
    assert orphans_of(NETWORK, links, [LEASE], None, bridge=3) == ()
    assert orphans_of(NETWORK, links, [LEASE], frozenset(), bridge=3) == (other.name,)
    assert orphans_of(NETWORK, links, [LEASE], frozenset(), bridge=9) == ()
    spared = frozenset([Key(ContainerId("b"), KEY.ifname)])
    assert orphans_of(NETWORK, links, [LEASE], spared, bridge=3) == ()


def test_an_ifb_without_its_pods_link_is_dead() -> None:
    alone = Link(8, ifb_name("rb0123456789"))
    links = [*THERE.values(), Link(9, ifb_name(NAME)), alone]
    assert orphans_of(NETWORK, links, [LEASE], None, bridge=3) == (alone.name,)
