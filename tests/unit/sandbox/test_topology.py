"""NUMA hints and their merging, as the kubelet's topology manager does it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.sandbox.settings import TopologyPolicy
from ringbolt.sandbox.topology import (
    ANY,
    IMPOSSIBLE,
    Demand,
    Hint,
    device_hints,
    merge_hints,
    split_by_affinity,
)

BEST, RESTRICTED, SINGLE = (
    TopologyPolicy.BEST_EFFORT,
    TopologyPolicy.RESTRICTED,
    TopologyPolicy.SINGLE_NUMA_NODE,
)
NODES = st.dictionaries(
    st.sampled_from("abcdefgh"), st.lists(st.integers(0, 3), max_size=2).map(tuple), min_size=1
)


def test_hints_are_all_sets_of_nodes_that_suffice_the_smallest_preferred() -> None:
    devices = {"a": (0,), "b": (0,), "c": (1,)}
    assert device_hints(devices, Demand(2, ["a", "b", "c"]), (0, 1)) == (
        Hint(0b01, preferred=True),
        Hint(0b11, preferred=False),
    )
    # Two devices of node 0 would suffice if one were not taken: no hint is preferred then.
    assert device_hints(devices, Demand(2, ["b", "c"]), (0, 1)) == (Hint(0b11, preferred=False),)


def test_reusable_devices_bind_to_their_node() -> None:
    devices = {"a": (0,), "b": (1,)}
    hints = device_hints(devices, Demand(1, ["b"], ["a"]), (0, 1))
    assert [hint.mask for hint in hints] == [0b01, 0b11]


@pytest.mark.parametrize(
    ("policy", "resources", "affinity", "admitted"),
    [
        (TopologyPolicy.NONE, [(IMPOSSIBLE,)], None, True),
        (BEST, [(ANY,)], 0b11, True),
        (BEST, [(IMPOSSIBLE,)], 0b11, True),
        (RESTRICTED, [(IMPOSSIBLE,)], 0b11, False),
        (SINGLE, [(ANY,)], None, True),
        (SINGLE, [(Hint(0b11, preferred=True),)], None, False),
        (SINGLE, [(Hint(0b01, preferred=False),)], None, False),
        (RESTRICTED, [(Hint(0b01, preferred=True),), (Hint(0b11, preferred=True),)], 0b01, False),
        (SINGLE, [(Hint(0b10, preferred=True), Hint(0b11, preferred=False))], 0b10, True),
        # Two resources that prefer different nodes: their union is all that is left.
        (
            RESTRICTED,
            [
                (Hint(0b01, preferred=True), Hint(0b11, preferred=False)),
                (Hint(0b10, preferred=True), Hint(0b11, preferred=False)),
            ],
            0b01,
            False,
        ),
    ],
)
def test_merging(
    policy: TopologyPolicy,
    resources: list[tuple[Hint, ...]],
    affinity: int | None,
    *,
    admitted: bool,
) -> None:
    assert merge_hints(policy, resources, (0, 1)) == (affinity, admitted)


@given(NODES, st.integers(1, 4))
def test_a_preferred_hint_is_as_small_as_can_be_and_suffices(
    devices: dict[str, tuple[int, ...]], size: int
) -> None:
    hints = device_hints(devices, Demand(size, devices), (0, 1, 2, 3))
    for hint in hints:
        mask = hint.mask or 0
        inside = [id_ for id_, nodes in devices.items() if any(mask >> n & 1 for n in nodes)]
        assert len(inside) >= size
        if hint.preferred:
            assert mask.bit_count() == min((h.mask or 0).bit_count() for h in hints)


@given(NODES, st.one_of(st.none(), st.integers(1, 15)))
def test_a_split_loses_nothing(devices: dict[str, tuple[int, ...]], affinity: int | None) -> None:
    split = split_by_affinity(devices, devices, affinity)
    parts = (split.aligned, split.elsewhere, split.anywhere)
    assert sorted(id_ for part in parts for id_ in part) == sorted(devices)
    if affinity is None:
        assert split.anywhere == devices.keys()
