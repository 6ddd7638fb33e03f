"""The network configuration that container runtimes are given: `network:` in the reference's keys.

What runtimes make of a folder of configurations is known here too. Values only: files are written
elsewhere.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from cni.configuration import Configuration
from cni.fields import Fields
from cni.network_settings import read_settings
from cni.versions import SUPPORTED, is_at_least
from cni.wishes import ANNOTATIONS
from daemon.options import AddressRange, Bandwidth, NetworkMode, NetworkOptions, Route
from ringbolt.network.settings import Settings

NAME = "10-ringbolt.conflist"
PLUGIN = "ringbolt"

_VERSION = "1.0.0"
"""What runtimes with libcni before 1.2 take; a higher one fails each of their ADDs."""
_FIRST_LIST = "0.3.0"
"""The first version of the contract that has lists of plugins."""
_CAPABILITIES = ("bandwidth", "dns", ANNOTATIONS, "ips", "mac", "portMappings")
EXTENSIONS = (".conf", ".conflist", ".json")


def conflist(options: NetworkOptions) -> bytes:
    """The configuration as JSON, the same for equal options.

    Newer runtimes choose the newest of `cniVersions` that they know, and then ask for STATUS and
    GC. Raises CniError where the plugin would refuse it.
    """
    settings_of(options)
    wire = {
        "cniVersion": _VERSION,
        "cniVersions": [one for one in SUPPORTED if is_at_least(one, _FIRST_LIST)],
        "name": options.name,
        "plugins": [_plugin(options)],
    }
    return json.dumps(wire, indent=2).encode() + b"\n"


def settings_of(options: NetworkOptions) -> Settings:
    """What the plugin makes of that configuration. Raises CniError where it would refuse it."""
    return read_settings(Configuration(options.name, _VERSION, Fields(_plugin(options)), b""))


def preferred(names: Iterable[str]) -> tuple[str, ...]:
    """Configurations that containerd and CRI-O use in place of ours: the first by name wins."""
    known = (name for name in names if PurePath(name).suffix in EXTENSIONS)
    return tuple(sorted(name for name in known if name < NAME))


def _plugin(options: NetworkOptions) -> Mapping[str, Any]:
    default = NetworkOptions()
    said = {
        "mtu": options.mtu,
        "hairpinMode": options.hairpin or None,
        "promiscMode": options.promisc or None,
        "vlan": options.vlan,
    }
    return {
        "type": PLUGIN,
        "mode": options.mode.value,
        **({"bridge": options.bridge} if options.mode is NetworkMode.BRIDGE else {}),
        "isGateway": options.is_gateway,
        "ipMasq": options.masquerade,
        **{key: value for key, value in said.items() if value is not None},
        **(_limits(options.bandwidth) if options.bandwidth != default.bandwidth else {}),
        "capabilities": dict.fromkeys(_CAPABILITIES, True),
        "ipam": {
            "type": PLUGIN,
            "ranges": [[_range(one) for one in ranges] for ranges in options.ranges],
            "routes": [_route(one) for one in options.routes],
        },
    }


def _limits(limits: Bandwidth) -> Mapping[str, int]:
    return {
        "ingressRate": limits.ingress_rate,
        "ingressBurst": limits.ingress_burst,
        "egressRate": limits.egress_rate,
        "egressBurst": limits.egress_burst,
    }


def _range(one: AddressRange) -> Mapping[str, str]:
    said = {
        "subnet": one.subnet,
        "rangeStart": one.range_start,
        "rangeEnd": one.range_end,
        "gateway": one.gateway,
    }
    return {key: value for key, value in said.items() if value}


def _route(route: Route) -> Mapping[str, str]:
    return {"dst": route.dst} | ({"gw": route.gw} if route.gw else {})
