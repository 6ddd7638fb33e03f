"""Which address comes next: ranges as numbers, and the choice among them. Pure.

IPv4 and IPv6 share one line of 128-bit numbers (IPv4 as ::ffff:a.b.c.d), so one order, one index
and one search serve both. Who holds what is not known here: the choice asks `RunEnd`.
"""

import ipaddress
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from ringbolt.network.errors import ConflictError, InvalidError
from ringbolt.network.settings import IpAddress, IpInterface, Range, RangeSet

_MAPPED = 0xFFFF << 32
"""::ffff:0.0.0.0"""
_BROADCAST = 1
_FEWEST_BITS = 2
"""As host-local has it: room for the network, a gateway, a pod and the broadcast address."""
IPV4 = 4
BYTES = 16
"""Of a number on the common line."""

RunEnd = Callable[[int], int | None]
"""The last number of the unbroken run of taken numbers that holds this one; None where free."""


class Segment(NamedTuple):
    """Numbers from `first` to `last`, both included, all fit for pods."""

    first: int
    last: int


def number_of(address: IpAddress) -> int:
    """The address on the common line."""
    return int(address) | _MAPPED if address.version == IPV4 else int(address)


def address_of(number: int) -> IpAddress:
    """The address that stands there."""
    if number >> 32 == _MAPPED >> 32:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    return ipaddress.IPv6Address(number)


def whole(address: IpAddress) -> IpInterface:
    """The address alone, as an interface's: /32 or /128."""
    return ipaddress.ip_interface(address)


def _with_prefix(address: IpAddress, prefix: int) -> IpInterface:
    if address.version == IPV4:
        return ipaddress.IPv4Interface((int(address), prefix))
    return ipaddress.IPv6Interface((int(address), prefix))


@lru_cache(maxsize=64)
def gateway_of(one: Range) -> IpAddress:
    """The range's gateway: the subnet's first address unless the settings name another.

    Raises InvalidError for a subnet of one address.
    """
    if one.gateway:
        return one.gateway
    if one.subnet.prefixlen == one.subnet.max_prefixlen:
        raise InvalidError(f"{one.subnet} has no room for a gateway: choose a larger subnet")
    return one.subnet.network_address + 1


def bounds_of(one: Range) -> tuple[IpAddress, IpAddress]:
    """First and last address of the range, as the settings or the subnet have it.

    Raises InvalidError for a range without room or with an address outside of its subnet.
    """
    subnet = one.subnet
    if subnet.max_prefixlen - subnet.prefixlen < _FEWEST_BITS:
        raise InvalidError(f"{subnet} is too small to take addresses from: choose a larger subnet")
    without = _BROADCAST if subnet.version == IPV4 else 0
    first = one.first or subnet.network_address + 1
    last = one.last or subnet.broadcast_address - without
    for address in (first, last, gateway_of(one)):
        if address not in subnet:
            raise InvalidError(f"{address} is not in {subnet}: choose an address of the subnet")
    if int(first) > int(last):
        raise InvalidError(f"the range {first}-{last} of {subnet} ends before it begins")
    return first, last


@lru_cache(maxsize=64)
def segments_of(ranges: RangeSet, reserved: tuple[IpAddress, ...]) -> tuple[Segment, ...]:
    """What pods may get of `ranges`, without gateways and `reserved`. Raises InvalidError."""
    kept_out = {number_of(one) for one in reserved} | {number_of(gateway_of(r)) for r in ranges}
    found: list[Segment] = []
    for one in ranges:
        first, last = (number_of(bound) for bound in bounds_of(one))
        found += _without(Segment(first, last), sorted(kept_out))
    return tuple(found)


def _without(whole: Segment, holes: list[int]) -> Iterator[Segment]:
    first = whole.first
    for hole in holes:
        if whole.first <= hole <= whole.last:
            if first < hole:
                yield Segment(first, hole - 1)
            first = hole + 1
    if first <= whole.last:
        yield Segment(first, whole.last)


def next_free(segments: tuple[Segment, ...], cursor: int | None, run_end: RunEnd) -> int | None:
    """The first free number behind `cursor`, going round once; None if there is none.

    One question to `run_end` for each segment it passes.
    """
    for first, last in _round(segments, cursor):
        end = run_end(first)
        candidate = first if end is None else end + 1
        if candidate <= last:
            return candidate
    return None


def _round(segments: tuple[Segment, ...], cursor: int | None) -> Iterator[Segment]:
    """The segments from `cursor` on, and round to it again."""
    here = [i for i, one in enumerate(segments) if cursor and one.first <= cursor <= one.last]
    if not here or cursor is None:
        yield from segments
        return
    index = here[0]
    if cursor < segments[index].last:
        yield Segment(cursor + 1, segments[index].last)
    yield from segments[index + 1 :]
    yield from segments[:index]
    yield Segment(segments[index].first, cursor)


def describe(ranges: RangeSet) -> str:
    """`a-b,c-d`, as users know it from host-local's messages."""
    return ",".join("{}-{}".format(*bounds_of(one)) for one in ranges)


def interface_of(address: IpAddress, sets: tuple[RangeSet, ...]) -> tuple[IpInterface, IpAddress]:
    """The address with its subnet's prefix, and its gateway. Raises InvalidError if in none."""
    for one in (one for ranges in sets for one in ranges):
        if address in one.subnet:
            return _with_prefix(address, one.subnet.prefixlen), gateway_of(one)
    raise InvalidError(f"{address} is in no range of the network: was the range removed?")


def assign(asked: tuple[IpAddress, ...], sets: tuple[RangeSet, ...]) -> dict[int, IpAddress]:
    """Which range set each asked address belongs to, by the set's index.

    Raises InvalidError for an address of no set, a gateway, or two addresses of one set.
    """
    found: dict[int, IpAddress] = {}
    for address in asked:
        index = _set_of(address, sets)
        if index in found:
            raise ConflictError(
                f"both {found[index]} and {address} are asked for, and range set {index} gives "
                "one address: ask for one of them"
            )
        found[index] = address
    return found


def _set_of(address: IpAddress, sets: tuple[RangeSet, ...]) -> int:
    for index, ranges in enumerate(sets):
        for one in ranges:
            first, last = bounds_of(one)
            if address.version == first.version and int(first) <= int(address) <= int(last):
                if any(address == gateway_of(other) for other in ranges):
                    raise InvalidError(f"requested ip {address} is subnet's gateway")
                return index
    shown = "; ".join(describe(ranges) for ranges in sets) or "none"
    raise InvalidError(f"requested IP address {address} is in no range set: they are {shown}")
