"""Routes over rtnetlink: values and requests. Pure but for `list_routes`."""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Final

from ringbolt.linux import attributes as nla
from ringbolt.linux.messages import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Request
from ringbolt.linux.netlink import Socket

RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_GETROUTE: Final = 26

RT_TABLE_MAIN: Final = 254
RT_SCOPE_UNIVERSE: Final = 0
RT_SCOPE_LINK: Final = 253
RT_SCOPE_HOST: Final = 254
RTPROT_KERNEL: Final = 2
RTPROT_BOOT: Final = 3
RTPROT_STATIC: Final = 4
RTN_UNICAST: Final = 1
RTN_LOCAL: Final = 2
RTN_BLACKHOLE: Final = 6
RTN_UNREACHABLE: Final = 7
RTNH_F_ONLINK: Final = 4

_RT_SCOPE_NOWHERE = 255
_RT_TABLE_COMPAT = 252
_AF = {4: 2, 6: 10}
_VERSIONS = {number: version for version, number in _AF.items()}
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 4, 5, 6, 7
_RTA_METRICS, _RTA_TABLE = 8, 15
_RTAX_MTU, _RTAX_ADVMSS = 2, 8
_ANY: dict[int, IPv4Network | IPv6Network] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}

_MESSAGE = struct.Struct("=BBBBBBBBI")


@dataclass(frozen=True, slots=True)
class Route:
    """Where traffic to `destination` goes: out of link `index`, to `gateway` where there is one.

    `on_link` reaches a gateway that no other route covers. None leaves a value to the kernel; for
    `scope` it means link without a gateway and universe with one.
    """

    destination: IPv4Network | IPv6Network
    index: int | None = None
    gateway: nla.IPAddress | None = None
    on_link: bool = False
    source: nla.IPAddress | None = None
    mtu: int | None = None
    advmss: int | None = None
    priority: int | None = None
    table: int = RT_TABLE_MAIN
    scope: int | None = None
    protocol: int = RTPROT_STATIC
    kind: int = RTN_UNICAST

    def __str__(self) -> str:
        """Names it in errors."""
        words = [str(self.destination)]
        words += [f"via {self.gateway}"] if self.gateway is not None else []
        words += [f"index {self.index}"] if self.index is not None else []
        words += [f"table {self.table}"] if self.table != RT_TABLE_MAIN else []
        return " ".join(words)


def encode(route: Route) -> bytes:
    """The body of RTM_NEWROUTE and RTM_DELROUTE."""
    destination = route.destination
    head = _MESSAGE.pack(
        _AF[destination.version],
        destination.prefixlen,
        0,
        0,
        route.table if route.table <= 0xFF else _RT_TABLE_COMPAT,  # noqa: PLR2004  # one byte
        route.protocol,
        _scope(route),
        route.kind,
        RTNH_F_ONLINK if route.on_link else 0,
    )
    parts = [head, nla.u32(_RTA_TABLE, route.table)]
    if destination.prefixlen:
        parts.append(nla.attribute(_RTA_DST, destination.network_address.packed))
    addresses = ((_RTA_GATEWAY, route.gateway), (_RTA_PREFSRC, route.source))
    parts += [nla.address(kind, value) for kind, value in addresses if value is not None]
    numbers = ((_RTA_OIF, route.index), (_RTA_PRIORITY, route.priority))
    parts += [nla.u32(kind, value) for kind, value in numbers if value is not None]
    metrics = ((_RTAX_MTU, route.mtu), (_RTAX_ADVMSS, route.advmss))
    set_metrics = [nla.u32(kind, value) for kind, value in metrics if value is not None]
    if set_metrics:
        parts.append(nla.nested(_RTA_METRICS, *set_metrics))
    return b"".join(parts)


