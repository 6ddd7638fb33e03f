"""Addresses, routes and neighbours against the real kernel; `ip -j` tells what came of it."""

import errno
from collections.abc import Iterator
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

import pytest

from ringbolt.linux import address, link, neighbour, netlink, route
from ringbolt.linux.address import IFA_F_NODAD, IFA_F_PERMANENT, IFA_F_TENTATIVE, Address
from ringbolt.linux.link import Change, End
from ringbolt.linux.neighbour import Neighbour
from ringbolt.linux.route import Route
from tests.kernel.netlab import add_pair, namespace, refusal, show

V4, V6 = IPv4Interface("10.244.0.2/24"), IPv6Interface("fd00:10:244::2/64")
GATEWAY = IPv4Address("169.254.1.1")
MAC = "0a:58:0a:f4:00:01"


@pytest.fixture
def netns() -> Iterator[int]:
    with namespace() as fd:
        yield fd


@pytest.fixture
def pod(netns: int) -> Iterator[netlink.Socket]:
    with netlink.Socket(netns=netns) as socket:
        yield socket


@pytest.fixture
def eth0(pod: netlink.Socket, netns: int) -> int:
    """The index of a pod's link that is up and has carrier."""
    with netlink.Socket() as host:
        index = add_pair(host, End("cali1"), End("eth0", netns_fd=netns)).peer
    pod.request(
        [link.set_link(link.LOOPBACK, Change(up=True)), link.set_link(index, Change(up=True))]
    )
    return index


def test_addresses_are_usable_at_once(pod: netlink.Socket, netns: int, eth0: int) -> None:
    pod.request(
        [
            address.new_address(Address(eth0, V4)),
            address.new_address(Address(eth0, V6, IFA_F_NODAD)),
        ]
    )
    shown = show("ip", "-j", "addr", "show", "dev", "eth0", netns=netns)[0]["addr_info"]
    ours = {one["local"]: one for one in shown if one["scope"] == "global"}
    assert {ip: one["prefixlen"] for ip, one in ours.items()} == {
        "10.244.0.2": 24,
        "fd00:10:244::2": 64,
    }
    assert "tentative" not in ours["fd00:10:244::2"]
    listed = {one.interface: one for one in address.list_addresses(pod, eth0)}
    assert listed[V4] == Address(eth0, V4, IFA_F_PERMANENT)
    assert listed[V6].flags == IFA_F_PERMANENT | IFA_F_NODAD
    assert all(one.index == eth0 for one in listed.values())
    assert len(address.list_addresses(pod)) == len(listed) + 2


def test_an_address_that_the_kernel_tries_first_is_tentative(
    pod: netlink.Socket, eth0: int
) -> None:
    pod.request([address.new_address(Address(eth0, V6))])
    listed = {one.interface: one.flags for one in address.list_addresses(pod, eth0)}
    assert listed[V6] & IFA_F_TENTATIVE


def test_an_address_is_added_once_and_taken_away(pod: netlink.Socket, eth0: int) -> None:
    one = Address(eth0, V4)
    pod.request([address.new_address(one)])
    with refusal(errno.EEXIST, f"RTM_NEWADDR 10.244.0.2/24 index {eth0} -> EEXIST"):
        pod.request([address.new_address(one)])
    pod.request([address.new_address(one, replace=True), address.delete_address(one)])
    with refusal(errno.EADDRNOTAVAIL, "RTM_DELADDR 10.244.0.2/24"):
        pod.request([address.delete_address(one)])


def test_a_route_carries_every_attribute(pod: netlink.Socket, netns: int, eth0: int) -> None:
    wanted = Route(
        IPv4Network("192.0.2.0/24"),
        eth0,
        GATEWAY,
        on_link=True,
        source=V4.ip,
        mtu=1300,
        advmss=1260,
        priority=77,
        table=1000,
    )
    pod.request([address.new_address(Address(eth0, V4)), route.new_route(wanted)])
    (shown,) = show("ip", "-j", "route", "show", "table", "1000", netns=netns)
    assert (shown["dst"], shown["gateway"], shown["dev"]) == (
        "192.0.2.0/24",
        "169.254.1.1",
        "eth0",
    )
    assert (shown["prefsrc"], shown["metric"], shown["flags"]) == ("10.244.0.2", 77, ["onlink"])
    assert shown["metrics"] == [{"mtu": 1300, "advmss": 1260}]
    (listed,) = route.list_routes(pod, table=1000)
    assert listed == Route(
        **{name: getattr(wanted, name) for name in Route.__slots__} | {"scope": 0}
    )


