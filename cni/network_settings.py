"""From a network configuration to the room's settings: the reference plugins' keys, and ours.

Keys of `bridge`, `ptp` and `host-local` mean what they mean there; ours are `mode`, `openForward`,
`masqueradeExempt`, `ipam.reserved`, `ipam.coolDown`. What the reference serves and we do not is
refused by its name (code 2), never passed over: an operator relies on it.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

from cni.addresses import parse_address, parse_network
from cni.codes import CniError, Code
from cni.configuration import Configuration, is_of_all_pods
from cni.fields import Fields, Object
from cni.result import parse_dns, parse_route
from ringbolt.network.settings import (
    NO_DNS,
    Dns,
    IpAddress,
    Mode,
    NetworkName,
    Range,
    RangeSet,
    Settings,
)

_OUR_IPAM = ("", "ringbolt")
_UNSERVED = ("vlan", "vlanTrunk", "macspoofchk", "disableContainerInterface")
_OF_ONE_POD = ("args", "prevresult")
_RUNTIME = ("dns", "ipranges")
_LONGEST_COOL_DOWN_S = 86400
_DEFAULT = Settings(NetworkName("default"))


def find_delegate(configuration: Configuration) -> str:
    """The IPAM plugin that decides about addresses; "" if we do."""
    kind = configuration.fields.section("ipam").text("type")
    return "" if kind in _OUR_IPAM else kind


def read_settings(configuration: Configuration) -> Settings:
    """The settings of the network. Raises CniError (invalid configuration, unsupported field)."""
    if is_of_all_pods(configuration):
        return _read_network(configuration.stdin.decode(errors="replace"))
    shared = {**_without_pod(configuration.fields.wire), "name": configuration.name}
    return _read_network(json.dumps(shared))


def _without_pod(wire: Object) -> Object:
    """What is the same for all pods of the network, and so read only once."""
    shared = {key: value for key, value in wire.items() if key.lower() not in _OF_ONE_POD}
    for key, value in shared.items():
        if key.lower() == "runtimeconfig" and isinstance(value, dict):
            runtime = cast("Object", value)
            shared[key] = {one: runtime[one] for one in runtime if one.lower() in _RUNTIME}
    return shared


@lru_cache(64)
def _read_network(text: str) -> Settings:
    fields = Fields(json.loads(text))
    for key in _UNSERVED:
        if fields.raw(key):
            raise fields.unsupported(key, "ringbolt does not serve it")
    ipam = fields.section("ipam")
    settings = Settings(
        name=NetworkName(fields.text("name")),
        ranges=_read_ranges(fields, ipam),
        mode=_read_mode(fields),
        bridge=fields.text("bridge") or _DEFAULT.bridge,
        gateway=fields.flag("isGateway", default=_DEFAULT.gateway)
        or fields.flag("isDefaultGateway"),
        default_route=fields.flag("isDefaultGateway", default=_DEFAULT.default_route),
        force_address=fields.flag("forceAddress"),
        routes=tuple(parse_route(one) for one in ipam.sections("routes")),
        reserved=tuple(_address(one, "ipam.reserved") for one in ipam.texts("reserved")),
        masquerade=fields.flag("ipMasq"),
        masquerade_exempt=tuple(
            parse_network(one, "masqueradeExempt") for one in fields.texts("masqueradeExempt")
        ),
        mtu=_read_mtu(fields),
        hairpin=fields.flag("hairpinMode"),
        promiscuous=fields.flag("promiscMode"),
        isolated=fields.flag("portIsolation"),
        open_forward=fields.flag("openForward"),
        cool_down_s=_read_cool_down(ipam),
        dns=_read_dns(fields),
    )
    if settings.hairpin and settings.promiscuous:
        message = "cannot set hairpin mode and promiscuous mode at the same time"
        raise CniError(Code.INVALID_CONFIG, message)
    return settings


def read_known_settings(configuration: Configuration) -> Settings:
    """As `read_settings`, for a DEL: settings that cannot be read do not keep a pod from going."""
    try:
        return read_settings(configuration)
    except CniError:
        return Settings(NetworkName(configuration.name))


def _read_mode(fields: Fields) -> Mode:
    word = fields.text("mode") or _DEFAULT.mode.value
    for mode in Mode:
        if mode.value == word:
            return mode
    known = " or ".join(mode.value for mode in Mode)
    raise fields.unsupported("mode", f"it must be {known}")


def _read_mtu(fields: Fields) -> int | None:
    return None if fields.raw("mtu") == "auto" else fields.whole("mtu") or None


def _read_cool_down(ipam: Fields) -> float:
    seconds = ipam.raw("coolDown")
    if seconds is None:
        return _DEFAULT.cool_down_s
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds <= _LONGEST_COOL_DOWN_S:
        raise ipam.wrong("coolDown", f"a number of seconds, 0 to {_LONGEST_COOL_DOWN_S}")
    return float(seconds)


def _read_ranges(fields: Fields, ipam: Fields) -> tuple[RangeSet, ...]:
    asked = _range_sets(fields.section("runtimeConfig"), "ipRanges")
    legacy = ((_read_range(ipam),),) if ipam.raw("subnet") else ()
    return (*asked, *legacy, *_range_sets(ipam, "ranges"))


def _range_sets(fields: Fields, key: str) -> tuple[RangeSet, ...]:
    return tuple(_read_set(fields, key, one) for one in fields.listed(key))


def _read_set(fields: Fields, key: str, wire: Any) -> RangeSet:
    ranges = cast("Sequence[Any]", wire) if isinstance(wire, list) else ()
    if not ranges or not all(isinstance(one, dict) for one in ranges):
        raise fields.wrong(key, "a list of lists of objects with a subnet")
    return tuple(_read_range(Fields(one, key)) for one in ranges)


def _read_range(fields: Fields) -> Range:
    return Range(
        subnet=parse_network(fields.text("subnet"), "subnet"),
        first=_optional(fields, "rangeStart"),
        last=_optional(fields, "rangeEnd"),
        gateway=_optional(fields, "gateway"),
    )


def _optional(fields: Fields, key: str) -> IpAddress | None:
    text = fields.text(key)
    return _address(text, key) if text else None


def _address(text: str, what: str) -> IpAddress:
    return parse_address(text, what)


def _read_dns(fields: Fields) -> Dns:
    """What the pod's runtime says goes before what the network does."""
    asked = fields.section("runtimeConfig").section("dns")
    from_runtime = Dns(
        nameservers=asked.texts("servers"),
        search=asked.texts("searches"),
        options=asked.texts("options"),
    )
    return from_runtime if from_runtime != NO_DNS else parse_dns(fields.section("dns"))
