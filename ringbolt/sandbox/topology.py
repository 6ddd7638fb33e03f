"""NUMA alignment: the hints of a device resource, and how the topology manager merges them.

Pure; a set of NUMA nodes is a bit mask. Source: kubelet pkg/kubelet/cm/devicemanager
topology_hints.go, pkg/kubelet/cm/topologymanager.
"""

import functools
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ringbolt.sandbox.settings import TopologyPolicy

Nodes = Mapping[str, tuple[int, ...]]
"""Device id to the NUMA nodes it names; none for a device without topology."""


@dataclass(frozen=True, slots=True)
class Hint:
    """Nodes from which a request can be served; `mask` None for "any"."""

    mask: int | None
    preferred: bool


ANY = Hint(None, preferred=True)
IMPOSSIBLE = Hint(None, preferred=False)


def mask_of(nodes: Iterable[int]) -> int:
    """The nodes as a bit mask; a kubelet ignores nodes out of 0 to 63."""
    return functools.reduce(lambda mask, node: mask | 1 << node, filter(_is_bit, nodes), 0)


def _is_bit(node: int) -> bool:
    return 0 <= node < 64  # noqa: PLR2004  the width of the kubelet's mask


def _masks(numa_nodes: Sequence[int]) -> Iterator[int]:
    for size in range(1, len(numa_nodes) + 1):
        yield from map(mask_of, itertools.combinations(numa_nodes, size))


@dataclass(frozen=True, slots=True)
class Demand:
    """A container's request of one resource: from `available` besides all of `reusable`."""

    size: int
    available: Collection[str]
    reusable: Collection[str] = ()


def device_hints(devices: Nodes, demand: Demand, numa_nodes: Sequence[int]) -> tuple[Hint, ...]:
    """Every set of nodes that can serve the demand; the smallest possible sets are preferred."""
    smallest = len(numa_nodes)
    able: list[int] = []
    for mask in _masks(numa_nodes):
        if _count(devices, devices, mask) >= demand.size:
            smallest = min(smallest, mask.bit_count())
        local = [id_ for id_ in demand.reusable if devices.get(id_)]
        if any(not mask & mask_of(devices[id_]) for id_ in local):
            continue
        if len(local) + _count(devices, demand.available, mask) >= demand.size:
            able.append(mask)
    return tuple(Hint(mask, mask.bit_count() == smallest) for mask in able)


def _count(devices: Nodes, ids: Iterable[str], mask: int) -> int:
    return sum(1 for id_ in ids if mask & mask_of(devices.get(id_, ())))


def merge_hints(
    policy: TopologyPolicy, resources: Sequence[Sequence[Hint]], numa_nodes: Sequence[int]
) -> tuple[int | None, bool]:
    """The container's affinity and whether it may be admitted.

    One sequence of hints for each resource; (ANY,) where a resource has no preference and
    (IMPOSSIBLE,) where nothing can serve it.
    """
    if policy is TopologyPolicy.NONE:
        return None, True
    every = mask_of(numa_nodes)
    if policy is TopologyPolicy.SINGLE_NUMA_NODE:
        resources = [[hint for hint in hints if _is_single(hint)] for hints in resources]
    best = _best(resources, every)
    if policy is TopologyPolicy.SINGLE_NUMA_NODE and best.mask == every:
        best = Hint(None, best.preferred)
    return best.mask, best.preferred or policy is TopologyPolicy.BEST_EFFORT


def _is_single(hint: Hint) -> bool:
    return hint.preferred and (hint.mask is None or hint.mask.bit_count() == 1)


def _best(resources: Sequence[Sequence[Hint]], every: int) -> Hint:
    """The merged hint that is preferred, then as near as possible to what is needed at least."""
    narrowest = [
        min(hint.mask.bit_count() for hint in hints if hint.mask is not None)
        for hints in resources
        if any(hint.mask is not None for hint in hints)
    ]
    merged = [_merge(combination, every) for combination in itertools.product(*resources)]
    usable = [hint for hint in merged if hint.mask]
    if not usable:
        return Hint(every, preferred=False)
    wanted = max(narrowest, default=0)

    def rank(hint: Hint) -> tuple[bool, bool, int, int]:
        mask = hint.mask or 0
        count = mask.bit_count()
        if hint.preferred:
            return (False, False, count, mask)
        return (True, count < wanted, abs(count - wanted), mask)

    return min(usable, key=rank)


def _merge(combination: Sequence[Hint], every: int) -> Hint:
    masks = [hint.mask for hint in combination if hint.mask is not None]
    same = len(set(masks)) <= 1
    mask = functools.reduce(lambda a, b: a & b, masks, every)
    return Hint(mask, preferred=same and all(hint.preferred for hint in combination))


@dataclass(frozen=True, slots=True)
class Alignment:
    """The available ids, sorted by where they are."""

    aligned: frozenset[str]
    elsewhere: frozenset[str]
    anywhere: frozenset[str]


def split_by_affinity(
    devices: Nodes, available: Collection[str], affinity: int | None
) -> Alignment:
    """Within the affinity, outside of it, without topology.

    Without an affinity, or where no device of the resource has topology, all are `anywhere`.
    """
    if affinity is None or not any(devices.values()):
        return Alignment(frozenset(), frozenset(), frozenset(available))
    local = frozenset(id_ for id_ in available if devices.get(id_))
    aligned = frozenset(id_ for id_ in local if mask_of(devices[id_]) & affinity)
    return Alignment(aligned, local - aligned, frozenset(available) - local)
