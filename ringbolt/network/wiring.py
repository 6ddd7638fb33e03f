"""A pod's links, addresses and routes, put into the kernel and taken out again.

What shall be is the plan's; here it is done: one message makes the pair, one batch configures
each end. It waits for nothing, dumps nothing and polls nothing.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from ringbolt.linux import link, neighbour, netdevice, netlink, route, sysctl
from ringbolt.linux.link import Change, End, Link, Port
from ringbolt.linux.messages import NetlinkError, Request
from ringbolt.linux.neighbour import Neighbour
from ringbolt.linux.netlink import RawSocket, Socket
from ringbolt.linux.visitors import Visitors
from ringbolt.network import pool
from ringbolt.network.attachment import PodAddress
from ringbolt.network.bridge import allow_ipv6, new_address
from ringbolt.network.errors import ConflictError
from ringbolt.network.plan import Plan
from ringbolt.network.settings import IpAddress, Mode, Route

DOOMED_GROUP = 0x52420D1E
"""Links in this group are as good as gone; whoever comes by deletes all of them at once."""

_QUIET_IPV6 = {
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/accept_ra": "0",
}
_DISABLED = "net/ipv6/conf/default/disable_ipv6"
_LOCKED_DOWN = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT)
_NAME_TRIES = 8
_VETH_QUEUES = 1


class PodSocket:
    """A socket inside the pod's namespace, opened while the node's side is being looked after.

    Where IPv6 is used (`versions`) the namespace is told not to test for duplicates: the link-local
    address that comes up with the link could not be used for a second otherwise. Use it in `with`.
    """

    def __init__(
        self, visitors: Visitors, netns_fd: int, versions: frozenset[int] = frozenset()
    ) -> None:
        def enter() -> RawSocket:
            if max(versions, default=0) > pool.IPV4:
                _calm_ipv6()
            return netlink.open_raw()

        self._pending: Callable[[], RawSocket] | None = visitors.begin(netns_fd, enter)
        self._opened: Socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close it, if it came to be."""
        with suppress(OSError):
            self.get().close()

    def get(self) -> Socket:
        """The socket. Raises OSError (EBADF, ENOENT: the namespace is gone)."""
        if self._pending:
            pending, self._pending = self._pending, None
            self._opened = Socket(raw=pending())
        if self._opened is None:
            raise OSError(errno.EBADF, "the pod's namespace could not be entered")
        return self._opened


def _calm_ipv6() -> None:
    try:
        if sysctl.read(_DISABLED) == "1":
            sysctl.write(_DISABLED, "0")
        for name, value in _QUIET_IPV6.items():
            sysctl.write(name, value)
    except OSError as error:
        # Then only the link-local address waits: ours are added without the test anyway.
        if error.errno not in _LOCKED_DOWN:
            raise


@dataclass(frozen=True, slots=True)
class NodeSite:
    """The node's side: a socket, and the bridge's index (None in mode ROUTED)."""

    node: Socket
    bridge: int | None


@dataclass(frozen=True, slots=True)
class Site(NodeSite):
    """Where an attachment is made, on both sides. The caller closes what it opened."""

    pod: Socket
    netns_fd: int


@dataclass(frozen=True, slots=True)
class Ends:
    """The indices of a pair, each in its own namespace."""

    node: int
    pod: int


Renamer = Callable[[], Plan]
"""The plan anew, with another name of the node's end."""


def new_pair(site: Site, plan: Plan) -> Ends:
    """Make both ends. Raises FileExistsError where one of the names is taken."""
    host = End(
        plan.host_name,
        mac=plan.node_mac,
        mtu=plan.mtu,
        master=site.bridge,
        queues=_VETH_QUEUES,
    )
    peer = End(plan.ifname, mac=plan.mac, mtu=plan.mtu, netns_fd=site.netns_fd, queues=_VETH_QUEUES)
    site.node.request([link.new_veth(host, peer)])
    try:
        return Ends(
            netdevice.index_of(site.node, plan.host_name),
            netdevice.index_of(site.pod, plan.ifname),
        )
    except OSError as error:
        words = f"{plan.host_name} vanished: was {plan.netns_path} removed?"
        raise OSError(error.errno, words) from None


