"""What the kernel has that differs from what was set up, in sentences. Only looks.

More than was set up is no drift: plugins behind us and people may add to it. Nor is what they may
choose for the pod's end: its hardware address, and an MTU smaller than ours.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from ringbolt.linux import address, link, neighbour, qdisc, route
from ringbolt.linux.address import Address
from ringbolt.linux.link import Link, Port
from ringbolt.linux.neighbour import Neighbour
from ringbolt.linux.netlink import Socket
from ringbolt.linux.qdisc import Qdisc
from ringbolt.linux.route import Route
from ringbolt.network import shaping
from ringbolt.network.names import ifb_name
from ringbolt.network.plan import Plan
from ringbolt.network.settings import IpAddress, Mode
from ringbolt.network.wiring import DOOMED_GROUP

ANY_MTU = 0
"""Of a plan whose MTU is not to be compared: the uplink's may have changed since."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """What was looked at of the node's side, each kind once for however many pods."""

    links: Mapping[str, Link]
    addresses: Collection[tuple[int, IpAddress]]
    neighbours: Mapping[tuple[int, IpAddress], str]
    routes: Collection[tuple[int | None, object]]
    qdiscs: Mapping[int, list[Qdisc]]


def look_at_node(node: Socket) -> NodeView:
    """Everything: five dumps, so not for a pod's start."""
    return _view(
        link.list_links(node),
        address.list_addresses(node),
        neighbour.list_neighbours(node),
        route.list_routes(node),
        qdisc.list_qdiscs(node),
    )


def look_at_ends(node: Socket, plan: Plan, bridge: int | None) -> NodeView:
    """As much as one pod's plan needs."""
    names = (plan.host_name, ifb_name(plan.host_name))
    found = [one for name in names if (one := link.find(node, name))]
    host = next((one.index for one in found if one.name == plan.host_name), None)
    routed = plan.mode is Mode.ROUTED and host
    limited = shaping.plan_buckets(plan.bandwidth, plan.mtu) != (None, None)
    return _view(
        found,
        address.list_addresses(node, host) if routed and host else (),
        neighbour.list_neighbours(node, at) if (at := bridge or host) else (),
        route.list_routes(node) if routed else (),
        qdisc.list_qdiscs(node) if limited else (),
    )


def _view(
    links: Iterable[Link],
    addresses: Iterable[Address],
    neighbours: Iterable[Neighbour],
    routes: Iterable[Route],
    qdiscs: Iterable[Qdisc],
) -> NodeView:
    by_index: dict[int, list[Qdisc]] = {}
    for one in qdiscs:
        by_index.setdefault(one.index, []).append(one)
    return NodeView(
        {one.name: one for one in links},
        {(one.index, one.interface.ip) for one in addresses},
        {
            (one.index, one.address): one.mac
            for one in neighbours
            if one.state == neighbour.NUD_PERMANENT
        },
        {(one.index, one.destination) for one in routes},
        by_index,
    )


def node_drift(view: NodeView, plan: Plan, bridge: int | None) -> tuple[str, ...]:
    """What is wrong on the node's side; `bridge` is its index, None in mode ROUTED."""
    if not is_alive(view.links, plan.host_name):
        return (f"{plan.host_name}, the node's end, is gone",)
    found = view.links[plan.host_name]
    faults = _link_faults(found, plan.host_name, plan.mtu)
    if bridge is not None:
        faults += _port_faults(found, plan, bridge)
    else:
        faults += _routed_faults(view, found, plan)
    at = bridge or found.index
    wanted = (one.address.ip for one in plan.addresses)
    faults += [_lost(one, plan.mac) for one in wanted if view.neighbours.get((at, one)) != plan.mac]
    return (*faults, *_limit_faults(view, found, plan))


def with_choices(plan: Plan, node: Link | None, inside: Link | None) -> Plan:
    """The plan of the pod's end with what others chose for it since (tuning's `mac` and `mtu`).

    An MTU as small as that of the node's end was the uplink's once, and nobody's choice.
    """
    if node is None or inside is None or inside.peer != node.index:
        return plan
    is_chosen = inside.mtu < min(plan.mtu, node.mtu)
    return replace(plan, mac=inside.mac, mtu=inside.mtu if is_chosen else plan.mtu)


