"""The bridge that pods are joined by: made once, found by name after that, mended if it differs.

Several processes may do so at once: whoever comes second finds it made.
"""

import errno
import ipaddress
from dataclasses import dataclass

from ringbolt.linux import address, link, netdevice, sysctl
from ringbolt.linux.link import Change, End, Link
from ringbolt.linux.messages import NetlinkError, Request
from ringbolt.linux.netlink import Socket
from ringbolt.network import pool
from ringbolt.network.errors import ConflictError
from ringbolt.network.plan import mac_of_node_end
from ringbolt.network.settings import IpInterface, Mode, Settings

_FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge that is there."""

    index: int
    mac: str
    mtu: int


def versions_of(settings: Settings) -> frozenset[int]:
    """The families of the network."""
    return frozenset(one[0].subnet.version for one in settings.ranges if one)


def gateways_of(settings: Settings) -> tuple[IpInterface, ...]:
    """The addresses that the node has in this network, each with its subnet's prefix."""
    found: dict[IpInterface, None] = {}
    for one in (one for ranges in settings.ranges for one in ranges):
        prefix = one.subnet.prefixlen
        if settings.mode is Mode.ROUTED:
            prefix = one.subnet.max_prefixlen
        found[ipaddress.ip_interface(f"{pool.gateway_of(one)}/{prefix}")] = None
    return tuple(found)


def find_bridge(node: Socket, name: str) -> Bridge | None:
    """The bridge of this name if it is up. Raises ConflictError for a link of another kind."""
    found = link.find(node, name)
    if found and found.kind != "bridge":
        kind = found.kind or "no virtual link"
        raise ConflictError(
            f"{name} already exists but is not a bridge ({kind}): rename one of them"
        )
    return Bridge(found.index, found.mac, found.mtu) if found and found.up else None


def find_again(node: Socket, name: str, known: Bridge) -> Bridge | None:
    """The bridge that was found before, as it is now, if it is up still; None for any other."""
    try:
        found = netdevice.look(node, name)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return None
    is_same = found.up and found.index == known.index
    return Bridge(found.index, found.mac, found.mtu) if is_same else None


def ensure_bridge(node: Socket, settings: Settings, mtu: int) -> Bridge:
    """The bridge, made or mended: up, with the gateways' addresses, the node forwarding.

    Raises ConflictError where an address of another subnet stands in the way, OSError.
    """
    name = settings.bridge
    if find_bridge(node, name) is None:
        end = End(name, mac=mac_of_node_end(name), mtu=mtu)
        node.request([link.new_bridge(end).forgiving(errno.EEXIST)])
    found = link.find(node, name)
    if found is None:
        raise OSError(errno.ENODEV, f"{name} was removed while it was being set up")
    if settings.gateway:
        _ensure_addresses(node, settings, found)
        ensure_forwarding(frozenset(one.version for one in gateways_of(settings)))
    if not found.up or settings.promiscuous:
        change = Change(up=True, promiscuous=settings.promiscuous or None)
        node.request([link.set_link(found.index, change)])
    return Bridge(found.index, found.mac, found.mtu)


def bridge_faults(node: Socket, settings: Settings) -> list[str]:
    """What the bridge lacks, in sentences. Raises ConflictError, OSError."""
    found = find_bridge(node, settings.bridge)
    if found is None:
        return [f"the bridge {settings.bridge} is gone or down"]
    if not settings.gateway:
        return []
    there = {one.interface for one in address.list_addresses(node, found.index)}
    wanted = (one for one in gateways_of(settings) if one not in there)
    return [f"the bridge {settings.bridge} lacks the address {one}" for one in wanted]


def forwarding_faults(versions: frozenset[int]) -> list[str]:
    """Families that the node does not forward, in sentences."""
    names = (_FORWARDING[version] for version in sorted(versions))
    return [f"{name} is 0: the node forwards nothing" for name in names if sysctl.read(name) == "0"]


def _ensure_addresses(node: Socket, settings: Settings, bridge: Link) -> None:
    there = {one.interface: one for one in address.list_addresses(node, bridge.index)}
    gateways = gateways_of(settings)
    if any(one.version != pool.IPV4 for one in gateways):
        allow_ipv6(settings.bridge)
    for wanted in gateways:
        if wanted in there:
            continue
        for other, known in there.items():
            if other not in gateways and _collides(other, wanted):
                if not settings.force_address:
                    raise ConflictError(
                        f"{settings.bridge} already has an IP address different from {wanted}:"
                        f" it has {other}; remove that one, or set forceAddress"
                    )
                node.request([address.delete_address(known)])
        node.request([new_address(bridge.index, wanted).forgiving(errno.EEXIST)])


def allow_ipv6(name: str) -> None:
    """Let a link of ours have IPv6 on a node where links are born without it."""
    disabled = f"net/ipv6/conf/{name}/disable_ipv6"
    if sysctl.read(disabled) == "1":
        sysctl.write(disabled, "0")


def _collides(other: IpInterface, wanted: IpInterface) -> bool:
    """Of IPv6 a link may have many addresses, so only the same subnet collides."""
    if other.version != wanted.version:
        return False
    if other.version == pool.IPV4:
        return True
    return not other.ip.is_link_local and other.network == wanted.network


def new_address(index: int, wanted: IpInterface) -> Request:
    """The request for an address that is usable at once."""
    flags = 0 if wanted.version == pool.IPV4 else address.IFA_F_NODAD
    return address.new_address(address.Address(index, wanted, flags))


def ensure_forwarding(versions: frozenset[int]) -> None:
    """Let the node forward what it needs to, of the families in use only."""
    for version in sorted(versions):
        if sysctl.read(_FORWARDING[version]) == "0":
            sysctl.write(_FORWARDING[version], "1")


def is_gone(error: OSError) -> bool:
    """Whether a request failed because the bridge it named by index is not there any more."""
    return isinstance(error, NetlinkError) and error.errno in (errno.ENODEV, errno.EINVAL)