def connect(site: Site, plan: Plan, another: Renamer) -> tuple[Plan, Ends]:
    """Make the pair, under another name of the node's end where somebody has this one.

    Raises ConflictError if the pod has an interface of this name.
    """
    for _ in range(_NAME_TRIES):
        try:
            return plan, new_pair(site, plan)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
        inside = link.find(site.pod, plan.ifname)
        if inside is None:
            plan = another()
        elif _is_doomed(site, inside):
            delete_doomed(site.node)
        else:
            raise ConflictError(
                f"container veth name provided ({plan.ifname}) already exists in "
                f"{plan.netns_path}: delete it there, or choose another interface name"
            )
    raise ConflictError(f"{_NAME_TRIES} names such as {plan.host_name} are taken on the node")


def _is_doomed(site: Site, inside: Link) -> bool:
    """Whether the pod's link is an older one of ours whose deletion was cut off."""
    other = link.find(site.node, inside.peer) if inside.peer else None
    return other is not None and other.group == DOOMED_GROUP


def configure_node_end(site: NodeSite, plan: Plan, index: int) -> None:
    """Bring the node's end up, the link `index`: port of the bridge, or routes to the pod."""
    requests = [link.set_without_ipv6_address(index).forgiving(errno.EAFNOSUPPORT)]
    if site.bridge is not None and (plan.hairpin or plan.isolated):
        port = Port(hairpin=plan.hairpin or None, isolated=plan.isolated or None)
        requests.append(link.set_bridge_port(index, port))
    requests.append(link.set_link(index, Change(up=True, alias=plan.alias or None)))
    if plan.mode is Mode.ROUTED:
        requests += _routes_to_pod(index, plan)
    at = site.bridge or index
    requests += [_neighbour(at, one.address.ip, plan.mac) for one in plan.addresses]
    try:
        site.node.request(requests)
    except NetlinkError as error:
        if error.errno != errno.EACCES or plan.mode is Mode.BRIDGE:
            raise
        allow_ipv6(plan.host_name)
        site.node.request(requests)


def _routes_to_pod(index: int, plan: Plan) -> list[Request]:
    gateways = [pool.whole(gateway) for gateway in plan.gateways]
    own = [new_address(index, one).forgiving(errno.EEXIST) for one in gateways]
    routes = [route.Route(one.address.network, index) for one in plan.addresses]
    return own + [route.new_route(one, replace=True) for one in routes]


def _neighbour(index: int, ip: IpAddress, mac: str) -> Request:
    return neighbour.new_neighbour(Neighbour(index, ip, mac))


def configure_pod_end(site: Site, plan: Plan, index: int) -> None:
    """Addresses, routes and permanent neighbours of the link `index` in the pod, in one batch."""
    up = Change(up=True)
    requests = [link.set_link(link.LOOPBACK, up), link.set_link(index, up)]
    requests += [_pod_address(index, one) for one in plan.addresses]
    if plan.mode is Mode.ROUTED:
        onlink = [route.Route(pool.whole(one).network, index) for one in plan.gateways]
        requests += [route.new_route(one).forgiving(errno.EEXIST) for one in onlink]
    requests += [_pod_route(index, one) for one in plan.routes]
    requests += [_neighbour(index, one, plan.gateway_mac) for one in plan.gateways]
    site.pod.request(requests)


def _pod_address(index: int, one: PodAddress) -> Request:
    return new_address(index, one.address).forgiving(errno.EEXIST)