def pod_drift(pod: Socket, plan: Plan) -> tuple[str, ...]:
    """What is wrong inside the pod."""
    found = link.find(pod, plan.ifname)
    if found is None:
        return (f"{plan.ifname} is gone from {plan.netns_path}",)
    faults = _link_faults(found, plan.ifname, plan.mtu)
    if found.mac != plan.mac:
        faults.append(f"{plan.ifname} has the hardware address {found.mac}, not {plan.mac}")
    bad = address.IFA_F_DADFAILED | address.IFA_F_TENTATIVE
    usable = {
        one.interface for one in address.list_addresses(pod, found.index) if not one.flags & bad
    }
    faults += [
        f"{plan.ifname} lacks the address {one.address}"
        for one in plan.addresses
        if one.address not in usable
    ]
    faults += _route_faults(pod, plan)
    there = {
        one.address: one.mac
        for one in neighbour.list_neighbours(pod, found.index)
        if one.state == neighbour.NUD_PERMANENT
    }
    mac = plan.gateway_mac
    return (*faults, *(_lost(one, mac) for one in plan.gateways if there.get(one) != mac))


def _lost(one: IpAddress, mac: str) -> str:
    return f"the permanent neighbour {one} at {mac} is gone"


def _link_faults(found: Link, name: str, mtu: int) -> list[str]:
    faults = [] if found.up else [f"{name} is down"]
    if mtu not in (ANY_MTU, found.mtu):
        faults.append(f"{name} has an MTU of {found.mtu}, not {mtu}")
    return faults


def _port_faults(found: Link, plan: Plan, bridge: int) -> list[str]:
    if found.master != bridge:
        return [f"{plan.host_name} is not in the bridge {plan.bridge}"]
    port = link.parse_port(found) or Port()
    wanted = (("hairpin", plan.hairpin, port.hairpin), ("isolated", plan.isolated, port.isolated))
    return [
        f"{plan.host_name} is not {word} in the bridge {plan.bridge}"
        for word, asked, there in wanted
        if asked and not there
    ]


def _routed_faults(view: NodeView, found: Link, plan: Plan) -> list[str]:
    networks = [one.address.network for one in plan.addresses]
    faults = [
        f"the route to {one} is gone" for one in networks if (found.index, one) not in view.routes
    ]
    return faults + [
        f"{plan.host_name} lacks the address {one}"
        for one in plan.gateways
        if (found.index, one) not in view.addresses
    ]


def _limit_faults(view: NodeView, found: Link, plan: Plan) -> list[str]:
    """The redirecting filter is not looked at: it goes with the discipline that it is in."""
    to_pod, from_pod = shaping.plan_buckets(plan.bandwidth, plan.mtu)
    faults: list[str] = []
    if to_pod and not _has_bucket(view, found.index, to_pod.rate):
        faults.append(f"what {plan.ifname} receives is not limited any more")
    ifb = view.links.get(ifb_name(plan.host_name))
    if from_pod and not (
        ifb
        and ifb.up
        and _has_bucket(view, ifb.index, from_pod.rate)
        and any(one.kind == "ingress" for one in view.qdiscs.get(found.index, ()))
    ):
        faults.append(f"what {plan.ifname} sends is not limited any more")
    return faults


def _has_bucket(view: NodeView, index: int, rate: int) -> bool:
    there = view.qdiscs.get(index, ())
    return any(one.kind == "tbf" and one.rate == rate for one in there)


def _route_faults(pod: Socket, plan: Plan) -> list[str]:
    main = route.RT_TABLE_MAIN
    wanted: list[tuple[int, object, IpAddress | None]] = [(main, one, None) for one in plan.near]
    wanted += [(one.table or main, one.destination, one.gateway) for one in plan.routes]
    there = {
        (one.table, one.destination, one.gateway)
        for table in dict.fromkeys(table for table, _to, _by in wanted)
        for one in route.list_routes(pod, table=table)
    }
    return [
        f"the route to {to} is gone from {plan.netns_path}"
        for table, to, by in wanted
        if (table, to, by) not in there
    ]


def is_alive(links: Mapping[str, Link], name: str) -> bool:
    """Whether a pod's link lives: the pod's end dies with its namespace, the node's with that."""
    found = links.get(name)
    return found is not None and found.group != DOOMED_GROUP
