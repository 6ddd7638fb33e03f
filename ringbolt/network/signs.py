"""Which of the kernel's notices mean that something of ours may be broken. Pure.

Attaching and detaching make notices too, so what counts of a link is how it is in the end, and what
went with a link that was deleted or is marked for it counts for nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ringbolt.linux import address, link, neighbour, notices, route
from ringbolt.linux.address import Address
from ringbolt.linux.link import NO_NETNSID, Link
from ringbolt.linux.messages import Message
from ringbolt.linux.neighbour import Neighbour
from ringbolt.linux.overhearing import Overheard
from ringbolt.linux.route import Route
from ringbolt.network.names import is_host_name, is_ifb_name
from ringbolt.network.plan import NODE_PREFIX, POD_PREFIX
from ringbolt.network.settings import IpAddress, IpNetwork
from ringbolt.network.wiring import DOOMED_GROUP

GROUPS: Final = (
    notices.RTNLGRP_LINK,
    notices.RTNLGRP_NEIGH,
    notices.RTNLGRP_IPV4_IFADDR,
    notices.RTNLGRP_IPV4_ROUTE,
    notices.RTNLGRP_IPV6_IFADDR,
    notices.RTNLGRP_IPV6_ROUTE,
)
KINDS: Final = (
    link.RTM_NEWLINK,
    link.RTM_DELLINK,
    address.RTM_DELADDR,
    route.RTM_DELROUTE,
    neighbour.RTM_DELNEIGH,
)
"""What is added by others is nobody's harm, and a pod's start adds much."""

_Where = tuple[int, int | None]
"""A link's namespace and index."""
_PORT = b"\x07"
"""AF_BRIDGE: a bridge tells of its ports by messages of links, which stay."""


@dataclass(frozen=True, slots=True)
class Landmarks:
    """What of the node the networks stand on; `uplinks` are MTUs by index.

    `link_local`: something of a network may be link-local or multicast.
    """

    bridges: frozenset[str] = frozenset()
    subnets: tuple[IpNetwork, ...] = ()
    uplinks: Mapping[int, int] = field(default_factory=dict[int, int])
    link_local: bool = True


@dataclass(frozen=True, slots=True)
class Signs:
    """Where to look: at everything; at the filter; at holders of addresses; into namespaces."""

    node: bool = False
    filter: bool = False
    addresses: frozenset[IpAddress] = frozenset()
    netnsids: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return self.node or self.filter or bool(self.addresses) or bool(self.netnsids)

    def __or__(self, other: "Signs") -> "Signs":
        return Signs(
            self.node or other.node,
            self.filter or other.filter,
            self.addresses | other.addresses,
            self.netnsids | other.netnsids,
        )


@dataclass(slots=True)
class _Found:
    """Signs, as they come."""

    marks: Landmarks
    node: bool
    addresses: set[IpAddress] = field(default_factory=set[IpAddress])
    netnsids: set[int] = field(default_factory=set[int])
    leaving: set[_Where] = field(default_factory=set[_Where])

    def take_link(self, where: _Where, message: Message) -> None:
        """The last that was told of a link."""
        netnsid, index = where
        gone = message.kind == link.RTM_DELLINK
        if netnsid == NO_NETNSID:
            gone = self._take_own_link(message, gone=gone)
        elif index != link.LOOPBACK and (gone or _is_pod_harmed(message)):
            self.netnsids.add(netnsid)
        if gone:
            self.leaving.add(where)

    def _take_own_link(self, message: Message, *, gone: bool) -> bool:
        """A link of the node's; whether it goes."""
        one = link.glance(message.body)
        known = self.marks.uplinks.get(one.index)
        self.node |= known is not None and (gone or known != one.mtu)
        if one.group == DOOMED_GROUP:
            return True
        self.node |= (gone or not one.up) and self._is_ours(one.name, message)
        return gone

    def _is_ours(self, name: str, message: Message) -> bool:
        """By its name; by its hardware address where it was renamed once it was down."""
        if name in self.marks.bridges or is_host_name(name) or is_ifb_name(name):
            return True
        return link.mac_of(message.body).startswith(NODE_PREFIX)

    def take_rest(self, netnsid: int, message: Message) -> None:
        """What was told of an address, route or neighbour."""
        if netnsid in self.netnsids or (netnsid, notices.index_of(message)) in self.leaving:
            return
        if netnsid != NO_NETNSID:
            self.netnsids.add(netnsid)
            return
        notice = notices.decode(message)
        if notice is None or not notice.gone or isinstance(notice.value, Link):
            return
        if not isinstance(notice.value, Neighbour):
            self.node |= _is_loss(notice.value, self.marks)
        elif any(notice.value.address in one for one in self.marks.subnets):
            self.addresses.add(notice.value.address)


def read_signs(heard: Overheard, marks: Landmarks) -> Signs:
    """What was heard, as places to look at. Raises OSError (EBADMSG).

    Of a link only the last notice is decoded, and nothing that went with one: a storm of pods makes
    dozens for each of them.
    """
    last: dict[_Where, Message] = {}
    rest: list[tuple[int, Message]] = []
    for told in heard.messages:
        netnsid, message = told
        if message.kind not in notices.LINKS:
            rest.append(told)
        elif not message.body.startswith(_PORT):
            last[netnsid, notices.index_of(message)] = message
    found = _Found(marks, heard.overflow)
    for where, message in last.items():
        found.take_link(where, message)
    for netnsid, message in rest:
        found.take_rest(netnsid, message)
    addresses, netnsids = frozenset(found.addresses), frozenset(found.netnsids)
    return Signs(found.node, addresses=addresses, netnsids=netnsids)


def _is_pod_harmed(message: Message) -> bool:
    """A pod's link is down, or has an address of somebody's choice, which the node is to know."""
    if not notices.is_up(message):
        return True
    mac = link.mac_of(message.body)
    return bool(mac) and not mac.startswith(POD_PREFIX)


def _is_loss(value: Address | Route, marks: Landmarks) -> bool:
    if isinstance(value, Address):
        return any(value.interface.ip in one for one in marks.subnets)
    to = value.destination
    near = any(to.version == one.version and to.subnet_of(one) for one in marks.subnets)  # type: ignore[arg-type]
    return not to.prefixlen or near
