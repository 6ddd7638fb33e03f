"""Results of every version of the contract, to and from what the room answers.

0.1.0 and 0.2.0 know one address per family and no interfaces; 0.3.0 to 0.4.0 write each address's
version; 1.0.0 leaves out an empty `dns`; 1.1.0 adds `mtu` and the attributes of routes.
"""

from collections.abc import Iterable
from typing import Any

from cni.addresses import parse_address, parse_interface
from cni.codes import CniError, Code
from cni.fields import Fields
from cni.versions import check_supported, is_at_least
from ringbolt.network.attachment import Attached, Interface, PodAddress
from ringbolt.network.settings import Dns, Route

Wire = dict[str, Any]
"""A JSON object on its way out."""

_FAMILY_KEYS = {4: "ip4", 6: "ip6"}
_ROUTE_EXTRAS = ("mtu", "advmss", "priority", "table", "scope")


def encode_result(attached: Attached, version: str) -> Wire:
    """The result object. Raises CniError where that version cannot tell it."""
    if not is_at_least(version, "0.3.0"):
        return _encode_old(attached, version)
    wire: Wire = {"cniVersion": version}
    lists: Wire = {
        "interfaces": [_encode_interface(one, version) for one in attached.interfaces],
        "ips": [_encode_address(one, version) for one in attached.addresses],
        "routes": [_encode_route(one, version) for one in attached.routes],
    }
    wire |= {key: value for key, value in lists.items() if value}
    dns = encode_dns(attached.dns)
    if dns or not is_at_least(version, "1.0.0"):
        wire["dns"] = dns
    return wire


def parse_result(fields: Fields, version: str) -> Attached:
    """A result of `version`, unless it names another. Raises CniError."""
    version = fields.text("cniVersion") or version
    check_supported(version)
    if not is_at_least(version, "0.3.0"):
        return _parse_old(fields)
    return Attached(
        interfaces=tuple(_parse_interface(one) for one in fields.sections("interfaces")),
        addresses=tuple(_parse_address(one) for one in fields.sections("ips")),
        routes=tuple(parse_route(one) for one in fields.sections("routes")),
        dns=parse_dns(fields.section("dns")),
    )


def merge(previous: Fields, ours: Wire) -> Wire:
    """The result of a chain: what the plugins before us made, then what we did."""
    merged: Wire = dict(previous.wire)
    merged["cniVersion"] = ours["cniVersion"]
    shift = len(previous.listed("interfaces"))
    for address in ours.get("ips", ()):
        if "interface" in address:
            address["interface"] += shift
    for key in ("interfaces", "ips", "routes"):
        if key in ours:
            merged[key] = [*previous.listed(key), *ours[key]]
    for key in ("ip4", "ip6"):
        if key in ours and previous.raw(key) is None:
            merged[key] = ours[key]
    if ours.get("dns"):
        merged["dns"] = ours["dns"]
    return merged


def encode_dns(dns: Dns) -> Wire:
    """Resolver settings without what is empty."""
    wire: Wire = {
        "nameservers": list(dns.nameservers),
        "domain": dns.domain,
        "search": list(dns.search),
        "options": list(dns.options),
    }
    return {key: value for key, value in wire.items() if value}


def parse_dns(fields: Fields) -> Dns:
    """Resolver settings."""
    return Dns(
        nameservers=fields.texts("nameservers"),
        domain=fields.text("domain"),
        search=fields.texts("search"),
        options=fields.texts("options"),
    )


def parse_route(fields: Fields) -> Route:
    """A route; `dst` in CIDR notation, with host bits forgiven as the reference does."""
    gateway = fields.text("gw")
    return Route(
        destination=parse_interface(fields.text("dst"), "a route's dst").network,
        gateway=parse_address(gateway, "a route's gw") if gateway else None,
        mtu=fields.whole("mtu"),
        advmss=fields.whole("advmss"),
        priority=fields.whole("priority"),
        table=fields.whole("table"),
        scope=fields.whole("scope"),
    )


def _encode_interface(one: Interface, version: str) -> Wire:
    wire: Wire = {"name": one.name}
    if one.mac:
        wire["mac"] = one.mac
    if one.mtu and is_at_least(version, "1.1.0"):
        wire["mtu"] = one.mtu
    if one.sandbox:
        wire["sandbox"] = one.sandbox
    return wire


def _parse_interface(fields: Fields) -> Interface:
    return Interface(
        name=fields.text("name"),
        mac=fields.text("mac"),
        mtu=fields.whole("mtu") or 0,
        sandbox=fields.text("sandbox"),
    )


def _encode_address(one: PodAddress, version: str) -> Wire:
    wire: Wire = {}
    if not is_at_least(version, "1.0.0"):
        wire["version"] = str(one.address.version)
    if one.interface is not None:
        wire["interface"] = one.interface
    wire["address"] = str(one.address)
    if one.gateway is not None:
        wire["gateway"] = str(one.gateway)
    return wire


def _parse_address(fields: Fields) -> PodAddress:
    gateway = fields.text("gateway")
    return PodAddress(
        address=parse_interface(fields.text("address"), "an address of ips"),
        gateway=parse_address(gateway, "a gateway of ips") if gateway else None,
        interface=fields.whole("interface"),
    )


def _encode_route(one: Route, version: str) -> Wire:
    wire: Wire = {"dst": str(one.destination)}
    if one.gateway is not None:
        wire["gw"] = str(one.gateway)
    if is_at_least(version, "1.1.0"):
        extras = ((key, getattr(one, key)) for key in _ROUTE_EXTRAS)
        wire |= {key: value for key, value in extras if value is not None}
    return wire


def _encode_old(attached: Attached, version: str) -> Wire:
    wire: Wire = {"cniVersion": version}
    for address in attached.addresses:
        key = _FAMILY_KEYS[address.address.version]
        if key not in wire:
            wire[key] = _encode_old_address(address, attached.routes)
    if len(wire) == 1:
        raise CniError(Code.INTERNAL, "cannot convert: no valid IP addresses")
    return wire | {"dns": encode_dns(attached.dns)}


def _encode_old_address(one: PodAddress, routes: Iterable[Route]) -> Wire:
    wire: Wire = {"ip": str(one.address)}
    if one.gateway is not None:
        wire["gateway"] = str(one.gateway)
    same = [route for route in routes if route.destination.version == one.address.version]
    if same:
        wire["routes"] = [_encode_route(route, "0.2.0") for route in same]
    return wire


def _parse_old(fields: Fields) -> Attached:
    addresses: list[PodAddress] = []
    routes: list[Route] = []
    for key in _FAMILY_KEYS.values():
        if fields.raw(key) is None:
            continue
        family = fields.section(key)
        gateway = family.text("gateway")
        addresses.append(
            PodAddress(
                parse_interface(family.text("ip"), f"{key}.ip"),
                parse_address(gateway, f"{key}.gateway") if gateway else None,
            )
        )
        routes += (parse_route(one) for one in family.sections("routes"))
    return Attached((), tuple(addresses), tuple(routes), parse_dns(fields.section("dns")))
