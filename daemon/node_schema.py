"""The schema of `kubelet:`, `volumes:` and `network:`: from elements to frozen options.

Keys of the network follow the reference CNI plugins wherever they mean the same.
"""

import ipaddress
import re
from collections.abc import Iterable

from daemon.document import Element, Listing, Table
from daemon.fields import Fields, kind_of, read_table
from daemon.options import (
    AddressRange,
    Bandwidth,
    KubeletOptions,
    NetworkMode,
    NetworkOptions,
    Registration,
    Route,
    VolumeHelper,
    VolumeOptions,
    VolumeRule,
)
from daemon.problem import Place, Report, ScalarError, shown
from daemon.scalars import (
    one_of,
    parse_absolute,
    parse_address,
    parse_flag,
    parse_network,
    parse_size,
    parse_text,
    whole,
)
from ringbolt.volumes.helper import Helper, problem_of
from ringbolt.volumes.spec import Kind

_LONGEST_INTERFACE = 15
_LARGEST_RATE = (1 << 63) - 1
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def read_kubelet(fields: Fields) -> KubeletOptions:
    """`kubelet:`."""
    default = KubeletOptions()
    registration = fields.scalar("registration", one_of(Registration), default.registration)
    return KubeletOptions(registration)


def read_volumes(fields: Fields) -> VolumeOptions:
    """`volumes:`."""
    return VolumeOptions(
        roots=fields.scalars("roots", _parse_root),
        allow=fields.sections("allow", _read_rule),
        subvolumes=fields.scalar("subvolumes", _parse_root, None),
        helpers=fields.sections("helpers", _read_helper),
    )


def _parse_root(text: str) -> str:
    root = parse_absolute(text)
    if root == "/":
        raise ScalarError("the whole host cannot be a root of volumes", "name a directory in it")
    return root


def _read_rule(fields: Fields) -> VolumeRule:
    fields.require("kinds")
    return VolumeRule(
        kinds=fields.scalars("kinds", one_of(Kind)),
        namespaces=fields.scalars("namespaces", _parse_namespace) or ("*",),
        max_size=fields.scalar("max_size", parse_size, None),
        options=fields.scalars("options", _parse_option),
        read_only=fields.scalar("readOnly", parse_flag, default=False),
        trusted=fields.scalar("trusted", parse_flag, default=False),
        devices=fields.scalars("devices", _parse_device) or ("*",),
        roots=fields.scalars("roots", _parse_root),
    )


def _read_helper(fields: Fields) -> VolumeHelper:
    fields.require("name", "argv", "sources")
    made = VolumeHelper(
        name=fields.scalar("name", _parse_helper_name, ""),
        argv=fields.scalars("argv", parse_text),
        sources=fields.scalars("sources", parse_text),
        stdin=fields.scalar("stdin", parse_text, ""),
        foreground=fields.scalar("foreground", parse_flag, default=False),
    )
    problem = problem_of(Helper(made.name, made.argv, made.sources))
    if problem and made.argv and made.sources:
        hint = "see `volumes` in the configuration's reference"
        fields.report.error(fields.place("argv"), problem, hint)
    return made


