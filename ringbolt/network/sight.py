"""Looks at the kernel once for all pods, and once into each of them. It judges nothing.

Dumps: for people, never on a pod's way. A pod is looked into by a socket in its namespace; no
thread that does anything else enters one.
"""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass

from ringbolt.linux import address, link, neighbour, qdisc, route
from ringbolt.linux.address import Address
from ringbolt.linux.link import Link, Port
from ringbolt.linux.netlink import Socket
from ringbolt.linux.nft import Nftables, NftError
from ringbolt.linux.qdisc import Qdisc
from ringbolt.linux.route import Route
from ringbolt.network import ruleset
from ringbolt.network.filter_sight import FilterSight, parse_table
from ringbolt.network.leases import NOWHERE, Lease
from ringbolt.network.record import Record
from ringbolt.network.recorded import open_namespace_of
from ringbolt.network.settings import IpAddress
from ringbolt.network.uplink import find_uplink_mtu

Neighbours = Mapping[tuple[int, IpAddress], str]
"""Permanent neighbours: (index of the link, address) to hardware address."""


@dataclass(frozen=True, slots=True)
class NodeSight:
    """The node's side. `ports` by the link's index; `filter` None: it cannot be read here."""

    links: Mapping[str, Link]
    ports: Mapping[int, Port]
    addresses: tuple[Address, ...]
    routes: tuple[Route, ...]
    neighbours: Neighbours
    qdiscs: tuple[Qdisc, ...]
    uplink_mtu: int
    filter: FilterSight | None
    lacks: tuple[str, ...] = ()

    def addresses_of(self, index: int) -> tuple[Address, ...]:
        """The addresses of one link."""
        return tuple(one for one in self.addresses if one.index == index)


@dataclass(frozen=True, slots=True)
class PodSight:
    """One pod's side, as far as its interface goes; `link` None: it has none of this name."""

    link: Link | None
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: Neighbours | None = None


def look_at_node(node: Socket, *, with_filter: bool) -> NodeSight:
    """One look. `with_filter`: somebody uses the packet filter. Raises OSError."""
    lacks: list[str] = []
    return NodeSight(
        links={one.name: one for one in link.list_links(node)},
        ports=link.list_ports(node),
        addresses=tuple(address.list_addresses(node)),
        routes=tuple(route.list_routes(node)),
        neighbours=_permanent(node),
        qdiscs=tuple(qdisc.list_qdiscs(node)),
        uplink_mtu=find_uplink_mtu(node),
        filter=_look_at_filter(lacks) if with_filter else FilterSight(),
        lacks=tuple(lacks),
    )


def look_into_pod(lease: Lease, record: Record) -> PodSight | str:
    """What is inside, or in words why that cannot be seen."""
    if lease.netns == NOWHERE:
        return "nobody told its namespace"
    try:
        fd = open_namespace_of(lease, record)
    except OSError as error:
        return str(error)
    if fd is None:
        return f"{record.netns_path or 'no path'} does not lead to it"
    try:
        with Socket(netns=fd) as pod:
            return _look_inside(pod, lease.key.ifname)
    except OSError as error:
        return f"{record.netns_path} cannot be looked into: {error}"
    finally:
        os.close(fd)


def _look_inside(pod: Socket, ifname: str) -> PodSight:
    found = link.find(pod, ifname)
    if found is None:
        return PodSight(None)
    routes = route.list_routes(pod, table=0)
    return PodSight(
        found,
        tuple(address.list_addresses(pod, found.index)),
        tuple(one for one in routes if one.index == found.index and one.kind == route.RTN_UNICAST),
        _permanent(pod, found.index),
    )


def _permanent(socket: Socket, index: int = 0) -> Neighbours:
    return {
        (one.index, one.address): one.mac
        for one in neighbour.list_neighbours(socket, index)
        if one.state == neighbour.NUD_PERMANENT
    }


def _look_at_filter(lacks: list[str]) -> FilterSight | None:
    """The table; an empty sight where there is none."""
    try:
        with Nftables() as nft:
            return parse_table(nft.run(f"list table {ruleset.TABLE}\n"))
    except NftError as error:
        if error.errno == errno.ENOENT:
            return FilterSight()
        lacks.append(f"the packet filter cannot be read: {error}")
    except OSError as error:
        lacks.append(f"the packet filter cannot be read: {error.strerror}")
    return None