def interface_of(body: bytes) -> int | None:
    """The index that a route leads out by, and nothing else of it. Raises OSError (EBADMSG)."""
    if len(body) < _MESSAGE.size:
        raise nla.malformed("RTM_NEWROUTE", body)
    found = nla.parse(body[_MESSAGE.size :]).get(_RTA_OIF)
    return None if found is None else nla.as_number(found)


def decode(body: bytes) -> Route:
    """The route of an RTM_NEWROUTE or RTM_DELROUTE; of several next hops none is shown.

    Raises OSError (EBADMSG), and EAFNOSUPPORT for a family other than IPv4 and IPv6.
    """
    if len(body) < _MESSAGE.size:
        raise nla.malformed("RTM_NEWROUTE", body)
    family, prefix, _, _, table, protocol, scope, kind, flags = _MESSAGE.unpack_from(body)
    if family not in _VERSIONS:
        raise nla.malformed("RTM_NEWROUTE family", body)
    found = nla.parse(body[_MESSAGE.size :])
    metrics = nla.parse(found.get(_RTA_METRICS, b""))

    def number(source: nla.Attributes, key: int) -> int | None:
        return nla.as_number(source[key]) if key in source else None

    def address(key: int) -> nla.IPAddress | None:
        return nla.as_address(found[key]) if key in found else None

    wide_table = number(found, _RTA_TABLE)
    return Route(
        destination=_destination(family, prefix, found.get(_RTA_DST), body),
        index=number(found, _RTA_OIF),
        gateway=address(_RTA_GATEWAY),
        on_link=bool(flags & RTNH_F_ONLINK),
        source=address(_RTA_PREFSRC),
        mtu=number(metrics, _RTAX_MTU),
        advmss=number(metrics, _RTAX_ADVMSS),
        priority=number(found, _RTA_PRIORITY),
        table=table if wide_table is None else wide_table,
        scope=scope,
        protocol=protocol,
        kind=kind,
    )


def new_route(route: Route, *, replace: bool = False) -> Request:
    """Add a route. EEXIST: there is one like it; ENETUNREACH: nothing leads to its gateway."""
    flags = NLM_F_CREATE | (NLM_F_REPLACE if replace else NLM_F_EXCL)
    return Request("RTM_NEWROUTE", route, RTM_NEWROUTE, flags, encode(route))


def delete_route(route: Route) -> Request:
    """Take a route away. ESRCH: there is none like it."""
    return Request("RTM_DELROUTE", route, RTM_DELROUTE, 0, encode(route))


def list_routes(socket: Socket, family: int = 0, table: int = RT_TABLE_MAIN) -> list[Route]:
    """The routes of a table (0: of all) and an address family (socket.AF_*, 0: both): a dump."""
    head = _MESSAGE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    body = head + nla.u32(_RTA_TABLE, table) if table else head
    messages = socket.dump(Request("RTM_GETROUTE", f"table {table}", RTM_GETROUTE, 0, body))
    return [decode(message.body) for message in messages if message.body[0] in _VERSIONS]


def _scope(route: Route) -> int:
    if route.scope is not None:
        return route.scope
    if route.destination.version != 4:  # noqa: PLR2004  # IPv6 knows no scopes of routes
        return RT_SCOPE_UNIVERSE
    if route.kind == RTN_LOCAL:
        return RT_SCOPE_HOST
    return RT_SCOPE_LINK if route.kind == RTN_UNICAST and route.gateway is None else 0


def _destination(
    family: int, prefix: int, packed: bytes | None, body: bytes
) -> IPv4Network | IPv6Network:
    if packed is None:
        if prefix:
            raise nla.malformed("RTM_NEWROUTE", body)
        return _ANY[_VERSIONS[family]]
    address = nla.as_address(packed)
    if prefix > address.max_prefixlen or address.version != _VERSIONS[family]:
        raise nla.malformed("RTM_NEWROUTE", body)
    if isinstance(address, IPv4Address):
        return IPv4Network((address, prefix), strict=False)
    return IPv6Network((address, prefix), strict=False)
