"""A network's settings read off the kernel, for where nobody tells them. Pure.

What cannot be seen is left open, so that nothing is called missing that nobody asked for.
"""

import ipaddress

from ringbolt.network.leases import Lease
from ringbolt.network.record import Record
from ringbolt.network.recorded import addresses_of
from ringbolt.network.settings import IpInterface, Mode, Range, Settings
from ringbolt.network.sight import NodeSight, PodSight


def guess_settings(lease: Lease, record: Record, node: NodeSight, pod: PodSight | None) -> Settings:
    """Ranges by the node's addresses, or by the pod's own prefixes."""
    end = node.links.get(lease.host_name)
    link = node.links.get(record.bridge) if record.mode is Mode.BRIDGE else end
    gateways = [one.interface for one in node.addresses_of(link.index)] if link else []
    inside = [one.interface for one in pod.addresses] if pod else []
    ranges = tuple(
        (_range(ipaddress.ip_interface(one), gateways, inside, record.mode),)
        for one in addresses_of(lease, record)
    )
    return Settings(
        lease.network,
        () if record.given else ranges,
        record.mode,
        record.bridge,
        gateway=bool(gateways),
        default_route=False,
        mtu=end.mtu if end else None,
    )


def _range(
    own: IpInterface, gateways: list[IpInterface], inside: list[IpInterface], mode: Mode
) -> Range:
    for one in gateways:
        if one.version == own.version and (mode is Mode.ROUTED or own.ip in one.network):
            subnet = own.network if mode is Mode.ROUTED else one.network
            return Range(subnet, gateway=one.ip)
    for one in inside:
        if one.ip == own.ip:
            return Range(one.network, gateway=one.network.network_address + 1)
    return Range(own.network, gateway=own.ip)
