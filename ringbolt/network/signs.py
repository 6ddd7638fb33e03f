"""Which of the kernel's notices mean that something of ours may be broken. Pure.

Attaching and detaching make notices too, so what counts of a link is how it is in the end, and what
went with a link that was deleted or is marked for it counts for nothing: on either side of a pair,
and at the bridge.
"""

from collections.abc import Mapping, Sequence
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
    doomed: set[int] = field(default_factory=set[int])
    departed: set[bytes] = field(default_factory=set[bytes])

    def take_links(self, links: Mapping[_Where, Sequence[Message]]) -> None:
        """What was told of each link. The node's first: they tell which pods' go with them."""
        for (netnsid, index), told in links.items():
            if netnsid == NO_NETNSID:
                self._take_own_link(index, told[-1])
        for where, told in links.items():
            if where[0] != NO_NETNSID:
                self._take_pods_link(where, told)

    def take_losses(self, rest: Sequence[tuple[int, Message]]) -> None:
        """What was lost of addresses, routes and neighbours. Pods' first, as above."""
        for netnsid, message in rest:
            if netnsid != NO_NETNSID:
                self._take_pods_loss(netnsid, message)
        for netnsid, message in rest:
            if netnsid == NO_NETNSID:
                self._take_own_loss(message)

    def _take_own_link(self, index: int | None, message: Message) -> None:
        """The last that was told of a link of the node's."""
        gone = message.kind == link.RTM_DELLINK
        one = link.glance(message.body)
        known = self.marks.uplinks.get(one.index)
        self.node |= known is not None and (gone or known != one.mtu)
        if one.group == DOOMED_GROUP:
            self.doomed.add(one.index)
        elif gone or not one.up:
            self.node |= self._is_ours(one.name, message)
        if gone or one.group == DOOMED_GROUP:
            self.leaving.add((NO_NETNSID, index))

    def _take_pods_link(self, where: _Where, told: Sequence[Message]) -> None:
        """What was told of a pod's link. One that was deleted knows its other end no more."""
        netnsid, index = where
        gone = told[-1].kind == link.RTM_DELLINK
        if index != link.LOOPBACK and (gone or _is_pod_harmed(told[-1])):
            before = [one for one in told if one.kind == link.RTM_NEWLINK]
            if not self.doomed or not before or link.peer_of(before[-1].body) not in self.doomed:
                self.netnsids.add(netnsid)
            gone = True
        if gone:
            self.leaving.add(where)

    def _is_ours(self, name: str, message: Message) -> bool:
        """By its name; by its hardware address where it was renamed once it was down."""
        if name in self.marks.bridges or is_host_name(name) or is_ifb_name(name):
            return True
        return link.mac_of(message.body).startswith(NODE_PREFIX)

    def _take_pods_loss(self, netnsid: int, message: Message) -> None:
        """What a pod lost of addresses, routes or neighbours."""
        if netnsid in self.netnsids:
            return
        if (netnsid, notices.index_of(message)) not in self.leaving:
            self.netnsids.add(netnsid)
        elif message.kind == address.RTM_DELADDR:
            self.departed.add(notices.address_of(message))

    def _take_own_loss(self, message: Message) -> None:
        """What the node lost of addresses, routes or neighbours."""
        if (NO_NETNSID, notices.index_of(message)) in self.leaving:
            return
        is_neighbour = message.kind == neighbour.RTM_DELNEIGH
        if is_neighbour and notices.address_of(message) in self.departed:
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

    Of a link only what decides is decoded, and little that went with one: a storm of pods makes
    many for each of them. A pod that we detach leads nowhere, with all that it had.
    """
    links: dict[_Where, list[Message]] = {}
    rest: list[tuple[int, Message]] = []
    for told in heard.messages:
        netnsid, message = told
        if message.kind not in notices.LINKS:
            rest.append(told)
        elif not message.body.startswith(_PORT):
            links.setdefault((netnsid, notices.index_of(message)), []).append(message)
    found = _Found(marks, heard.overflow)
    found.take_links(links)
    found.take_losses(rest)
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
