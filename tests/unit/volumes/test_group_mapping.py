"""Two groups changed about, and every other id as it is."""

from hypothesis import given
from hypothesis import strategies as st

from ringbolt.volumes.group_mapping import swapped

IDS = (1 << 32) - 1
groups = st.integers(0, IDS - 1)


@given(st.sets(groups, min_size=2, max_size=2), groups)
def test_every_id_is_shown_as_one_and_only_two_of_them_as_others(
    pair: set[int], other: int
) -> None:
    low, high = sorted(pair)
    ranges = swapped(low, high)

    def shown(number: int) -> int:
        (found,) = [one for one in ranges if one.inside <= number < one.inside + one.length]
        return found.outside + number - found.inside

    assert (shown(low), shown(high)) == (high, low)
    assert shown(other) == {low: high, high: low}.get(other, other)
    assert sum(one.length for one in ranges) == IDS
    assert len(ranges) <= 5


def test_neighbours_and_the_ends_leave_no_empty_range() -> None:
    for low, high in ((0, 1), (0, IDS - 1), (5, 6)):
        assert all(one.length > 0 for one in swapped(low, high))
