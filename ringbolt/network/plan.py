"""What an attachment shall be, decided before anything is touched. Pure.

Names, hardware addresses, routes and the result follow from the request and its lease; so a plan
made twice is the same plan, and what is there can be compared with it.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2s

from ringbolt.network import pool
from ringbolt.network.attachment import (
    Attach,
    Attached,
    Bandwidth,
    Interface,
    PodAddress,
    PortMapping,
)
from ringbolt.network.leases import Lease
from ringbolt.network.settings import (
    Dns,
    IpAddress,
    IpNetwork,
    Mode,
    Range,
    RangeSet,
    Route,
    Settings,
)

DEFAULT_MTU = 1500
_SMALLEST_IPV6_MTU = 1280
_FEWEST_ADDRESSES = 2
POD_PREFIX = "0a:58"
"""Of the hardware addresses that pods get unasked."""
NODE_PREFIX = "0e:58"
"""Of those of node's ends and bridges."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One attachment.

    `mac` is of the pod's end, `node_mac` of the node's. `routes` have gateways wherever they lead
    beyond the link. `gateways` are those that the pod reaches directly, each at `gateway_mac`.
    """

    ifname: str
    host_name: str
    mac: str
    node_mac: str
    gateway_mac: str
    mtu: int
    alias: str
    netns_path: str
    mode: Mode
    bridge: str
    hairpin: bool
    isolated: bool
    addresses: tuple[PodAddress, ...]
    gateways: tuple[IpAddress, ...]
    routes: tuple[Route, ...]
    ports: tuple[PortMapping, ...]
    bandwidth: Bandwidth
    dns: Dns

    @property
    def versions(self) -> frozenset[int]:
        """The families in use: 4, 6."""
        return frozenset(one.address.version for one in self.addresses)

    @property
    def near(self) -> tuple[IpNetwork, ...]:
        """What the pod reaches without a gateway: its subnets, in mode ROUTED the gateways."""
        if self.mode is Mode.ROUTED:
            return tuple(pool.whole(one).network for one in self.gateways)
        subnets = dict.fromkeys(one.address.network for one in self.addresses)
        return tuple(one for one in subnets if one.prefixlen < one.max_prefixlen)


def plan_attachment(attach: Attach, lease: Lease, mtu: int, bridge_mac: str) -> Plan:
    """The plan for a leased request; `bridge_mac` is "" in mode ROUTED."""
    settings = attach.settings
    node_mac = mac_of_node_end(lease.host_name)
    addresses = plan_addresses(attach, lease)
    routes = plan_routes(attach, addresses)
    return Plan(
        ifname=attach.ifname,
        host_name=lease.host_name,
        mac=attach.mac or mac_of_pod([one.address.ip for one in addresses], lease.host_name),
        node_mac=node_mac,
        gateway_mac=bridge_mac or node_mac,
        mtu=settings.mtu or mtu,
        alias=f"{attach.pod.namespace}/{attach.pod.name}".strip("/"),
        netns_path=attach.netns_path,
        mode=settings.mode,
        bridge=settings.bridge,
        # Where bridged traffic passes the node's packet filter (br_netfilter), a pod that calls its
        # own host port is answered through the very port it called by.
        hairpin=settings.hairpin or bool(attach.port_mappings),
        isolated=settings.isolated,
        addresses=addresses,
        gateways=_gateways(settings, addresses, routes),
        routes=routes,
        ports=attach.port_mappings,
        bandwidth=attach.bandwidth,
        dns=attach.given.dns if attach.given else settings.dns,
    )


def settings_with(settings: Settings, given: Iterable[PodAddress]) -> Settings:
    """The settings with the subnets of another address management where they name no ranges.

    The bridge has its gateways too, and masquerading goes by its subnets.
    """
    if settings.ranges:
        return settings
    found: dict[IpNetwork, RangeSet] = {}
    for one in given:
        subnet = one.address.network
        if one.gateway or subnet.num_addresses > _FEWEST_ADDRESSES:
            found.setdefault(subnet, (Range(subnet, gateway=one.gateway),))
    return replace(settings, ranges=tuple(found.values()))


def plan_addresses(attach: Attach, lease: Lease) -> tuple[PodAddress, ...]:
    """The pod's addresses with prefixes: of the subnet, or of one address in mode ROUTED."""
    index = 2 if attach.settings.mode is Mode.BRIDGE else 1
    if attach.given:
        found = [(one.address, _gateway_of(one, attach)) for one in attach.given.addresses]
    else:
        sets = attach.settings.ranges
        found = [pool.interface_of(address, sets) for address in lease.addresses]
    if attach.settings.mode is Mode.ROUTED:
        found = [(pool.whole(one.ip), gateway) for one, gateway in found]
    return tuple(PodAddress(address, gateway, index) for address, gateway in found)