def _pod_route(index: int, one: Route) -> Request:
    wanted = route.Route(
        one.destination,
        index,
        one.gateway,
        mtu=one.mtu,
        advmss=one.advmss,
        priority=one.priority,
        table=one.table or route.RT_TABLE_MAIN,
        scope=one.scope,
    )
    return route.new_route(wanted).forgiving(errno.EEXIST)


def mend_node_end(site: NodeSite, plan: Plan, index: int) -> None:
    """Bring the properties of the node's end back; what it carries is configured after it."""
    change = Change(mtu=plan.mtu, master=site.bridge)
    site.node.request([link.set_link(index, change)])


def mend_pod_end(site: Site, plan: Plan, index: int) -> None:
    """As `mend_node_end`, of the pod's; and the routes that its addresses once brought along."""
    change = Change(mtu=plan.mtu, mac=plan.mac, up=True)
    addresses = [_pod_address(index, one) for one in plan.addresses]
    site.pod.request([link.set_link(index, change), *addresses])
    there = {one.destination for one in route.list_routes(site.pod) if one.gateway is None}
    lost = [route.Route(one, index) for one in plan.near if one not in there]
    site.pod.request([route.new_route(one).forgiving(errno.EEXIST) for one in lost])


def follow_mac(site: NodeSite, pod: Socket, plan: Plan) -> None:
    """Have the node know the pod by the plan's hardware address, if the pod's end has that one.

    The change took the pod's own permanent neighbours along: they are told again.
    """
    host, inside = link.find(site.node, plan.host_name), link.find(pod, plan.ifname)
    if host and inside and inside.peer == host.index and inside.mac == plan.mac:
        at = site.bridge or host.index
        site.node.request([_neighbour(at, one.address.ip, plan.mac) for one in plan.addresses])
        pod.request([_neighbour(inside.index, one, plan.gateway_mac) for one in plan.gateways])


def find_ends(site: Site, plan: Plan) -> Ends | None:
    """The pair, if it is there with one end on each side."""
    host = link.find(site.node, plan.host_name)
    inside = link.find(site.pod, plan.ifname)
    if host and inside and host.peer == inside.index and host.group != DOOMED_GROUP:
        return Ends(host.index, inside.index)
    return None


def doom(node: Socket, *names: str) -> bool:
    """Mark links to be deleted with the next group; whether any of them was there."""
    change = Change(group=DOOMED_GROUP)
    results = node.attempt([link.set_link(name, change) for name in names])
    refused = [one for one in results if isinstance(one, NetlinkError)]
    for error in refused:
        if error.errno != errno.ENODEV:
            raise error
    return len(refused) < len(names)


def delete_doomed(node: Socket) -> None:
    """Delete all that is marked, at the price of one."""
    node.request([link.delete_group(DOOMED_GROUP).forgiving(errno.ENODEV)])


def free_name(pod: Socket, ifname: str, *, delete: bool) -> None:
    """Make the interface's name and routes free for the next one, before the link itself is gone.

    `delete` waits for the link to go: where nobody knows the node's end to delete it by. Forgives
    a link that is gone.
    """
    found = link.find(pod, ifname)
    if found is None or found.kind != "veth":
        return
    if delete:
        pod.request([link.delete_link(found.index).forgiving(errno.ENODEV)])
        return
    # Down first: so its routes stand in no one's way, and kernels before 6.2 rename it too.
    away = (Change(up=False), Change(name=f"gone{os.urandom(5).hex()}"))
    pod.request([link.set_link(found.index, change).forgiving(errno.ENODEV) for change in away])


def forget_neighbours(node: Socket, bridge: str, addresses: tuple[IpAddress, ...]) -> None:
    """Take back the permanent neighbours that a bridge was given for a pod."""
    found = link.find(node, bridge)
    if found is None:
        return
    gone = (errno.ENOENT, errno.ENODEV)
    wanted = [Neighbour(found.index, one) for one in addresses]
    node.request([neighbour.delete_neighbour(one).forgiving(*gone) for one in wanted])
