"""One socket hears this namespace and those whose pairs end here; unasked kinds wake nobody."""

import select
import socket

import pytest

from ringbolt.linux import address, link, netlink
from ringbolt.linux.link import NO_NETNSID
from ringbolt.linux.notices import RTNLGRP_NEIGH
from ringbolt.linux.overhearing import Overhearer
from ringbolt.network.signs import GROUPS, KINDS
from tests.kernel.network_lab import pods, run

pytestmark = pytest.mark.root


def test_a_pod_is_heard_by_the_number_that_its_pair_shows() -> None:
    with pods("a") as (a,), Overhearer(GROUPS, KINDS) as ears, netlink.Socket() as node:
        run("ip", "link", "add", "veth7", "type", "veth", "peer", "name", "eth0", "netns", a.path)
        end = link.find(node, "veth7")
        assert end is not None
        a.run("ip", "address", "add", "10.0.0.2/24", "dev", "eth0")
        ears.read()
        a.run("ip", "address", "delete", "10.0.0.2/24", "dev", "eth0")
        heard = ears.read().messages
        assert (end.netnsid, address.RTM_DELADDR) in [(where, one.kind) for where, one in heard]
        assert end.netnsid != NO_NETNSID
        run("ip", "link", "delete", "veth7")


def test_what_was_not_asked_for_wakes_nobody() -> None:
    with Overhearer(GROUPS, KINDS) as ears:
        run("ip", "address", "add", "10.0.0.2/24", "dev", "lo")
        run("ip", "route", "add", "10.9.0.0/24", "dev", "lo")
        assert select.select([ears], [], [], 0) == ([], [], [])
        run("ip", "route", "delete", "10.9.0.0/24", "dev", "lo")
        assert select.select([ears], [], [], 0) == ([ears], [], [])


def test_what_a_bridge_repeats_of_its_ports_wakes_nobody() -> None:
    with Overhearer([RTNLGRP_NEIGH], KINDS) as ears:
        run("ip", "link", "add", "br7", "type", "bridge")
        run("bridge", "fdb", "add", "02:00:00:00:00:01", "dev", "br7", "self")
        run("bridge", "fdb", "delete", "02:00:00:00:00:01", "dev", "br7", "self")
        heard = [one.body[0] for _, one in ears.read().messages]
        assert socket.AF_BRIDGE not in heard
        run("ip", "link", "delete", "br7")
