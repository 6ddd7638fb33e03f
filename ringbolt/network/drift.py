"""What the kernel has that differs from what was set up, in sentences. Only looks.

More than was set up is no drift: plugins behind us and people may add to it.
"""

from ringbolt.linux import address, link, neighbour, route
from ringbolt.linux.link import Link
from ringbolt.linux.netlink import Socket
from ringbolt.network.plan import Plan
from ringbolt.network.settings import IpAddress, Mode
from ringbolt.network.wiring import DOOMED_GROUP, Site

ANY_MTU = 0
"""Of a plan whose MTU is not to be compared: the uplink's may have changed since."""


def find_drift(site: Site, plan: Plan) -> tuple[str, ...]:
    """What is wrong on both sides; () where all is well. Dumps: not for a pod's start."""
    return (*node_drift(site, plan), *pod_drift(site, plan))


def node_drift(site: Site, plan: Plan) -> tuple[str, ...]:
    """What is wrong on the node's side."""
    found = link.find(site.node, plan.host_name)
    if found is None or found.group == DOOMED_GROUP:
        return (f"{plan.host_name}, the node's end, is gone",)
    faults = _link_faults(found, plan.host_name, plan.mtu)
    if site.bridge is not None and found.master != site.bridge:
        faults.append(f"{plan.host_name} is not in the bridge {plan.bridge}")
    if plan.mode is Mode.ROUTED:
        there = {
            one.destination for one in route.list_routes(site.node) if one.index == found.index
        }
        wanted = [one.address.network for one in plan.addresses]
        faults += [f"the route to {one} is gone" for one in wanted if one not in there]
    at = site.bridge or found.index
    addresses = [one.address.ip for one in plan.addresses]
    return (*faults, *_neighbour_faults(site.node, at, addresses, plan.mac))


def pod_drift(site: Site, plan: Plan) -> tuple[str, ...]:
    """What is wrong inside the pod."""
    found = link.find(site.pod, plan.ifname)
    if found is None:
        return (f"{plan.ifname} is gone from {plan.netns_path}",)
    faults = _link_faults(found, plan.ifname, plan.mtu)
    if found.mac != plan.mac:
        faults.append(f"{plan.ifname} has the hardware address {found.mac}, not {plan.mac}")
    bad = address.IFA_F_DADFAILED | address.IFA_F_TENTATIVE
    usable = {
        one.interface
        for one in address.list_addresses(site.pod, found.index)
        if not one.flags & bad
    }
    faults += [
        f"{plan.ifname} lacks the address {one.address}"
        for one in plan.addresses
        if one.address not in usable
    ]
    faults += _route_faults(site.pod, plan)
    return (*faults, *_neighbour_faults(site.pod, found.index, plan.gateways, plan.gateway_mac))


def _link_faults(found: Link, name: str, mtu: int) -> list[str]:
    faults = [] if found.up else [f"{name} is down"]
    if mtu not in (ANY_MTU, found.mtu):
        faults.append(f"{name} has an MTU of {found.mtu}, not {mtu}")
    return faults


def _route_faults(pod: Socket, plan: Plan) -> list[str]:
    tables = {one.table or route.RT_TABLE_MAIN for one in plan.routes}
    there = {
        (one.table, one.destination, one.gateway)
        for table in tables
        for one in route.list_routes(pod, table=table)
    }
    return [
        f"the route to {one.destination} is gone from {plan.netns_path}"
        for one in plan.routes
        if (one.table or route.RT_TABLE_MAIN, one.destination, one.gateway) not in there
    ]


def _neighbour_faults(
    socket: Socket, index: int, addresses: tuple[IpAddress, ...] | list[IpAddress], mac: str
) -> list[str]:
    there = {
        one.address: one.mac
        for one in neighbour.list_neighbours(socket, index)
        if one.state == neighbour.NUD_PERMANENT
    }
    return [
        f"the permanent neighbour {one} at {mac} is gone"
        for one in addresses
        if there.get(one) != mac
    ]


def mend(site: Site, plan: Plan) -> None:
    """Bring the links' own properties back; what they carry is configured again after it."""
    change = link.Change(mtu=plan.mtu, master=site.bridge)
    site.node.request([link.set_link(plan.host_name, change)])
    inside = link.Change(mtu=plan.mtu, mac=plan.mac)
    site.pod.request([link.set_link(plan.ifname, inside)])


def is_alive(links: dict[str, Link], name: str) -> bool:
    """Whether a pod's namespace lives: the pod's end dies with it, and the node's end with that."""
    found = links.get(name)
    return found is not None and found.group != DOOMED_GROUP
