"""What the node has for a pod, packet filter aside, held against what was set up. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from ringbolt.linux.link import Link
from ringbolt.linux.qdisc import TC_H_INGRESS, TC_H_ROOT, Bucket, Qdisc
from ringbolt.network.holdings import Fact, Holding, Kind, Place, State
from ringbolt.network.leases import Lease
from ringbolt.network.names import ifb_name
from ringbolt.network.plan import Plan
from ringbolt.network.pod_holdings import judged, link_facts, link_faults, neighbour_holdings
from ringbolt.network.record import Record
from ringbolt.network.recorded import addresses_of
from ringbolt.network.settings import IpAddress, Mode
from ringbolt.network.shaping import plan_bucket
from ringbolt.network.sight import NodeSight
from ringbolt.network.wiring import DOOMED_GROUP

_PAIR = "the node's end of the pair; it goes when the pod's end does, which proves the pod alive"
_BRIDGE = "joins the network's pods, and has their gateways' addresses; shared by all of them"
_NEIGHBOUR = "where the pod is; permanent, so that a first packet to it waits for no answer"
_TO_POD = "leads the node to the pod, which hangs on no bridge"
_OWN = "the pod's gateway, so that the node answers for it on this link"
_RECEIVES = "bounds what the pod receives"
_SENDS = "bounds what the pod sends"
_INGRESS = "sends what the pod sends through its ifb"
_IFB = "what the pod sends passes here, where it can be bounded"


@dataclass(frozen=True, slots=True)
class Outside:
    """What is known of one pod's node side."""

    lease: Lease
    record: Record
    plan: Plan | None
    node: NodeSight

    @property
    def link(self) -> Link | None:
        """The node's end, unless it is as good as gone."""
        found = self.node.links.get(self.lease.host_name)
        return found if found and found.group != DOOMED_GROUP else None


def node_holdings(pod: Outside) -> Iterator[Holding]:
    """Links, routes, neighbours and bounds."""
    found = pod.link
    name = pod.lease.host_name
    if found is None:
        fault = f"{name}, the node's end, is gone"
        yield Holding(Kind.LINK, Place.NODE, name, _PAIR, State.MISSING, fault)
    else:
        yield _pair(found, pod)
    at = found
    if pod.record.mode is Mode.BRIDGE:
        at = pod.node.links.get(pod.record.bridge)
        yield _bridge(at, pod)
    elif found:
        yield from _routed(found, pod)
    if at:
        there = {ip: mac for (index, ip), mac in pod.node.neighbours.items() if index == at.index}
        wanted = dict.fromkeys(_addresses(pod), pod.plan.mac) if pod.plan else {}
        yield from neighbour_holdings(Place.NODE, at.name, wanted, there, _NEIGHBOUR)
    if found:
        yield from _bounds(found, pod)


def _addresses(pod: Outside) -> tuple[IpAddress, ...]:
    return addresses_of(pod.lease, pod.record)


def _pair(found: Link, pod: Outside) -> Holding:
    plan, bridge = pod.plan, pod.record.bridge
    faults = link_faults(found, plan.mtu) if plan else []
    facts = link_facts(found)
    if pod.record.mode is Mode.BRIDGE:
        master = pod.node.links.get(bridge)
        if master is None or found.master != master.index:
            faults.append(f"{found.name} is not in the bridge {bridge}")
        faults += _port(found, pod, facts)
    return judged(Kind.LINK, Place.NODE, found.name, _PAIR, faults=faults, facts=facts)


def _port(found: Link, pod: Outside, facts: dict[str, Fact]) -> Iterator[str]:
    """What is wrong with the bridge's port; puts its settings down."""
    port = pod.node.ports.get(found.index)
    if port is None:
        return
    plan = pod.plan
    masters = [one.name for one in pod.node.links.values() if one.index == found.master]
    facts["bridge"] = masters[0] if masters else found.master
    for name, value, wanted in (
        ("hairpin", port.hairpin, plan and plan.hairpin),
        ("isolated", port.isolated, plan and plan.isolated),
    ):
        if value is None:
            continue
        facts[name] = value
        if wanted and not value:
            yield f"the port {found.name} is not {name}"