def _gateway_of(one: PodAddress, attach: Attach) -> IpAddress | None:
    """The given gateway, or the one that this node is then: the subnet's first address."""
    if one.gateway or not attach.settings.gateway:
        return one.gateway
    for ranges in settings_with(attach.settings, (one,)).ranges:
        return pool.gateway_of(ranges[0])
    return None


def plan_routes(attach: Attach, addresses: tuple[PodAddress, ...]) -> tuple[Route, ...]:
    """The asked routes of the pod's families, and a default route of each that has none."""
    gateways: dict[int, IpAddress | None] = {}
    for one in addresses:
        gateways.setdefault(one.address.version, one.gateway)
    asked = attach.given.routes if attach.given else attach.settings.routes
    routes = [
        _with_gateway(one, gateways[one.destination.version])
        for one in asked
        if one.destination.version in gateways
    ]
    if attach.settings.default_route:
        has = {one.destination for one in routes}
        defaults = [(default_of(version), gateway) for version, gateway in gateways.items()]
        routes += [Route(to, gateway) for to, gateway in defaults if gateway and to not in has]
    return tuple(routes)


@cache
def default_of(version: int) -> IpNetwork:
    """The network of everything."""
    return ipaddress.ip_network("0.0.0.0/0" if version == pool.IPV4 else "::/0")


def _with_gateway(route: Route, gateway: IpAddress | None) -> Route:
    if route.gateway or gateway is None or (route.scope or 0) > 0:
        return route
    return Route(
        route.destination,
        gateway,
        route.mtu,
        route.advmss,
        route.priority,
        route.table,
        route.scope,
    )


def _gateways(
    settings: Settings, addresses: tuple[PodAddress, ...], routes: tuple[Route, ...]
) -> tuple[IpAddress, ...]:
    """Gateways that are this node; those of a bridge without addresses are somebody else."""
    if settings.mode is Mode.BRIDGE and not settings.gateway:
        return ()
    used = {route.gateway for route in routes}
    known = [one.gateway for one in addresses if one.gateway]
    return tuple(one for one in dict.fromkeys(known) if one in used or settings.gateway)


def mac_of_pod(addresses: list[IpAddress], name: str) -> str:
    """A hardware address that is the same whenever the IP address is: no stale neighbours."""
    four = next((one for one in addresses if one.version == pool.IPV4), None)
    if four:
        return _mac(POD_PREFIX, four.packed)
    six = addresses[0].packed if addresses else name.encode()
    return _mac(POD_PREFIX, blake2s(six, digest_size=4).digest())


def mac_of_node_end(name: str) -> str:
    """The hardware address of a link on the node; fixed, so that udev does not change it."""
    return _mac(NODE_PREFIX, blake2s(name.encode(), digest_size=4).digest())


def _mac(prefix: str, rest: bytes) -> str:
    return f"{prefix}:{rest.hex(':')}"


def plan_result(plan: Plan, bridge_mtu: int) -> Attached:
    """What the caller is told: bridge (in its mode), node's end, pod's end, as the reference."""
    node = [Interface(plan.host_name, plan.node_mac, plan.mtu)]
    if plan.mode is Mode.BRIDGE:
        node.insert(0, Interface(plan.bridge, plan.gateway_mac, bridge_mtu))
    pod = Interface(plan.ifname, plan.mac, plan.mtu, plan.netns_path)
    return Attached((*node, pod), plan.addresses, plan.routes, plan.dns)


def check_mtu(mtu: int, versions: frozenset[int]) -> str:
    """Why this MTU does not do, "" where it does."""
    if mtu < _SMALLEST_IPV6_MTU and max(versions, default=0) > pool.IPV4:
        return f"IPv6 needs an MTU of {_SMALLEST_IPV6_MTU}, and this is {mtu}"
    return ""