def _parse_helper_name(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", text):
        return text
    hint = "write a short name of letters, digits, dots and dashes, such as sshfs"
    raise ScalarError(f"{shown(text)} is no name of a helper", hint)


def _parse_option(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_.*?-]+(=[A-Za-z0-9_.:/*?-]*)?", text):
        return text
    hint = "write one mount option or a glob of it, such as data=journal or cache=*"
    raise ScalarError(f"{shown(text)} is no mount option", hint)


def _parse_device(text: str) -> str:
    if re.fullmatch(r"\*|(serial|wwn|id|path|partuuid|selector)=.+", text):
        return text
    hint = "write what it is named by and a glob, such as serial=WD-*"
    raise ScalarError(f"{shown(text)} names no device", hint)


def _parse_namespace(text: str) -> str:
    if re.fullmatch(r"[a-z0-9*?]([-a-z0-9*?]{0,61}[a-z0-9*?])?", text):
        return text
    hint = 'write a namespace, or a glob such as team-* or "*"'
    raise ScalarError(f"{shown(text)} is no namespace", hint)


def read_network(fields: Fields) -> NetworkOptions:
    """`network:`."""
    default = NetworkOptions()
    fields.require("ranges")
    options = NetworkOptions(
        name=fields.scalar("name", _parse_network_name, default.name),
        mode=fields.scalar("mode", one_of(NetworkMode), default.mode),
        ranges=_read_ranges(fields),
        bridge=fields.scalar("bridge", _parse_interface, default.bridge),
        routes=fields.sections("routes", _read_route),
        masquerade=_read_masquerade(fields),
        mtu=fields.scalar("mtu", _parse_mtu, None),
        is_gateway=fields.scalar("isGateway", parse_flag, default.is_gateway),
        hairpin=fields.scalar("hairpinMode", parse_flag, default.hairpin),
        promisc=fields.scalar("promiscMode", parse_flag, default.promisc),
        vlan=fields.scalar("vlan", whole(1, 4094), None),
        bandwidth=fields.section("bandwidth", _read_bandwidth, default.bandwidth),
    )
    _check_network(options, fields)
    return options


def _check_network(options: NetworkOptions, fields: Fields) -> None:
    if options.hairpin and options.promisc:
        message = "hairpinMode and promiscMode exclude each other"
        fields.report.error(fields.place("promiscMode"), message, "remove one of them")
    if options.mode is not NetworkMode.BRIDGE:
        for key in ("bridge", "hairpinMode", "promiscMode", "vlan"):
            if fields.has(key):
                message = f"{key} is only used with mode: bridge"
                fields.report.error(fields.place(key), message, f"remove {key}")


def _read_masquerade(fields: Fields) -> bool:
    """`masquerade`, or `ipMasq` as the reference plugin calls it."""
    if fields.has("masquerade") and fields.has("ipMasq"):
        message = "masquerade and ipMasq are the same"
        fields.report.error(fields.place("ipMasq"), message, "remove one of them")
    reference = fields.scalar("ipMasq", parse_flag, default=False)
    return fields.scalar("masquerade", parse_flag, default=reference)


def _parse_network_name(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", text):
        return text
    raise ScalarError(f"{shown(text)} is no network name", "write letters, digits, _, . and -")


def _parse_interface(text: str) -> str:
    if re.fullmatch(rf"[A-Za-z0-9_.-]{{1,{_LONGEST_INTERFACE}}}", text) and text not in {".", ".."}:
        return text
    hint = f"write at most {_LONGEST_INTERFACE} letters, digits, _, . and -"
    raise ScalarError(f"{shown(text)} is no interface name", hint)


def _parse_mtu(text: str) -> int | None:
    if text == "auto":
        return None
    try:
        return whole(576, 65535)(text)
    except ScalarError as error:
        raise ScalarError(str(error), "write auto, or a number such as 1500") from None


def _read_route(fields: Fields) -> Route:
    fields.require("dst")
    return Route(
        dst=fields.scalar("dst", parse_network, ""),
        gw=fields.scalar("gw", parse_address, None),
    )


def _read_bandwidth(fields: Fields) -> Bandwidth:
    bits = whole(0, _LARGEST_RATE)
    for way in ("ingress", "egress"):
        if fields.has(f"{way}Rate") != fields.has(f"{way}Burst"):
            message = f"{way}Rate and {way}Burst are set together"
            fields.report.error(fields.table.place, message, "add the one that is missing")
    return Bandwidth(
        ingress_rate=fields.scalar("ingressRate", bits, 0),
        ingress_burst=fields.scalar("ingressBurst", bits, 0),
        egress_rate=fields.scalar("egressRate", bits, 0),
        egress_burst=fields.scalar("egressBurst", bits, 0),
    )


def _read_ranges(fields: Fields) -> tuple[tuple[AddressRange, ...], ...]:
    """A list of lists: a pod gets one address from each inner list."""
    element = fields.take("ranges")
    if element is None:
        return ()
    hint = "write it as in [[{subnet: 10.244.0.0/24}]]"
    if not isinstance(element, Listing) or not element.items:
        message = f"ranges is a list of lists, not {kind_of(element)}"
        if isinstance(element, Listing):
            message = "ranges is empty"
        fields.report.error(element.place, message, hint)
        return ()
    found = [_read_range_set(item, fields.report, hint) for item in element.items]
    _check_overlaps((one for ranges in found for one in ranges), element.place, fields.report)
    return tuple(found)


def _read_range_set(element: Element, report: Report, hint: str) -> tuple[AddressRange, ...]:
    if not isinstance(element, Listing) or not element.items:
        message = f"an entry of ranges is a list of ranges, not {kind_of(element)}"
        report.error(element.place, message, hint)
        return ()
    found: list[AddressRange] = []
    for item in element.items:
        if isinstance(item, Table):
            found.append(read_table(item, _read_range, report, "a range"))
        else:
            report.error(item.place, f"a range is a mapping, not {kind_of(item)}", hint)
    families = {_network(one).version for one in found if one.subnet}
    if len(families) > 1:
        message = "one list of ranges has IPv4 and IPv6"
        report.error(element.place, message, "give each family a list of its own")
    return tuple(found)


def _read_range(fields: Fields) -> AddressRange:
    fields.require("subnet")
    found = AddressRange(
        subnet=fields.scalar("subnet", parse_network, ""),
        range_start=fields.scalar("rangeStart", parse_address, None),
        range_end=fields.scalar("rangeEnd", parse_address, None),
        gateway=fields.scalar("gateway", parse_address, None),
    )
    if found.subnet:
        _check_range(found, fields)
    return found


def _check_range(one: AddressRange, fields: Fields) -> None:
    network = _network(one)
    keys = {"rangeStart": one.range_start, "rangeEnd": one.range_end, "gateway": one.gateway}
    for key, text in keys.items():
        if text and ipaddress.ip_address(text) not in network:
            message = f"{key} {text} is not within {network}"
            fields.report.error(fields.place(key), message, "choose an address of the subnet")
    if network.max_prefixlen - network.prefixlen < len("ab"):
        message = f"the subnet {network} has no room for pods and a gateway"
        fields.report.error(fields.place("subnet"), message, "choose a larger one")
    first, last = one.range_start, one.range_end
    if first and last and int(ipaddress.ip_address(first)) > int(ipaddress.ip_address(last)):
        message = "rangeEnd comes before rangeStart"
        fields.report.error(fields.place("rangeEnd"), message, "exchange them")


def _check_overlaps(ranges: Iterable[AddressRange], place: Place, report: Report) -> None:
    seen: list[Network] = []
    for one in ranges:
        if not one.subnet:
            continue
        network = _network(one)
        for other in seen:
            if network.version == other.version and network.overlaps(other):
                report.error(place, f"the subnets {other} and {network} overlap", "separate them")
        seen.append(network)


def _network(one: AddressRange) -> Network:
    return ipaddress.ip_network(one.subnet)
