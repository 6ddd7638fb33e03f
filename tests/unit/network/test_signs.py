"""What of the kernel's notices is harm, and what is pods that come and go."""

import ipaddress
import struct
from dataclasses import replace

import pytest

from ringbolt.linux import address, link, neighbour, route
from ringbolt.linux import attributes as nla
from ringbolt.linux.link import IFF_UP, NO_NETNSID, Link
from ringbolt.linux.messages import Message
from ringbolt.linux.netlink import Heard
from ringbolt.linux.overhearing import Overheard
from ringbolt.network.filter_signs import read_filter_signs
from ringbolt.network.names import host_name
from ringbolt.network.notice_filter import has_link_local
from ringbolt.network.settings import NetworkName, Range, Route, Settings
from ringbolt.network.signs import Landmarks, Signs, read_signs
from ringbolt.network.wiring import DOOMED_GROUP
from tests.unit.network.test_values import KEY

NAME = host_name(NetworkName("pods"), KEY, 0)
SUBNET = ipaddress.ip_network("10.88.0.0/24")
POD = ipaddress.ip_address("10.88.0.2")
MARKS = Landmarks(frozenset({"rb0"}), (SUBNET,), {2: 1500})
NODE = Signs(node=True)
OURS = link.encode(Link(5, NAME, flags=IFF_UP, group=0))
LEAVING = link.encode(Link(5, NAME, flags=IFF_UP, group=DOOMED_GROUP))
HOST_ROUTE = route.encode(route.Route(ipaddress.ip_network("10.88.0.2/32"), 5))
LOST_ADDRESS = address.encode(address.Address(5, ipaddress.ip_interface("10.88.0.1/24")))


def _read(*told: tuple[int, int, bytes], overflow: bool = False) -> Signs:
    heard = tuple((netnsid, Message(kind, 0, 0, body)) for netnsid, kind, body in told)
    return read_signs(Overheard(heard, overflow), MARKS)


def _here(kind: int, body: bytes) -> tuple[int, int, bytes]:
    return (NO_NETNSID, kind, body)


@pytest.mark.parametrize(
    ("kind", "body", "signs"),
    [
        (link.RTM_DELLINK, OURS, NODE),
        (link.RTM_NEWLINK, OURS, Signs()),
        (link.RTM_NEWLINK, link.encode(Link(5, NAME)), NODE),
        (link.RTM_NEWLINK, link.encode(Link(5, "other", mac="0e:58:00:00:00:01")), NODE),
        (link.RTM_NEWLINK, link.encode(Link(5, "other", mac="02:00:00:00:00:01")), Signs()),
        (link.RTM_DELLINK, LEAVING, Signs()),
        (link.RTM_DELLINK, link.encode(Link(3, "rb0")), NODE),
        (link.RTM_DELLINK, link.encode(Link(3, "eth7")), Signs()),
        (link.RTM_NEWLINK, link.encode(Link(2, "eth0", flags=IFF_UP, mtu=1500)), Signs()),
        (link.RTM_NEWLINK, link.encode(Link(2, "eth0", flags=IFF_UP, mtu=1400)), NODE),
        (route.RTM_DELROUTE, HOST_ROUTE, NODE),
        (
            route.RTM_DELROUTE,
            route.encode(route.Route(ipaddress.ip_network("0.0.0.0/0"), 2)),
            NODE,
        ),
        (
            route.RTM_DELROUTE,
            route.encode(route.Route(ipaddress.ip_network("192.0.2.0/24"), 2)),
            Signs(),
        ),
        (address.RTM_DELADDR, LOST_ADDRESS, NODE),
        (
            neighbour.RTM_DELNEIGH,
            neighbour.encode(neighbour.Neighbour(3, POD)),
            Signs(addresses=frozenset([POD])),
        ),
    ],
)
def test_a_notice_is_harm_only_to_what_is_ours(kind: int, body: bytes, signs: Signs) -> None:
    assert _read(_here(kind, body)) == signs


