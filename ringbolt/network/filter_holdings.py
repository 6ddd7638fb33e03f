"""What the packet filter has for a pod, held against what was set up. Pure."""

import ipaddress
from collections.abc import Iterator

from ringbolt.network import ruleset
from ringbolt.network.filter_sight import FilterSight
from ringbolt.network.holdings import Fact, Holding, Kind, Place, State
from ringbolt.network.node_holdings import Outside
from ringbolt.network.recorded import addresses_of
from ringbolt.network.settings import IpNetwork, Mode, Settings

_PORT = "leads a port of the node to the pod"
_PODS = "tells the network's pods from others, where they call the node's ports"
_JUMP = "leads what the network's pods send to the network's chain"
_CHAIN = "gives what the pods send the node's address, except to what is exempt"
_GUARD = "keeps pods from sending to 127.0.0.1 of the node"


def filter_holdings(pod: Outside, settings: Settings, *, guessed: bool) -> Iterator[Holding]:
    """Elements of sets and maps that concern the pod, and its network's chain.

    With `guessed` settings nobody knows whether masquerading is wanted: only what is there counts.
    """
    seen = pod.node.filter
    wanted = not guessed and settings.masquerade
    ports = pod.record.ports
    if seen is None:
        if wanted or ports:
            yield _unread()
        return
    chain = ruleset.chain_of(settings.name)
    subnets = ruleset.subnets_of(settings) if not guessed else _subnets_to(chain, seen)
    needed = wanted or (bool(ports) and not guessed)
    for subnet in (str(one) for one in subnets if _holds(one, pod)):
        there = seen.jumps.get(subnet) == chain
        yield from _element(f"pods{_version(subnet)}", subnet, _PODS, subnet in seen.pods, needed)
        name = f"networks{_version(subnet)}"
        yield from _element(name, f"{subnet} : jump {chain}", _JUMP, there, needed)
    if wanted or chain in seen.chains:
        yield _chain(seen, settings, wanted=wanted)
    if pod.record.mode is Mode.BRIDGE:
        bridge = pod.record.bridge
        yield from _element("bridges", bridge, _GUARD, bridge in seen.bridges, needed)
    for name, key, to in ruleset.elements_of(ports, addresses_of(pod.lease, pod.record)):
        there = (name, key, to) in seen.ports
        yield from _element(name, f"{key} : {to}", _PORT, there, wanted=True)


def _subnets_to(chain: str, seen: FilterSight) -> tuple[IpNetwork, ...]:
    return tuple(ipaddress.ip_network(one) for one, to in seen.jumps.items() if to == chain)


def _holds(subnet: IpNetwork, pod: Outside) -> bool:
    return any(one in subnet for one in addresses_of(pod.lease, pod.record))


def _version(subnet: str) -> int:
    return 6 if ":" in subnet else 4


def _unread() -> Holding:
    purpose = "masquerading and host ports"
    return Holding(Kind.CHAIN, Place.NODE, ruleset.TABLE, purpose, State.UNKNOWN)


def _element(where: str, text: str, purpose: str, there: bool, wanted: bool) -> Iterator[Holding]:  # noqa: FBT001
    name = f"{where} {{ {text} }}"
    if there:
        yield Holding(Kind.ELEMENT, Place.NODE, name, purpose)
    elif wanted:
        fault = f"{ruleset.TABLE} lacks the element {name}"
        yield Holding(Kind.ELEMENT, Place.NODE, name, purpose, State.MISSING, fault)


def _chain(seen: FilterSight, settings: Settings, *, wanted: bool) -> Holding:
    chain = ruleset.chain_of(settings.name)
    name = f"{ruleset.TABLE} {chain}"
    if chain not in seen.chains:
        fault = f"the packet filter's chain {name} is gone"
        return Holding(Kind.CHAIN, Place.NODE, name, _CHAIN, State.MISSING, fault)
    masquerades = chain in seen.masquerading
    facts: dict[str, Fact] = {"masquerade": masquerades, "exempt": seen.exempt.get(chain, ())}
    if wanted and not masquerades:
        fault = f"the packet filter's chain {name} does not masquerade"
        return Holding(Kind.CHAIN, Place.NODE, name, _CHAIN, State.DIFFERS, fault, facts)
    return Holding(Kind.CHAIN, Place.NODE, name, _CHAIN, facts=facts)
