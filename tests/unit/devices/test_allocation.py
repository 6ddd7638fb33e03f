"""Allocation policies: total for any input, and near, full or spread as configured."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.devices.allocation import prefer
from ringbolt.devices.device import Device, DeviceId, device_of
from ringbolt.devices.resource import Policy, ResourceName

NAME = ResourceName("ringbolt.dev/gpu")
EVERY = st.sampled_from(Policy)


def device(ident: str, root: str = "", node: int | None = None, share: int = 1) -> Device:
    return Device(DeviceId(ident), NAME, (), numa_node=node, pcie_root=root, share=share)


def units(devices: Sequence[Device], *taken: str) -> list[str]:
    return [unit for found in devices for unit in found.units() if unit not in taken]


BOARD = [
    *(device(f"a{n}", "0000:00:01.0", 0) for n in range(2)),
    *(device(f"b{n}", "0000:00:02.0", 0) for n in range(3)),
    *(device(f"c{n}", "0000:80:01.0", 1) for n in range(3)),
]


@pytest.mark.parametrize("policy", [Policy.NUMA, Policy.PACKED])
@pytest.mark.parametrize(
    ("size", "taken", "expected"),
    [
        (1, (), {"a0"}),
        (2, (), {"a0", "a1"}),
        (3, (), {"b0", "b1", "b2"}),
        (3, ("b0",), {"c0", "c1", "c2"}),
        (4, (), {"a0", "b0", "b1", "b2"}),
        (5, (), {"a0", "a1", "b0", "b1", "b2"}),
        (6, (), {"a0", "a1", "b0", "b1", "b2", "c0"}),
    ],
)
def test_one_root_before_one_node_before_few_nodes(
    policy: Policy, size: int, taken: tuple[str, ...], expected: set[str]
) -> None:
    assert set(prefer(policy, BOARD, units(BOARD, *taken), [], size)) == expected


@pytest.mark.parametrize("policy", [Policy.NUMA, Policy.PACKED])
def test_what_must_be_included_draws_the_rest_near(policy: Policy) -> None:
    free = units(BOARD)
    assert set(prefer(policy, BOARD, free, ["c1"], 2)) == {"c1", "c0"}
    assert set(prefer(policy, BOARD, free, ["a1"], 4)) >= {"a0", "a1"}
    assert set(prefer(policy, BOARD, free, ["b1"], 5)) == {"b0", "b1", "b2", "a0", "a1"}


def test_packed_fills_the_fullest_device_first() -> None:
    cards = [device(name, share=4) for name in ("x", "y", "z")]
    free = units(cards, "x", "y", "y.1", "y.2")
    assert prefer(Policy.PACKED, cards, free, [], 1) == ["y.3"]
    assert prefer(Policy.PACKED, cards, free, [], 3) == ["y.3", "x.1", "x.2"]
    assert prefer(Policy.PACKED, cards, free, [], 5) == ["y.3", "x.1", "x.2", "x.3", "z"]
    assert prefer(Policy.PACKED, cards, free, ["z.2"], 2) == ["z.2", "z"]


def test_packed_opens_no_second_device_while_one_is_enough() -> None:
    cards = [device(name, share=3) for name in ("x", "y")]
    assert prefer(Policy.PACKED, cards, units(cards), [], 3) == ["x", "x.1", "x.2"]


def test_spread_takes_from_every_device_before_it_takes_again() -> None:
    cards = [device(name, share=3) for name in ("x", "y", "z")]
    free = units(cards, "x", "y", "y.1")
    assert prefer(Policy.SPREAD, cards, free, [], 4) == ["z", "x.1", "y.2", "z.1"]
    assert prefer(Policy.SPREAD, cards, free, ["z.2"], 3) == ["z.2", "x.1", "y.2"]


def test_devices_without_a_place_come_last() -> None:
    mixed = [device("a"), device("b"), device("c", "0000:00:01.0", 0)]
    assert prefer(Policy.NUMA, mixed, units(mixed), [], 2) == ["c", "a"]


def test_replicas_of_one_device_are_taken_in_order_of_their_numbers() -> None:
    cards = [device("x", share=12)]
    chosen = prefer(Policy.NUMA, cards, list(reversed(units(cards))), [], 11)
    assert chosen == ["x", *(f"x.{n}" for n in range(1, 11))]


DEVICES = st.lists(
    st.tuples(
        st.sampled_from(["", "r0", "r1", "r2"]),
        st.sampled_from([None, 0, 1]),
        st.integers(-1, 4),
    ),
    max_size=8,
).map(lambda drawn: [device(f"d{n}", *place) for n, place in enumerate(drawn)])
IDS = st.lists(st.sampled_from(["d0", "d0.1", "d1", "d2", "d3.2", "d7", "odd", "", ".", "a.b.9"]))
ANY_IDS = st.lists(st.text(max_size=4))


@given(EVERY, DEVICES, IDS | ANY_IDS, IDS | ANY_IDS, st.integers(-3, 20))
def test_any_input_gets_an_answer_of_distinct_ids(
    policy: Policy, devices: list[Device], available: list[str], must: list[str], size: int
) -> None:
    chosen = prefer(policy, devices, available, must, size)
    everything = set(available) | set(must)
    assert len(chosen) == len(set(chosen)) == min(max(size, 0), len(everything))
    assert set(chosen) <= everything
    required = list(dict.fromkeys(must))
    assert chosen[: len(required)] == required[: max(size, 0)]


@given(EVERY, DEVICES, st.data())
def test_the_answer_depends_on_no_order(
    policy: Policy, devices: list[Device], data: st.DataObject
) -> None:
    free = units(devices)
    size = data.draw(st.integers(0, len(free)))
    shuffled = data.draw(st.permutations(free))
    others = data.draw(st.permutations(devices))
    assert prefer(policy, devices, free, [], size) == prefer(policy, others, shuffled, [], size)


@given(DEVICES, st.data())
def test_numa_uses_the_fewest_nodes_there_can_be(
    devices: list[Device], data: st.DataObject
) -> None:
    placed = [found for found in devices if found.numa_node is not None]
    free = units(placed)
    size = data.draw(st.integers(0, len(free)))
    chosen = prefer(Policy.NUMA, placed, free, [], size)
    node = {found.id: found.numa_node for found in placed}
    used = {node[device_of(unit)] for unit in chosen}
    room = {n: sum(node[device_of(unit)] == n for unit in free) for n in (0, 1)}
    fewest = next(
        count
        for count in itertools.count()
        if any(sum(room[n] for n in some) >= size for some in itertools.combinations(room, count))
    )
    one_root = len({found.pcie_root for found in placed if found.id in map(device_of, chosen)}) == 1
    assert len(used) <= fewest or one_root


@given(DEVICES, st.data())
def test_spread_takes_no_second_unit_while_a_device_is_untouched(
    devices: list[Device], data: st.DataObject
) -> None:
    free = units(devices)
    size = data.draw(st.integers(0, len(free)))
    chosen = prefer(Policy.SPREAD, devices, free, [], size)
    assert len(set(map(device_of, chosen))) == min(size, len(set(map(device_of, free))))


@given(DEVICES, st.data())
def test_packed_leaves_at_most_one_device_of_its_choice_partly_used(
    devices: list[Device], data: st.DataObject
) -> None:
    free = units(devices)
    size = data.draw(st.integers(0, len(free)))
    chosen = set(prefer(Policy.PACKED, devices, free, [], size))
    partly = [d for d in devices if 0 < len(chosen & set(d.units())) < len(list(d.units()))]
    assert len(partly) <= 1