def test_a_link_counts_as_it_is_in_the_end() -> None:
    born = link.encode(Link(5, NAME))
    assert _read(_here(link.RTM_NEWLINK, born), _here(link.RTM_NEWLINK, OURS)) == Signs()


def test_what_goes_with_a_link_that_is_deleted_is_no_harm() -> None:
    told = (_here(route.RTM_DELROUTE, HOST_ROUTE), _here(address.RTM_DELADDR, LOST_ADDRESS))
    assert _read(*told, _here(link.RTM_DELLINK, LEAVING)) == Signs()


def test_what_is_lost_in_a_pod_leads_to_that_pod() -> None:
    assert _read((7, route.RTM_DELROUTE, HOST_ROUTE)) == Signs(netnsids=frozenset([7]))
    assert _read((7, link.RTM_NEWLINK, OURS)) == Signs()


@pytest.mark.parametrize(("index", "netnsids"), [(2, [7]), (link.LOOPBACK, [])])
@pytest.mark.parametrize("kind", [link.RTM_NEWLINK, link.RTM_DELLINK])
def test_a_link_that_is_down_in_a_pod_leads_to_that_pod_but_its_loopback(
    kind: int, index: int, netnsids: list[int]
) -> None:
    told = link.encode(Link(index, "eth0", mac="0a:58:0a:58:00:02"))
    assert _read((7, kind, told)) == Signs(netnsids=frozenset(netnsids))


@pytest.mark.parametrize(
    ("mac", "netnsids"), [("02:00:00:00:00:05", [7]), ("0a:58:0a:58:00:02", [])]
)
def test_a_mac_of_somebodys_choice_leads_to_that_pod(mac: str, netnsids: list[int]) -> None:
    told = link.encode(Link(5, "eth0", "veth", IFF_UP, mac))
    assert _read((7, link.RTM_NEWLINK, told)) == Signs(netnsids=frozenset(netnsids))


def test_lost_notices_are_a_reason_to_look_everywhere() -> None:
    assert _read(overflow=True) == NODE
    assert read_filter_signs(Heard((), overflow=True)) == Signs(filter=True)


@pytest.mark.parametrize(
    ("number", "table", "hook", "is_harm"),
    [
        (2, "ringbolt", False, True),
        (2, "filter", False, False),
        (14, "ringbolt", False, True),
        (3, "filter", True, True),
        (3, "filter", False, False),
        (3, "ringbolt", True, False),
        (12, "ringbolt", False, False),
    ],
)
def test_of_tables_only_ours_and_chains_that_may_drop_count(
    number: int, table: str, *, hook: bool, is_harm: bool
) -> None:
    body = struct.pack("!BBH", 1, 0, 0) + nla.text(1, table)
    body += nla.nested(4, nla.u32(1, 0)) if hook else b""
    heard = Heard((Message(10 << 8 | number, 0, 0, body),), overflow=False)
    assert bool(read_filter_signs(heard)) is is_harm


IN_USE = Settings(NetworkName("pods"), ((Range(SUBNET),),))
GLOBAL, NEAR = ipaddress.ip_address("fd00:88::1"), ipaddress.ip_address("fe80::1")
BEYOND = ipaddress.ip_network("fd01::/16")


@pytest.mark.parametrize(
    ("settings", "is_so"),
    [
        (IN_USE, False),
        (replace(IN_USE, ranges=((Range(ipaddress.ip_network("fd00:88::/64")),),)), False),
        (replace(IN_USE, ranges=((Range(ipaddress.ip_network("fe80:0:0:8::/64")),),)), True),
        (replace(IN_USE, ranges=()), True),
        (replace(IN_USE, routes=(Route(BEYOND, GLOBAL),)), False),
        (replace(IN_USE, routes=(Route(BEYOND, NEAR),)), True),
        (replace(IN_USE, routes=(Route(ipaddress.ip_network("::/0")),)), False),
        (replace(IN_USE, routes=(Route(ipaddress.ip_network("fe00::/7")),)), True),
    ],
)
def test_a_network_says_whether_something_of_it_is_link_local(
    settings: Settings, *, is_so: bool
) -> None:
    assert has_link_local(settings) is is_so
