"""What of the ruleset is in the kernel's table, from libnftables-json(5), and what is lost. Pure.

What more there is in the table than we put there is somebody's own affair; the maps of host ports
are not: an element there leads traffic to a pod.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ringbolt.network import ruleset
from ringbolt.network.ruleset import Element
from ringbolt.network.settings import Mode, Settings


@dataclass(frozen=True, slots=True)
class TableView:
    """How many rules each chain has, what each set holds, the elements of host ports."""

    rules: Mapping[str, int]
    sets: Mapping[str, frozenset[str]]
    ports: frozenset[Element]


def parse_table(listed: Iterable[Mapping[str, Any]]) -> TableView:
    """The table of `list table`."""
    rules: dict[str, int] = {}
    sets: dict[str, frozenset[str]] = {}
    ports: list[Element] = []
    for one in listed:
        if chain := one.get("chain"):
            rules.setdefault(chain["name"], 0)
        elif rule := one.get("rule"):
            rules[rule["chain"]] = rules.get(rule["chain"], 0) + 1
        elif found := one.get("set") or one.get("map"):
            if found["name"] in ruleset.MAPS:
                ports += ruleset.parse_elements(found)
            else:
                keys = [each[0] if "map" in one else each for each in found.get("elem", ())]
                sets[found["name"]] = frozenset(map(_key, keys))
    return TableView(rules, sets, frozenset(ports))


def _key(key: Any) -> str:
    """The key of an element: a subnet, an address or a link's name."""
    if isinstance(key, str):
        return key
    prefix = key["prefix"]
    return f"{prefix['addr']}/{prefix['len']}"


def lost_of(settings: Settings, view: TableView) -> list[str]:
    """What the network lacks in the table, in sentences."""
    lost = [
        f"the packet filter's chain {chain} of {ruleset.TABLE} lost its rules"
        for chain, count in ruleset.count_rules(settings).items()
        if view.rules.get(chain, -1) < count
    ]
    return lost + [
        f"{key} is gone from the packet filter's set {name} of {ruleset.TABLE}"
        for name, key in _keys_of(settings)
        if key not in view.sets.get(name, ())
    ]


def _keys_of(settings: Settings) -> Iterable[tuple[str, str]]:
    if settings.mode is Mode.BRIDGE:
        yield "bridges", settings.bridge
    for subnet in ruleset.subnets_of(settings):
        whole = subnet.prefixlen == subnet.max_prefixlen
        shown = str(subnet.network_address) if whole else str(subnet)
        yield f"pods{subnet.version}", shown
        yield f"networks{subnet.version}", shown


def describe(element: Element) -> str:
    """`host port 8080/tcp to 10.88.0.2 . 80`."""
    _map, key, to = element
    protocol, *rest = key.split(" . ")
    return f"host port {' '.join(rest)}/{protocol} to {to.replace(' . ', ':')}"
