"""The choice of the next address, against a search that looks at every one of them."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.network import pool
from ringbolt.network.errors import ConflictError, InvalidError
from ringbolt.network.settings import Range, RangeSet

addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


def _range(subnet: str, first: str = "", last: str = "", gateway: str = "") -> Range:
    known = [ipaddress.ip_address(text) if text else None for text in (first, last, gateway)]
    return Range(ipaddress.ip_network(subnet), *known)


@given(addresses)
def test_addresses_of_both_families_survive_the_common_line(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    assert pool.address_of(pool.number_of(address)) == (mapped or address)


def test_pods_get_neither_network_nor_gateway_nor_broadcast_nor_what_is_reserved() -> None:
    ranges: RangeSet = (_range("10.0.0.0/29"),)
    segments = pool.segments_of(ranges, (ipaddress.ip_address("10.0.0.4"),))
    given_out = [str(pool.address_of(n)) for one in segments for n in range(one[0], one[1] + 1)]
    assert given_out == ["10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.6"]


def test_ipv6_has_no_broadcast_address() -> None:
    (segment,) = pool.segments_of((_range("fd00::/125"),), ())
    assert [str(pool.address_of(n)) for n in segment] == ["fd00::2", "fd00::7"]


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (_range("10.0.0.0/31"), "too small"),
        (_range("10.0.0.0/24", "10.0.1.5"), "not in 10.0.0.0/24"),
        (_range("10.0.0.0/24", "10.0.0.9", "10.0.0.5"), "ends before it begins"),
        (_range("10.0.0.0/24", gateway="10.1.0.1"), "not in 10.0.0.0/24"),
    ],
)
def test_a_range_that_cannot_be_is_told_apart(one: Range, words: str) -> None:
    with pytest.raises(InvalidError, match=words):
        pool.segments_of((one,), ())


def test_a_subnet_of_one_address_has_no_gateway() -> None:
    with pytest.raises(InvalidError, match="no room for a gateway"):
        pool.gateway_of(_range("255.255.255.255/32"))


segment_lists = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 6)), min_size=1, max_size=5
).map(lambda pairs: _disjoint(sorted(pairs)))


def _disjoint(pairs: list[tuple[int, int]]) -> tuple[pool.Segment, ...]:
    found: list[pool.Segment] = []
    for first, length in pairs:
        if not found or first > found[-1].last:
            found.append(pool.Segment(first + 1, first + 1 + length))
    return tuple(found)


@given(segment_lists, st.sets(st.integers(1, 70)), st.none() | st.integers(1, 70))
def test_the_next_one_is_the_first_free_one_behind_the_last(
    segments: tuple[pool.Segment, ...], taken: set[int], cursor: int | None
) -> None:
    def run_end(number: int) -> int | None:
        if number not in taken:
            return None
        while number + 1 in taken:
            number += 1
        return number

    line = [n for one in segments for n in range(one.first, one.last + 1)]
    start = line.index(cursor) + 1 if cursor in line else 0
    free = [n for n in line[start:] + line[:start] if n not in taken]
    assert pool.next_free(segments, cursor, run_end) == (free[0] if free else None)


def test_an_asked_address_belongs_to_one_set() -> None:
    sets: tuple[RangeSet, ...] = ((_range("10.0.0.0/24"),), (_range("fd00::/64"),))
    four, six = ipaddress.ip_address("10.0.0.9"), ipaddress.ip_address("fd00::9")
    assert pool.assign((six, four), sets) == {0: four, 1: six}
    with pytest.raises(ConflictError, match="ask for one of them"):
        pool.assign((four, four + 1), sets)
    with pytest.raises(InvalidError, match="subnet's gateway"):
        pool.assign((ipaddress.ip_address("10.0.0.1"),), sets)
    with pytest.raises(InvalidError, match="in no range set"):
        pool.assign((ipaddress.ip_address("10.9.0.1"),), sets)
