"""A network's settings as one JSON text and back, kept with the leases. Pure.

So who looks after pods needs no configuration: not after a restart, and not for a network that
somebody else's configuration names. What a single pod asked of its resolver is left out.
"""

import dataclasses
import ipaddress
import json
from typing import Any

from ringbolt.network.settings import (
    IpAddress,
    Mode,
    NetworkName,
    Range,
    Route,
    Settings,
)

_FLAGS = (
    "gateway",
    "default_route",
    "force_address",
    "masquerade",
    "hairpin",
    "promiscuous",
    "isolated",
    "open_forward",
)


def to_json(settings: Settings) -> str:
    """The text of everything but `dns`."""
    parts: dict[str, Any] = {
        "name": settings.name,
        "ranges": [[_of_range(one) for one in ranges] for ranges in settings.ranges],
        "mode": settings.mode.value,
        "bridge": settings.bridge,
        "routes": [_of_route(one) for one in settings.routes],
        "reserved": [str(one) for one in settings.reserved],
        "masquerade_exempt": [str(one) for one in settings.masquerade_exempt],
        "mtu": settings.mtu,
        "cool_down_s": settings.cool_down_s,
        **{name: getattr(settings, name) for name in _FLAGS},
    }
    return json.dumps(parts, separators=(",", ":"))


def from_json(text: str) -> Settings:
    """What `to_json` wrote. Raises ValueError where it is not that."""
    try:
        parts = json.loads(text)
        return Settings(
            name=NetworkName(parts["name"]),
            ranges=tuple(tuple(_to_range(*one) for one in ranges) for ranges in parts["ranges"]),
            mode=Mode(parts["mode"]),
            bridge=parts["bridge"],
            routes=tuple(_to_route(*one) for one in parts["routes"]),
            reserved=tuple(ipaddress.ip_address(one) for one in parts["reserved"]),
            masquerade_exempt=tuple(
                ipaddress.ip_network(one) for one in parts["masquerade_exempt"]
            ),
            mtu=parts["mtu"],
            cool_down_s=parts["cool_down_s"],
            **{name: parts[name] for name in _FLAGS},
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"these are no settings of a network: {error!r}") from error


def _of_range(one: Range) -> list[str]:
    return [str(one.subnet), *(_text(part) for part in (one.first, one.last, one.gateway))]


def _to_range(subnet: str, first: str, last: str, gateway: str) -> Range:
    return Range(ipaddress.ip_network(subnet), _address(first), _address(last), _address(gateway))


def _of_route(one: Route) -> list[str | int | None]:
    _destination, _gateway, *numbers = dataclasses.astuple(one)
    return [str(one.destination), _text(one.gateway), *numbers]


def _to_route(destination: str, gateway: str, *numbers: int | None) -> Route:
    return Route(ipaddress.ip_network(destination), _address(gateway), *numbers)


def _text(address: IpAddress | None) -> str:
    return "" if address is None else str(address)


def _address(text: str) -> IpAddress | None:
    return ipaddress.ip_address(text) if text else None
