"""What the node's packet filter shall be, as text in nft's language. Pure.

One table of our own. Its chains are the same whatever runs; networks are elements of `networks*`
(a chain for each, which masquerades or not), host ports are elements of the maps `ports*`. So a pod
costs no rule, and its ports one element each.

Priorities: the guard sees packets before conntrack turns answers back to 127.0.0.1.
"""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2s
from typing import Any

from ringbolt.network import pool
from ringbolt.network.attachment import PortMapping, Protocol
from ringbolt.network.settings import IpAddress, IpNetwork, Mode, NetworkName, Settings

TABLE = "inet ringbolt"
HAIRPIN_MARK = 0x2000
"""The bit that portmap marks for masquerading too: the two agree where they meet."""

_FAMILIES = ((4, "ip", "ipv4_addr"), (6, "ip6", "ipv6_addr"))
_MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}
_POD_LINKS = "rb*"


def plan_table() -> str:
    """The table with its chains; what the sets and maps hold is kept where it is there."""
    lines = [f"add table {TABLE}"]
    lines += [f"add set {TABLE} bridges {{ type ifname; }}"]
    for version, _word, kind in _FAMILIES:
        port = f"inet_service : {kind} . inet_service"
        lines += [
            f"add set {TABLE} pods{version} {{ type {kind}; flags interval; }}",
            f"add map {TABLE} networks{version} {{ type {kind} : verdict; flags interval; }}",
            f"add map {TABLE} ports{version} {{ type inet_proto . {port}; }}",
            f"add map {TABLE} ports_at{version} {{ type inet_proto . {kind} . {port}; }}",
        ]
    for chain, hook in _CHAINS.items():
        lines += [f"add chain {TABLE} {chain} {hook}", f"flush chain {TABLE} {chain}"]
        lines += [f"add rule {TABLE} {chain} {rule}" for rule in _RULES[chain]]
    return "\n".join(lines) + "\n"


_CHAINS = {
    "hostports": "",
    "guard": "{ type filter hook prerouting priority -310; }",
    "prerouting": "{ type nat hook prerouting priority -100; }",
    "output": "{ type nat hook output priority -100; }",
    "postrouting": "{ type nat hook postrouting priority 100; }",
}

_RULES: dict[str, tuple[str, ...]] = {
    "hostports": tuple(
        f"dnat {word} to meta l4proto . {at}th dport map @{name}{version}"
        for version, word, _kind in _FAMILIES
        for name, at in (("ports_at", f"{word} daddr . "), ("ports", ""))
    ),
    # Where 127.0.0.1 is routed to pods, nobody but the node itself may send to it. All packets pass
    # here: of nearly all only the destination is looked at.
    "guard": (
        f'ip daddr 127.0.0.0/8 iifname "{_POD_LINKS}" drop',
        "ip daddr 127.0.0.0/8 iifname @bridges drop",
    ),
    # A pod that reaches a pod through the node's port gets its answer from the wrong address,
    # unless the answer has to come back by the node.
    "prerouting": (
        *(
            f"{word} saddr @pods{version} fib daddr type local"
            f" meta mark set meta mark | {HAIRPIN_MARK:#x}"
            for version, word, _kind in _FAMILIES
        ),
        "fib daddr type local jump hostports",
    ),
    "output": ("fib daddr type local jump hostports",),
    "postrouting": (
        f"ct status dnat meta mark & {HAIRPIN_MARK:#x} == {HAIRPIN_MARK:#x} masquerade",
        "ct status dnat ip saddr 127.0.0.0/8 ip daddr @pods4 masquerade",
        "ip saddr vmap @networks4",
        "ip6 saddr vmap @networks6",
    ),
}


def chain_of(network: NetworkName) -> str:
    """The chain of a network, named by a hash: nft's names hold fewer characters than ours."""
    return f"net_{blake2s(network.encode(), digest_size=6).hexdigest()}"


def plan_chain(network: NetworkName) -> str:
    """The network's chain, to be there before `plan_network` lets elements lead to it.

    nftables (1.1.0) does not find a chain of the same transaction when an element names it.
    """
    return f"add chain {TABLE} {chain_of(network)}\n"


