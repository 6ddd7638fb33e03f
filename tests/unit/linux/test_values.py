"""Every value comes back from the message that shows it; hostile bytes crash no decoder."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringbolt.linux import address, conntrack, link, neighbour, notices, qdisc, route
from ringbolt.linux.messages import Message
from tests.unit.linux.wire import (
    ADDRESSES,
    INDEXES,
    MACS,
    NAMES,
    NUMBERS,
    assert_decodes_or_refuses,
)

LINKS = st.builds(
    link.Link,
    index=INDEXES,
    name=NAMES,
    kind=NAMES,
    flags=NUMBERS,
    mac=MACS,
    mtu=NUMBERS,
    master=NUMBERS,
    peer=NUMBERS,
    alias=NAMES,
    group=NUMBERS,
    operstate=st.integers(0, 255),
)
INTERFACES = st.one_of(
    st.builds(lambda ip, n: IPv4Interface((ip, n)), st.ip_addresses(v=4), st.integers(0, 32)),
    st.builds(lambda ip, n: IPv6Interface((ip, n)), st.ip_addresses(v=6), st.integers(0, 128)),
)
BYTE = st.integers(0, 255)
ADDRESS_VALUES = st.builds(address.Address, INDEXES, INTERFACES, NUMBERS, BYTE)
NEIGHBOURS = st.builds(
    neighbour.Neighbour, INDEXES, ADDRESSES, st.one_of(st.just(""), MACS), st.integers(0, 65535)
)


@st.composite
def routes(draw: st.DrawFn) -> route.Route:
    destination: IPv4Network | IPv6Network = draw(INTERFACES).network
    same = st.none() | st.ip_addresses(v=destination.version)
    number = st.none() | NUMBERS
    return route.Route(
        destination,
        index=draw(number),
        gateway=draw(same),
        on_link=draw(st.booleans()),
        source=draw(same),
        mtu=draw(number),
        advmss=draw(number),
        priority=draw(number),
        table=draw(NUMBERS),
        scope=draw(BYTE),
        protocol=draw(BYTE),
        kind=draw(BYTE),
    )


@st.composite
def flows(draw: st.DrawFn) -> conntrack.Flow:
    ip, port = st.ip_addresses(v=draw(st.sampled_from([4, 6]))), st.integers(0, 65535)
    one = st.builds(conntrack.Tuple, BYTE, ip, port, ip, port)
    return conntrack.Flow(draw(one), draw(one), draw(st.binary(min_size=4, max_size=4)))


@settings(deadline=None)
@given(LINKS)
def test_a_glance_sees_what_decoding_does(value: link.Link) -> None:
    seen = link.glance(link.encode(value))
    names = ("index", "name", "flags", "mtu", "group")
    assert [getattr(seen, name) for name in names] == [getattr(value, name) for name in names]
    assert link.mac_of(link.encode(value)) == value.mac
    assert link.peer_of(link.encode(value)) == value.peer
    assert notices.is_up(Message(link.RTM_NEWLINK, 0, 0, link.encode(value))) is value.up


@given(routes())
def test_the_interface_of_a_route_alone(value: route.Route) -> None:
    assert route.interface_of(route.encode(value)) == value.index


@given(LINKS)
def test_a_link_comes_back(value: link.Link) -> None:
    assert link.decode(link.encode(value)) == value


@settings(deadline=None)
@given(ADDRESS_VALUES)
def test_an_address_comes_back(value: address.Address) -> None:
    assert address.decode(address.encode(value)) == value


@settings(deadline=None)
@given(routes())
def test_a_route_comes_back(value: route.Route) -> None:
    assert route.decode(route.encode(value)) == value


@settings(deadline=None)
@given(NEIGHBOURS)
def test_a_neighbour_comes_back(value: neighbour.Neighbour) -> None:
    assert neighbour.decode(neighbour.encode(value)) == value


@settings(deadline=None)
@given(flows())
def test_a_flow_comes_back(value: conntrack.Flow) -> None:
    assert conntrack.decode(conntrack.encode(value)) == value


@settings(deadline=None)
@given(INDEXES, st.integers(1000, 2**40), st.integers(1600, 2**30))
def test_a_bucket_comes_back_but_for_the_grain_of_a_tick(index: int, rate: int, burst: int) -> None:
    shown = qdisc.decode(qdisc.new_tbf(index, qdisc.Bucket(rate, burst)).body)
    assert (shown.index, shown.kind, shown.rate) == (index, "tbf", rate)
    longest = (2**32 - 1) * 64 * rate // 1_000_000_000
    assert abs(shown.burst - min(burst, longest)) <= 64 * rate / 1_000_000_000 + 1


@pytest.mark.parametrize(
    "decode",
    [
        link.decode,
        link.glance,
        link.mac_of,
        link.peer_of,
        address.decode,
        route.decode,
        route.interface_of,
        neighbour.decode,
        qdisc.decode,
        conntrack.decode,
        lambda body: notices.is_up(Message(link.RTM_NEWLINK, 0, 0, body)),
        lambda body: notices.address_of(Message(address.RTM_DELADDR, 0, 0, body)),
        lambda body: notices.address_of(Message(neighbour.RTM_DELNEIGH, 0, 0, body)),
        lambda body: notices.decode(Message(link.RTM_DELLINK, 0, 0, body)),
        lambda body: notices.decode(Message(route.RTM_NEWROUTE, 0, 0, body)),
        lambda body: notices.decode(Message(neighbour.RTM_DELNEIGH, 0, 0, body)),
    ],
)
@settings(deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=120),
        st.builds(
            lambda whole, at, junk: whole[:at] + junk + whole[at + len(junk) :],
            st.one_of(
                LINKS.map(link.encode),
                ADDRESS_VALUES.map(address.encode),
                routes().map(route.encode),
                NEIGHBOURS.map(neighbour.encode),
                flows().map(conntrack.encode),
            ),
            st.integers(0, 120),
            st.binary(max_size=8),
        ),
    )
)
def test_hostile_bytes_never_crash_a_decoder(
    decode: Callable[[bytes], object], data: bytes
) -> None:
    assert_decodes_or_refuses(decode, data)


@settings(deadline=None)
@given(LINKS)
def test_a_notice_tells_what_came_and_what_went(value: link.Link) -> None:
    body = link.encode(value)
    came = notices.decode(Message(link.RTM_NEWLINK, 0, 0, body))
    went = notices.decode(Message(link.RTM_DELLINK, 0, 0, body))
    assert came == notices.Notice(value, gone=False)
    assert went == notices.Notice(value, gone=True)


def test_a_port_that_leaves_its_bridge_is_not_a_link_that_went() -> None:
    body = bytes([7]) + link.encode(link.Link(3, "veth3"))[1:]
    assert notices.decode(Message(link.RTM_DELLINK, 0, 0, body)) is None


def test_a_notice_about_something_else_is_none() -> None:
    assert notices.decode(Message(qdisc.RTM_NEWQDISC, 0, 0, b"")) is None


def test_a_route_without_scope_takes_the_one_that_its_gateway_implies() -> None:
    near = route.Route(IPv4Network("10.0.0.0/24"), index=2)
    assert route.decode(route.encode(near)).scope == route.RT_SCOPE_LINK
    far = replace(near, gateway=IPv4Interface("10.9.9.9").ip)
    assert route.decode(route.encode(far)).scope == route.RT_SCOPE_UNIVERSE
    own = replace(near, kind=route.RTN_LOCAL)
    assert route.decode(route.encode(own)).scope == route.RT_SCOPE_HOST
    six = route.Route(IPv6Network("fd00::/64"), index=2)
    assert route.decode(route.encode(six)).scope == route.RT_SCOPE_UNIVERSE


def test_group_zero_is_never_removed() -> None:
    with pytest.raises(OSError, match="group 0 would remove every link"):
        link.delete_group(0)


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        (conntrack.Pattern(), True),
        (conntrack.Pattern(protocol=6), False),
        (conntrack.Pattern(destination_port=53), True),
        (conntrack.Pattern(destination_port=54), False),
        (conntrack.Pattern(server=IPv4Interface("10.0.0.9").ip), True),
        (conntrack.Pattern(server=IPv4Interface("10.0.0.2").ip), False),
        (conntrack.Pattern(destination=IPv4Interface("10.0.0.2").ip), True),
        (conntrack.Pattern(destination=IPv4Interface("10.0.0.9").ip), False),
    ],
)
def test_a_pattern_takes_a_flow_if_all_it_names_holds(
    pattern: conntrack.Pattern, *, taken: bool
) -> None:
    client, node, pod = (IPv4Interface(f"10.0.0.{n}").ip for n in (1, 2, 9))
    flow = conntrack.Flow(
        conntrack.Tuple(17, client, 4444, node, 53),
        conntrack.Tuple(17, pod, 5353, client, 4444),
        b"\0\0\0\1",
    )
    assert pattern.matches(flow) is taken
