"""Which of the available units to prefer: `allocate: packed | spread | numa`.

Pure, and total: an exception here would fail the admission of every pod on the node (kubelet
cm/devicemanager/manager.go callGetPreferredAllocationIfAvailable), so odd input gets the best
answer that can be had. O(n log n) in the number of ids.
"""

import bisect
import heapq
import itertools
import operator
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from ringbolt.devices.device import Device
from ringbolt.devices.resource import Policy


class _Pool(NamedTuple):
    """A device and the `weight` units of it that can be had; `used` of them are chosen already.

    Ids that belong to no known device form pools without a place. A tuple, as a thousand of them
    are made for each call.
    """

    name: str
    free: Sequence[str]
    weight: int
    used: int = 0
    share: int = 1
    node: int | None = None
    root: str = ""

    @property
    def units(self) -> list[str]:
        """What can be had, the lowest replica first."""
        return sorted(self.free, key=lambda unit: (len(unit), unit))

    @property
    def near(self) -> bool:
        """Whether units of the device are chosen already."""
        return self.used > 0


@dataclass(frozen=True, slots=True)
class _Domain:
    """Pools in one place, a NUMA node or a PCIe root. `near`: something chosen is there already."""

    name: str
    pools: tuple[_Pool, ...]
    near: bool
    weight: int


_T = TypeVar("_T", _Pool, _Domain)


def prefer(
    policy: Policy,
    devices: Iterable[Device],
    available: Sequence[str],
    must_include: Sequence[str],
    size: int,
) -> list[str]:
    """`size` ids, or as many as there are: those of `must_include` first, each once.

    PACKED fills devices that are partly used, those with the fewest free units first, and stays on
    few and near devices. SPREAD takes from the devices with the most free units, one from each
    before a second from any. NUMA stays in one PCIe root, else one NUMA node, else few nodes.
    """
    required = list(dict.fromkeys(must_include))
    pools = _pools(devices, available, required)
    need = max(size, 0) - len(required)
    if need <= 0:
        return required[: max(size, 0)]
    if policy is Policy.SPREAD:
        return required + list(itertools.islice(_spread(pools), need))
    ordered = _packed(pools, need) if policy is Policy.PACKED else _nearest(pools, need)
    units = (unit for pool in ordered for unit in pool.units)
    return required + list(itertools.islice(units, need))


def _pools(
    devices: Iterable[Device], available: Sequence[str], required: Sequence[str]
) -> list[_Pool]:
    """The pools in order of their ids, those with nothing free but something chosen included."""
    free: defaultdict[str, list[str]] = defaultdict(list)
    for unit in _distinct(available, required):
        # The device's id has no dot; this is the cheapest split of the thousands that may come.
        free[unit.partition(".")[0]].append(unit)
    used = Counter(unit.partition(".")[0] for unit in required)
    known: dict[str, Device] = {device.id: device for device in devices}
    return [
        _pool(name, known.get(name), free.get(name, ()), used[name])
        for name in sorted(free.keys() | used.keys())
    ]


def _distinct(available: Sequence[str], required: Sequence[str]) -> Iterable[str]:
    once = set(available)
    if not required and len(once) == len(available):
        return available
    return once.difference(required)


def _pool(name: str, device: Device | None, free: Sequence[str], used: int) -> _Pool:
    if device is None:
        return _Pool(name, free, len(free), used)
    return _Pool(name, free, len(free), used, device.share, device.numa_node, device.pcie_root)


def _spread(pools: Sequence[_Pool]) -> Iterator[str]:
    """One unit from each device in turn, beginning with those that give least and have most."""
    turns = [(pool.used, -pool.weight, pool.name, _lazily(pool)) for pool in pools]
    heapq.heapify(turns)
    while turns:
        used, weight, name, units = heapq.heappop(turns)
        unit = next(units, None)
        if unit is not None:
            heapq.heappush(turns, (used + 1, weight, name, units))
            yield unit


def _lazily(pool: _Pool) -> Iterator[str]:
    yield from pool.units


def _packed(pools: Sequence[_Pool], need: int) -> Iterator[_Pool]:
    """Devices in use, the fullest first; then the nearest of the idle ones."""
    busy = [pool for pool in pools if pool.used or pool.weight < pool.share]
    busy.sort(key=lambda pool: (not pool.used, pool.weight))
    touched: list[_Pool] = []
    for pool in busy:
        if need <= 0:
            return
        touched.append(pool)
        need -= pool.weight
        yield pool
    idle = [pool for pool in pools if not pool.used and pool.weight >= pool.share]
    yield from _nearest(idle, need, touched)


def _nearest(pools: Sequence[_Pool], need: int, touched: Collection[_Pool] = ()) -> Iterator[_Pool]:
    """Pools in the order to take them: near to what is chosen, and on few nodes, roots, devices."""
    chosen = [*touched, *(pool for pool in pools if pool.used)]
    roots = _domains(pools, chosen, by_root=True)
    alone = [root for root in roots if root.weight >= need and root.name]
    if chosen:
        places = {pool.root for pool in chosen}
        alone = [root for root in alone if places == {root.name}]
    if alone:
        return _cover(min(alone, key=lambda root: root.weight).pools, need)
    return _over_nodes(pools, chosen, need)


def _over_nodes(pools: Sequence[_Pool], chosen: Sequence[_Pool], need: int) -> Iterator[_Pool]:
    for node in _cover(_domains(pools, chosen, by_root=False), need):
        rest = need
        for root in _cover(_domains(node.pools, chosen, by_root=True), rest):
            yield from _cover(root.pools, rest)
            rest -= root.weight
        need -= node.weight


def _domains(pools: Iterable[_Pool], chosen: Iterable[_Pool], *, by_root: bool) -> list[_Domain]:
    """Pools by place, in the order of the places' names; those without a place come last."""

    def node(pool: _Pool) -> str:
        return "" if pool.node is None else str(pool.node)

    place: Callable[[_Pool], str] = operator.attrgetter("root") if by_root else node
    grouped: dict[str, list[_Pool]] = {}
    for pool in pools:
        if pool.free:
            grouped.setdefault(place(pool), []).append(pool)
    near = {place(pool) for pool in chosen} - {""}
    return [
        _Domain(name, tuple(members), name in near, sum(pool.weight for pool in members))
        for name, members in sorted(grouped.items())
    ]


def _cover(items: Collection[_T], need: int) -> Iterator[_T]:
    """The items in the order to take them, until `need` units are had.

    Near ones come first, then the smallest that is enough, else the largest. Items without a name
    have no place and come last. The first name wins among equals.
    """
    near = [item for item in items if item.near]
    yield from sorted(near, key=_weight)
    need -= sum(item.weight for item in near)
    for placed in (True, False):
        group = [item for item in items if not item.near and bool(item.name) is placed]
        group.reverse()
        group.sort(key=_weight)
        while group and need > 0:
            enough = min(bisect.bisect_left(group, need, key=_weight), len(group) - 1)
            equals = bisect.bisect_right(group, group[enough].weight, key=_weight)
            item = group.pop(equals - 1)
            need -= item.weight
            yield item


def _weight(item: _Pool | _Domain) -> int:
    return item.weight
