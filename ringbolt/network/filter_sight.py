"""Our table of the packet filter as libnftables-json(5) lists it, read back into values. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ringbolt.network import ruleset
from ringbolt.network.ruleset import Element


@dataclass(frozen=True, slots=True)
class FilterSight:
    """What the table holds.

    `jumps`: subnet to the chain of its network; `exempt`: chain to what it leaves unmasqueraded;
    `bridges` are guarded from pods that send to 127.0.0.1.
    """

    chains: frozenset[str] = frozenset()
    ports: frozenset[Element] = frozenset()
    pods: frozenset[str] = frozenset()
    bridges: frozenset[str] = frozenset()
    jumps: Mapping[str, str] = field(default_factory=dict[str, str])
    exempt: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    masquerading: frozenset[str] = frozenset()


def parse_table(listed: Iterable[Mapping[str, Any]]) -> FilterSight:
    """What `list table` answers: one object for each set, map, chain and rule."""
    objects = [(kind, thing) for entry in listed for kind, thing in entry.items()]
    sets = {one["name"]: one for kind, one in objects if kind in ("set", "map")}
    rules = [one for kind, one in objects if kind == "rule"]
    exempt: dict[str, list[str]] = {}
    for one in rules:
        if (destination := _returned(one["expr"])) is not None:
            exempt.setdefault(one["chain"], []).append(destination)
    return FilterSight(
        chains=frozenset(one["name"] for kind, one in objects if kind == "chain"),
        ports=frozenset(
            element
            for name in ruleset.MAPS
            for element in ruleset.parse_elements(sets.get(name, {}))
        ),
        pods=frozenset(text for name in ("pods4", "pods6") for text in _members(sets, name)),
        bridges=frozenset(_members(sets, "bridges")),
        jumps={
            _text(subnet): verdict["jump"]["target"]
            for name in ("networks4", "networks6")
            for subnet, verdict in sets.get(name, {}).get("elem", ())
        },
        exempt={chain: tuple(found) for chain, found in exempt.items()},
        masquerading=frozenset(
            one["chain"] for one in rules if any("masquerade" in part for part in one["expr"])
        ),
    )


def _members(sets: Mapping[str, Any], name: str) -> list[str]:
    return [_text(one) for one in sets.get(name, {}).get("elem", ())]


def _returned(expressions: list[Mapping[str, Any]]) -> str | None:
    """The destination of `ip daddr X return`."""
    if not any("return" in one for one in expressions):
        return None
    matches = [one["match"]["right"] for one in expressions if "match" in one]
    return _text(matches[-1]) if matches else None


def _text(value: Any) -> str:
    """An element or the right side of a match: an address, a prefix, a name."""
    match value:
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"range": [first, last]}:
            return f"{first}-{last}"
        case {"elem": {"val": inner}}:
            return _text(inner)
        case _:
            return str(value)