def test_a_routed_pod_reaches_its_gateway_without_a_subnet(
    pod: netlink.Socket, netns: int, eth0: int
) -> None:
    gateway6 = IPv6Address("fe80::1")
    pod.request(
        [
            address.new_address(Address(eth0, IPv4Interface("10.244.0.2/32"))),
            address.new_address(Address(eth0, IPv6Interface("fd00::2/128"), IFA_F_NODAD)),
            route.new_route(Route(IPv4Network("169.254.1.1/32"), eth0)),
            route.new_route(Route(IPv4Network("0.0.0.0/0"), eth0, GATEWAY)),
            route.new_route(Route(IPv6Network("::/0"), eth0, gateway6, on_link=True)),
            neighbour.new_neighbour(Neighbour(eth0, GATEWAY, MAC)),
            neighbour.new_neighbour(Neighbour(eth0, gateway6, MAC)),
        ]
    )
    four = {one["dst"]: one for one in show("ip", "-j", "route", netns=netns)}
    assert four["169.254.1.1"]["scope"] == "link"
    assert four["default"]["gateway"] == "169.254.1.1"
    six = {one["dst"]: one for one in show("ip", "-j", "-6", "route", netns=netns)}
    assert six["default"]["gateway"] == "fe80::1"
    known = {one["dst"]: one for one in show("ip", "-j", "neigh", netns=netns)}
    assert {(one["lladdr"], *one["state"]) for one in known.values()} == {(MAC, "PERMANENT")}
    assert set(known) == {"169.254.1.1", "fe80::1"}


def test_a_gateway_that_nothing_leads_to_is_refused_in_the_kernels_words(
    pod: netlink.Socket, eth0: int
) -> None:
    wanted = Route(IPv4Network("0.0.0.0/0"), eth0, GATEWAY)
    words = f"RTM_NEWROUTE 0.0.0.0/0 via 169.254.1.1 index {eth0} -> ENETUNREACH: Nexthop has"
    with refusal(errno.ENETUNREACH, words):
        pod.request([route.new_route(wanted)])


def test_routes_are_listed_by_table_and_family(pod: netlink.Socket, eth0: int) -> None:
    hole = Route(IPv4Network("10.9.0.0/16"), kind=route.RTN_BLACKHOLE)
    pod.request(
        [
            address.new_address(Address(eth0, V4)),
            address.new_address(Address(eth0, V6, IFA_F_NODAD)),
            route.new_route(hole),
        ]
    )
    four = {one.destination for one in route.list_routes(pod, family=2)}
    assert four == {V4.network, hole.destination}
    six = {one.destination for one in route.list_routes(pod, family=10)}
    assert V6.network in six
    assert four | six == {one.destination for one in route.list_routes(pod)}
    assert len(route.list_routes(pod, table=0)) > len(four | six)
    pod.request([route.delete_route(hole)])
    with refusal(errno.ESRCH, "RTM_DELROUTE 10.9.0.0/16 -> ESRCH"):
        pod.request([route.delete_route(hole)])


def test_a_replaced_route_leaves_one(pod: netlink.Socket, eth0: int) -> None:
    destination = IPv4Network("192.0.2.0/24")
    old = Route(destination, eth0, mtu=1300)
    pod.request([route.new_route(old)])
    pod.request([route.new_route(Route(destination, eth0, mtu=1200), replace=True)])
    assert [one.mtu for one in route.list_routes(pod) if one.destination == destination] == [1200]


def test_a_neighbour_is_replaced_and_forgotten(pod: netlink.Socket, eth0: int) -> None:
    def ours() -> list[Neighbour]:  # the kernel adds IPv6 ones of its own when it pleases
        known = neighbour.list_neighbours(pod, eth0)
        return [one for one in known if one.address.version == V4.version]

    first = Neighbour(eth0, V4.ip, "0a:58:00:00:00:01")
    pod.request([neighbour.new_neighbour(first)])
    with refusal(errno.EEXIST, f"RTM_NEWNEIGH 10.244.0.2 index {eth0} -> EEXIST"):
        pod.request([neighbour.new_neighbour(first, replace=False)])
    second = Neighbour(eth0, V4.ip, MAC)
    pod.request([neighbour.new_neighbour(second)])
    assert ours() == [second]
    assert second in neighbour.list_neighbours(pod)
    pod.request([neighbour.delete_neighbour(second)])
    assert ours() == []
    with refusal(errno.ENOENT, "RTM_DELNEIGH 10.244.0.2"):
        pod.request([neighbour.delete_neighbour(second)])
