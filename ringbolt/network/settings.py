"""How a network is set up, as values: what an operator decides, the same for all its pods.

Defaults stand here and only here. Values only: neither policy nor effects enter.
"""

import enum
import ipaddress
from dataclasses import dataclass
from typing import NewType

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

NetworkName = NewType("NetworkName", str)
"""Names a network on this node: leases of different networks never meet."""

COOL_DOWN_S = 30.0
"""As long as connections and neighbour entries of others outlive a pod."""


class Mode(enum.Enum):
    """How pods are joined to the node."""

    BRIDGE = "bridge"
    ROUTED = "routed"


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses of one subnet. None: `first` and `last` are the subnet's, `gateway` its first."""

    subnet: IpNetwork
    first: IpAddress | None = None
    last: IpAddress | None = None
    gateway: IpAddress | None = None


RangeSet = tuple[Range, ...]
"""Ranges of one family, in the order in which they are used; a pod gets one address of each set."""


@dataclass(frozen=True, slots=True)
class Route:
    """A route inside the pod; without `gateway` it leads to the gateway of the pod's address.

    `mtu` and `advmss` in bytes, `scope` as in rtnetlink(7); None leaves it to the kernel.
    """

    destination: IpNetwork
    gateway: IpAddress | None = None
    mtu: int | None = None
    advmss: int | None = None
    priority: int | None = None
    table: int | None = None
    scope: int | None = None


@dataclass(frozen=True, slots=True)
class Dns:
    """Resolver settings; the room only hands them through."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


NO_DNS = Dns()


@dataclass(frozen=True, slots=True)
class Settings:
    """One network.

    `bridge` is the bridge's name (mode BRIDGE only). `gateway`: the bridge has the ranges' gateway
    addresses and the node forwards. `default_route`: pods get one per family. `mtu` None follows
    the uplink. `reserved` addresses are never given unasked. `masquerade`: what pods send
    elsewhere than to this network and `masquerade_exempt` leaves with the node's address.
    `isolated`: pods reach the node and the outside, not each other. `open_forward`: put an accept
    in front of a foreign table that drops what the node forwards.
    """

    name: NetworkName
    ranges: tuple[RangeSet, ...] = ()
    mode: Mode = Mode.BRIDGE
    bridge: str = "ringbolt0"
    gateway: bool = True
    default_route: bool = True
    force_address: bool = False
    routes: tuple[Route, ...] = ()
    reserved: tuple[IpAddress, ...] = ()
    masquerade: bool = False
    masquerade_exempt: tuple[IpNetwork, ...] = ()
    mtu: int | None = None
    hairpin: bool = False
    promiscuous: bool = False
    isolated: bool = False
    open_forward: bool = False
    cool_down_s: float = COOL_DOWN_S
    dns: Dns = NO_DNS
