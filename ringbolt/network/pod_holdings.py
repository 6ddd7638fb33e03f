"""What is inside a pod's namespace, held against what was set up there. Pure.

More than was set up is no fault: it is shown as foreign.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ringbolt.linux import address, route
from ringbolt.linux.link import Link
from ringbolt.network.holdings import Fact, Holding, Kind, Place, State
from ringbolt.network.leases import NOWHERE, Lease
from ringbolt.network.plan import Plan
from ringbolt.network.record import Record
from ringbolt.network.settings import IpAddress
from ringbolt.network.sight import PodSight

_UNUSABLE = address.IFA_F_DADFAILED | address.IFA_F_TENTATIVE
_GATEWAY = "where the pod's packets leave it; permanent, so that its first one waits for no answer"
_FOREIGN = "not of our making"


@dataclass(frozen=True, slots=True)
class Inside:
    """What is known of one pod's side: `seen` is a sight, or in words why there is none."""

    lease: Lease
    record: Record
    plan: Plan | None
    seen: PodSight | str


def pod_holdings(pod: Inside, *, alive: bool) -> Iterator[Holding]:
    """The namespace, the link and what it carries; `alive`: the node's end is there."""
    yield _namespace(pod, alive=alive)
    if isinstance(pod.seen, str):
        return
    ifname = pod.lease.key.ifname
    found = pod.seen.link
    if found is None:
        fault = f"{ifname} is gone from {pod.record.netns_path}"
        yield Holding(Kind.LINK, Place.POD, ifname, _LINK, State.MISSING, fault)
        return
    yield _link(found, pod.plan)
    yield from _addresses(pod.seen, pod.plan, ifname)
    yield from _routes(pod.seen, pod.plan, ifname)
    yield from _neighbours(pod.seen, pod.plan, found)


def _namespace(pod: Inside, *, alive: bool) -> Holding:
    netns = pod.lease.netns
    facts: dict[str, Fact] = {"path": pod.record.netns_path, "alive": alive}
    if netns != NOWHERE:
        facts |= {"device": netns.dev, "inode": netns.ino}
    fault = ""
    state = State.THERE
    if isinstance(pod.seen, str):
        state = State.UNKNOWN if alive or netns == NOWHERE else State.MISSING
        fault = f"its namespace cannot be seen: {pod.seen}" if alive else ""
    purpose = "the pod's own network; all that is in it ends with it"
    name = pod.record.netns_path or "its namespace"
    return Holding(Kind.NAMESPACE, Place.POD, name, purpose, state, fault, facts)


_LINK = "the pod's end of the pair"


def _link(found: Link, plan: Plan | None) -> Holding:
    facts = link_facts(found)
    faults: list[str] = []
    if plan:
        faults = link_faults(found, plan.mtu)
        if found.mac != plan.mac:
            faults.append(f"{found.name} has the hardware address {found.mac}, not {plan.mac}")
    return judged(Kind.LINK, Place.POD, found.name, _LINK, faults=faults, facts=facts)


def link_facts(found: Link) -> dict[str, Fact]:
    """What is worth knowing of a link."""
    facts: dict[str, Fact] = {
        "index": found.index,
        "peer": found.peer,
        "mac": found.mac,
        "mtu": found.mtu,
        "up": found.up,
    }
    return facts | ({"alias": found.alias} if found.alias else {})


def link_faults(found: Link, mtu: int) -> list[str]:
    """What is wrong with a link that shall be up and have this MTU."""
    faults = [] if found.up else [f"{found.name} is down"]
    if found.mtu != mtu:
        faults.append(f"{found.name} has an MTU of {found.mtu}, not {mtu}")
    return faults


def judged(  # an object has these parts
    kind: Kind, place: Place, name: str, purpose: str, *, faults: list[str], facts: dict[str, Fact]
) -> Holding:
    """An object that is there, with what is wrong about it."""
    state = State.DIFFERS if faults else State.THERE
    return Holding(kind, place, name, purpose, state, "; ".join(faults), facts)