def plan_network(settings: Settings) -> str:
    """A network's rules and elements; sent again it changes nothing."""
    chain = chain_of(settings.name)
    lines = [f"flush chain {TABLE} {chain}"]
    if settings.mode is Mode.BRIDGE:
        lines.append(f'add element {TABLE} bridges {{ "{settings.bridge}" }}')
    for version, word, _kind in _FAMILIES:
        subnets = [one for one in subnets_of(settings) if one.version == version]
        if not subnets:
            continue
        here = ", ".join(map(str, subnets))
        verdicts = ", ".join(f"{one} : jump {chain}" for one in subnets)
        lines.append(f"add element {TABLE} pods{version} {{ {here} }}")
        lines.append(f"add element {TABLE} networks{version} {{ {verdicts} }}")
        if settings.masquerade:
            exempt = [str(e) for e in settings.masquerade_exempt if e.version == version]
            near = ", ".join([_MULTICAST[version], *map(str, subnets), *exempt])
            lines += [
                f"add rule {TABLE} {chain} {word} daddr {one} return" for one in near.split(", ")
            ]
    if settings.masquerade:
        # By what leads to the chain, not by today's subnets: pods of earlier ones may run still.
        lines.append(f"add rule {TABLE} {chain} masquerade")
    return "\n".join(lines) + "\n"


def count_rules(settings: Settings) -> dict[str, int]:
    """How many rules each chain has that the network needs."""
    counts = {chain: len(rules) for chain, rules in _RULES.items()}
    own = chain_of(settings.name)
    counts[own] = plan_network(settings).count(f"add rule {TABLE} {own} ")
    return counts


def subnets_of(settings: Settings) -> tuple[IpNetwork, ...]:
    """Every subnet of the network once."""
    return tuple(dict.fromkeys(one.subnet for ranges in settings.ranges for one in ranges))


def links_of(settings: Settings) -> str:
    """The links of pods as nft and iptables write them: the bridge, or a pattern."""
    return settings.bridge if settings.mode is Mode.BRIDGE else _POD_LINKS


Element = tuple[str, str, str]
"""Map, key, value."""


def elements_of(
    ports: Iterable[PortMapping], addresses: tuple[IpAddress, ...]
) -> tuple[Element, ...]:
    """The elements of a pod's host ports: one for each port and family that has one."""
    return tuple(element for one in ports for element in _elements(one, _first_of_each(addresses)))


def _elements(one: PortMapping, addresses: list[IpAddress]) -> Iterator[Element]:
    for address in addresses:
        version = address.version
        at = "" if one.host_ip is None else f"{one.host_ip} . "
        if one.host_ip is not None and one.host_ip.version != version:
            continue
        name = f"ports_at{version}" if at else f"ports{version}"
        for step in range(one.count):
            key = f"{one.protocol.value} . {at}{one.host_port + step}"
            yield name, key, f"{address} . {one.container_port + step}"


def _first_of_each(addresses: tuple[IpAddress, ...]) -> list[IpAddress]:
    first: dict[int, IpAddress] = {}
    for one in addresses:
        first.setdefault(one.version, one)
    return list(first.values())


MAPS = ("ports4", "ports_at4", "ports6", "ports_at6")
_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}


def parse_elements(listed: Mapping[str, Any]) -> list[Element]:
    """The elements of a map as libnftables-json(5) lists it: {"name": ..., "elem": [[key, to]]}."""
    found: list[Element] = []
    for key, to in listed.get("elem", ()):
        protocol, *rest = key["concat"]
        words = [_PROTOCOLS.get(protocol, str(protocol)), *map(str, rest)]
        found.append((listed["name"], " . ".join(words), " . ".join(map(str, to["concat"]))))
    return found


def add_elements(elements: Iterable[Element]) -> str:
    """The commands that add them, all at once."""
    return "".join(f"add element {TABLE} {m} {{ {key} : {to} }}\n" for m, key, to in elements)


def delete_elements(elements: Iterable[Element]) -> str:
    """The commands that delete them, all at once."""
    return "".join(f"delete element {TABLE} {name} {{ {key} }}\n" for name, key, _to in elements)


def needs_localhost(ports: Iterable[PortMapping], addresses: tuple[IpAddress, ...]) -> bool:
    """Whether the node's own 127.0.0.1 leads to the pod: only of IPv4 can the kernel route it."""
    if not any(one.version == pool.IPV4 for one in addresses):
        return False
    return any(one.host_ip is None or one.host_ip.is_loopback for one in ports)


def udp_ports(ports: Iterable[PortMapping]) -> list[int]:
    """The host ports whose tracked flows have to be forgotten."""
    udp = [one for one in ports if one.protocol is Protocol.UDP]
    return [one.host_port + step for one in udp for step in range(one.count)]