def _bridge(found: Link | None, pod: Outside) -> Holding:
    name = pod.record.bridge
    if found is None:
        fault = f"the bridge {name} is gone"
        return Holding(Kind.LINK, Place.NODE, name, _BRIDGE, State.MISSING, fault)
    here = [str(one.interface) for one in pod.node.addresses_of(found.index)]
    facts = link_facts(found) | {"addresses": tuple(here)}
    del facts["peer"]
    faults = [] if found.up else [f"the bridge {name} is down"]
    own = {one.interface.ip for one in pod.node.addresses_of(found.index)}
    gateways = pod.plan.gateways if pod.plan else ()
    faults += [f"{name} lacks the gateway's address {one}" for one in gateways if one not in own]
    return judged(Kind.LINK, Place.NODE, name, _BRIDGE, faults=faults, facts=facts)


def _routed(found: Link, pod: Outside) -> Iterator[Holding]:
    own = {one.interface.ip for one in pod.node.addresses_of(found.index)}
    for gateway in pod.plan.gateways if pod.plan else ():
        name = f"{gateway} on {found.name}"
        if gateway in own:
            yield Holding(Kind.ADDRESS, Place.NODE, name, _OWN)
        else:
            fault = f"{found.name} lacks the gateway's address {gateway}"
            yield Holding(Kind.ADDRESS, Place.NODE, name, _OWN, State.MISSING, fault)
    there = {str(one.destination) for one in pod.node.routes if one.index == found.index}
    for one in addresses_of(pod.lease, pod.record):
        to = f"{one}/{one.max_prefixlen}"
        name = f"{to} dev {found.name}"
        if to in there:
            yield Holding(Kind.ROUTE, Place.NODE, name, _TO_POD)
        else:
            fault = f"the route to {to} is gone"
            yield Holding(Kind.ROUTE, Place.NODE, name, _TO_POD, State.MISSING, fault)


def _bounds(found: Link, pod: Outside) -> Iterator[Holding]:
    limits = pod.record.bandwidth
    mtu = pod.plan.mtu if pod.plan else found.mtu
    if bucket := plan_bucket(limits.ingress_rate, limits.ingress_burst, mtu):
        yield _bucket(found, bucket, pod.node.qdiscs, _RECEIVES)
    bucket = plan_bucket(limits.egress_rate, limits.egress_burst, mtu)
    if bucket is None:
        return
    name = f"ingress on {found.name}"
    if any(one.index == found.index and one.parent == TC_H_INGRESS for one in pod.node.qdiscs):
        yield Holding(Kind.QDISC, Place.NODE, name, _INGRESS)
    else:
        yield _missing(Kind.QDISC, name, _INGRESS)
    ifb = pod.node.links.get(ifb_name(found.name))
    if ifb is None:
        yield _missing(Kind.LINK, ifb_name(found.name), _IFB)
        return
    faults = [] if ifb.up else [f"{ifb.name} is down, so the pod can send nothing"]
    facts = link_facts(ifb)
    del facts["peer"]
    yield judged(Kind.LINK, Place.NODE, ifb.name, _IFB, faults=faults, facts=facts)
    yield _bucket(ifb, bucket, pod.node.qdiscs, _SENDS)


def _missing(kind: Kind, name: str, purpose: str) -> Holding:
    return Holding(kind, Place.NODE, name, purpose, State.MISSING, f"{name} is gone")


def _bucket(at: Link, wanted: Bucket, qdiscs: tuple[Qdisc, ...], purpose: str) -> Holding:
    name = f"tbf on {at.name}"
    here = [one for one in qdiscs if one.index == at.index and one.parent == TC_H_ROOT]
    found = next((one for one in here if one.kind == "tbf"), None)
    if found is None:
        return _missing(Kind.QDISC, name, purpose)
    facts: dict[str, Fact] = {"rate": found.rate, "burst": found.burst}
    faults = (
        [f"{name} lets {found.rate} bytes a second through, not {wanted.rate}"]
        if found.rate != wanted.rate
        else []
    )
    return judged(Kind.QDISC, Place.NODE, name, purpose, faults=faults, facts=facts)
