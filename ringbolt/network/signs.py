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


def read_signs(heard: Overheard, marks: Landmarks) -> Signs:
    """What was heard, as places to look at. Raises OSError (EBADMSG).

    Of a link only the last notice is decoded, and nothing that went with one: a storm of pods makes
    dozens for each of them.
    """
    last: dict[tuple[int, int | None], Message] = {}
    rest: list[tuple[int, Message]] = []
    for netnsid, message in heard.messages:
        if message.kind not in notices.LINKS:
            rest.append((netnsid, message))
        elif not message.body.startswith(_PORT):
            last[netnsid, notices.index_of(message)] = message
    links = {
        where: (link.glance(message.body), message.kind == link.RTM_DELLINK)
        for where, message in last.items()
    }
    leaving = {where for where, (one, gone) in links.items() if gone or one.group == DOOMED_GROUP}
    signs = Signs(node=heard.overflow)
    for (netnsid, _index), (one, gone) in links.items():
        signs |= _of_link(netnsid, one, marks, gone=gone)
    for netnsid, message in rest:
        if netnsid in signs.netnsids or (netnsid, notices.index_of(message)) in leaving:
            continue
        signs |= _of_rest(netnsid, message, marks)
    return signs


def _of_rest(netnsid: int, message: Message, marks: Landmarks) -> Signs:
    if netnsid != NO_NETNSID:
        return Signs(netnsids=frozenset([netnsid]))
    notice = notices.decode(message)
    if notice is None or not notice.gone or isinstance(notice.value, Link):
        return Signs()
    return _of_loss(notice.value, marks)


def _of_link(netnsid: int, one: Link, marks: Landmarks, *, gone: bool) -> Signs:
    """A pod's link with a hardware address of somebody's choice: the node is to know it by that."""
    if netnsid != NO_NETNSID:
        is_chosen = one.mac and not one.mac.startswith(POD_PREFIX)
        is_lost = one.index != link.LOOPBACK and (gone or not one.up or is_chosen)
        return Signs(netnsids=frozenset([netnsid])) if is_lost else Signs()
    named = one.name in marks.bridges or is_host_name(one.name) or is_ifb_name(one.name)
    ours = named or one.mac.startswith(NODE_PREFIX)  # it may have been renamed once it was down
    is_lost = ours and one.group != DOOMED_GROUP and (gone or not one.up)
    known = marks.uplinks.get(one.index)
    return Signs(node=is_lost or (known is not None and (gone or known != one.mtu)))


def _of_loss(value: Address | Route | Neighbour, marks: Landmarks) -> Signs:
    if isinstance(value, Neighbour):
        is_ours = any(value.address in one for one in marks.subnets)
        return Signs(addresses=frozenset([value.address])) if is_ours else Signs()
    if isinstance(value, Address):
        return Signs(node=any(value.interface.ip in one for one in marks.subnets))
    to = value.destination
    near = any(to.version == one.version and to.subnet_of(one) for one in marks.subnets)  # type: ignore[arg-type]
    return Signs(node=not to.prefixlen or near)