def _addresses(seen: PodSight, plan: Plan | None, ifname: str) -> Iterator[Holding]:
    wanted = {one.address: one.gateway for one in plan.addresses} if plan else {}
    there = {one.interface: one for one in seen.addresses}
    for interface, gateway in wanted.items():
        facts: dict[str, Fact] = {"gateway": str(gateway)} if gateway else {}
        name = f"{interface} on {ifname}"
        purpose = "the pod's address, leased to it"
        found = there.get(interface)
        if found is None:
            fault = f"{ifname} lacks the address {interface}"
            yield Holding(Kind.ADDRESS, Place.POD, name, purpose, State.MISSING, fault, facts)
            continue
        faults = (
            [f"{interface} is not usable: somebody else has it, or that is still being tested"]
            if found.flags & _UNUSABLE
            else []
        )
        yield judged(Kind.ADDRESS, Place.POD, name, purpose, faults=faults, facts=facts)
    for interface in there:
        if interface not in wanted:
            local = interface.ip.is_link_local
            purpose = "link-local, of the kernel's making" if local else _FOREIGN
            name = f"{interface} on {ifname}"
            yield Holding(Kind.ADDRESS, Place.POD, name, purpose, State.FOREIGN)


def _routes(seen: PodSight, plan: Plan | None, ifname: str) -> Iterator[Holding]:
    wanted = {
        (one.table or route.RT_TABLE_MAIN, one.destination, one.gateway): one
        for one in (plan.routes if plan else ())
    }
    there = {(one.table, one.destination, one.gateway): one for one in seen.routes}
    for key in wanted:
        purpose = "the way to everywhere else" if not key[1].prefixlen else "a route of the network"
        if key in there:
            yield _route(there[key], ifname, purpose, State.THERE)
            continue
        name = _route_name(*key, ifname)
        fault = f"the route to {key[1]} is gone"
        yield Holding(Kind.ROUTE, Place.POD, name, purpose, State.MISSING, fault)
    for key, one in there.items():
        if key in wanted:
            continue
        kernel = one.protocol == route.RTPROT_KERNEL
        yield _route(one, ifname, *_unasked(one, plan, kernel=kernel))


def _unasked(one: route.Route, plan: Plan | None, *, kernel: bool) -> tuple[str, State]:
    if plan and one.gateway in plan.gateways:
        return "leads to the pod's gateway", State.THERE
    lone = one.destination.num_addresses == 1 and one.gateway is None
    if plan and lone and one.destination.network_address in plan.gateways:
        return "the way to the gateway, which is on no subnet of the pod's", State.THERE
    if kernel:
        return "of the kernel's making: an address brings it", State.THERE
    return _FOREIGN, State.FOREIGN


def _route_name(table: int, destination: object, gateway: IpAddress | None, ifname: str) -> str:
    via = f" via {gateway}" if gateway else ""
    where = f" table {table}" if table != route.RT_TABLE_MAIN else ""
    return f"{destination}{via} dev {ifname}{where}"


def _route(one: route.Route, ifname: str, purpose: str, state: State) -> Holding:
    known = {"mtu": one.mtu, "advmss": one.advmss, "priority": one.priority}
    facts: dict[str, Fact] = {key: value for key, value in known.items() if value is not None}
    name = _route_name(one.table, one.destination, one.gateway, ifname)
    return Holding(Kind.ROUTE, Place.POD, name, purpose, state, "", facts)


def _neighbours(seen: PodSight, plan: Plan | None, found: Link) -> Iterator[Holding]:
    there = {ip: mac for (_index, ip), mac in (seen.neighbours or {}).items()}
    wanted = dict.fromkeys(plan.gateways, plan.gateway_mac) if plan else {}
    yield from neighbour_holdings(Place.POD, found.name, wanted, there, _GATEWAY)
    for ip, mac in there.items():
        if ip not in wanted:
            name = f"{ip} at {mac} on {found.name}"
            yield Holding(Kind.NEIGHBOUR, Place.POD, name, _FOREIGN, State.FOREIGN)


def neighbour_holdings(
    place: Place,
    where: str,
    wanted: dict[IpAddress, str],
    there: dict[IpAddress, str],
    purpose: str,
) -> Iterator[Holding]:
    """The permanent neighbours that shall be on the link `where`."""
    for ip, mac in wanted.items():
        name = f"{ip} at {mac} on {where}"
        if there.get(ip) == mac:
            yield Holding(Kind.NEIGHBOUR, place, name, purpose)
        else:
            fault = f"the permanent neighbour {ip} at {mac} is gone from {where}"
            yield Holding(Kind.NEIGHBOUR, place, name, purpose, State.MISSING, fault)
