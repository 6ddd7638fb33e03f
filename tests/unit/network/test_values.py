"""What is computed without a kernel: records, names, results, bursts, the text of rules."""

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.network import ruleset, shaping
from ringbolt.network.attachment import (
    Attach,
    Bandwidth,
    ContainerId,
    Given,
    InterfaceName,
    Key,
    Pod,
    PodAddress,
    PortMapping,
    Protocol,
)
from ringbolt.network.leases import AttachmentId, Lease, Netns
from ringbolt.network.names import host_name, ifb_name, is_host_name, is_ifb_name
from ringbolt.network.plan import check_mtu, plan_attachment, plan_result
from ringbolt.network.record import Record
from ringbolt.network.settings import Mode, NetworkName, Range, Route, Settings

NETWORK = NetworkName("pods")
SETTINGS = Settings(
    NETWORK,
    ((Range(ipaddress.ip_network("10.0.0.0/24")),), (Range(ipaddress.ip_network("fd00::/64")),)),
)
KEY = Key(ContainerId("c"), InterfaceName("eth0"))
LEASE = Lease(
    AttachmentId(1),
    NETWORK,
    KEY,
    Netns(4, 7),
    "rb0123456789",
    0.0,
    "",
    (ipaddress.ip_address("10.0.0.9"), ipaddress.ip_address("fd00::9")),
)
ATTACH = Attach(*KEY, 3, "/run/netns/c", SETTINGS, Pod("default", "web", "u"))

addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
ports = st.builds(
    PortMapping,
    st.integers(1, 65535),
    st.integers(1, 65535),
    st.sampled_from(Protocol),
    st.none() | addresses,
    st.integers(1, 9),
)
numbers = st.integers(0, 1 << 40)
records = st.builds(
    Record,
    st.builds(Pod, st.text(), st.text(), st.text()),
    st.text(),
    st.sampled_from(Mode),
    st.text(),
    st.lists(ports).map(tuple),
    st.builds(Bandwidth, numbers, numbers, numbers, numbers),
    st.lists(
        st.builds(PodAddress, addresses.map(ipaddress.ip_interface), st.none() | addresses)
    ).map(tuple),
    st.none() | st.just("0a:58:0a:00:00:09"),
)


@given(records)
def test_a_record_survives_its_text(record: Record) -> None:
    assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    "text", ["{}", "[]", '{"pod": [1, 2, 3, 4, 5]}', '{"pod": [], "netns": ""}']
)
def test_a_record_of_another_agent_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="no record of an attachment"):
        Record.from_json(text)


@given(st.text(min_size=1), st.text(min_size=1), st.integers(0, 1 << 32))
def test_names_of_links_fit_the_kernel_and_are_told_from_others(
    container: str, ifname: str, salt: int
) -> None:
    name = host_name(NETWORK, Key(ContainerId(container), InterfaceName(ifname)), salt)
    assert is_host_name(name)
    assert not is_ifb_name(name)
    assert is_ifb_name(ifb_name(name))
    assert not is_host_name(ifb_name(name))
    assert len(ifb_name(name)) <= 15


def test_the_same_request_gives_the_same_plan_and_macs_follow_addresses() -> None:
    plan = plan_attachment(ATTACH, LEASE, 1450, "0e:58:00:00:00:01")
    assert plan == plan_attachment(ATTACH, LEASE, 1450, "0e:58:00:00:00:01")
    assert (plan.mac, plan.mtu, plan.alias) == ("0a:58:0a:00:00:09", 1450, "default/web")
    six = replace(LEASE, addresses=LEASE.addresses[1:])
    assert plan_attachment(ATTACH, six, 1450, "").mac.startswith("0a:58:")
    asked = replace(ATTACH, mac="02:00:00:00:00:01")
    assert plan_attachment(asked, LEASE, 1450, "").mac == "02:00:00:00:00:01"


def test_the_result_lists_interfaces_as_the_reference_does() -> None:
    plan = plan_attachment(ATTACH, LEASE, 1450, "0e:58:00:00:00:01")
    result = plan_result(plan, 1500)
    assert [one.name for one in result.interfaces] == ["ringbolt0", "rb0123456789", "eth0"]
    assert [one.sandbox for one in result.interfaces] == ["", "", "/run/netns/c"]
    assert [str(one.address) for one in result.addresses] == ["10.0.0.9/24", "fd00::9/64"]
    assert [one.interface for one in result.addresses] == [2, 2]
    assert [(str(one.destination), str(one.gateway)) for one in result.routes] == [
        ("0.0.0.0/0", "10.0.0.1"),
        ("::/0", "fd00::1"),
    ]


def test_asked_routes_keep_their_extras_and_a_default_route_is_not_made_twice() -> None:
    routes = (
        Route(ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_address("10.0.0.254"), mtu=1400),
        Route(ipaddress.ip_network("10.96.0.0/12")),
    )
    plan = plan_attachment(
        replace(ATTACH, settings=replace(SETTINGS, routes=routes)), LEASE, 1500, "0e:58:00:00:00:01"
    )
    assert plan.routes[0] == routes[0]
    assert str(plan.routes[1].gateway) == "10.0.0.1"
    assert [str(one.destination) for one in plan.routes[2:]] == ["::/0"]


def test_addresses_of_another_management_are_used_as_they_are() -> None:
    one = PodAddress(ipaddress.ip_interface("192.0.2.7/25"), ipaddress.ip_address("192.0.2.1"))
    plan = plan_attachment(replace(ATTACH, given=Given((one,))), LEASE, 1500, "0e:58:00:00:00:01")
    assert [str(address.address) for address in plan.addresses] == ["192.0.2.7/25"]
    assert [str(address) for address in plan.gateways] == ["192.0.2.1"]


def test_ipv6_needs_a_wide_enough_mtu() -> None:
    assert "1280" in check_mtu(1279, frozenset({4, 6}))
    assert not check_mtu(1279, frozenset({4}))


@given(st.integers(8, 1 << 36), st.integers(0, 1 << 33))
def test_bursts_are_neither_endless_nor_smaller_than_a_frame(rate: int, burst: int) -> None:
    bucket = shaping.plan_bucket(rate, burst, 1500)
    assert bucket
    assert bucket.rate == rate // 8
    assert 3000 <= bucket.burst < 1 << 32
    if burst >= (1 << 31) - 1:
        assert bucket.burst == max(int(bucket.rate * 0.05), 65536)


def test_a_burst_that_somebody_chose_is_kept_and_no_rate_is_no_bound() -> None:
    bucket = shaping.plan_bucket(100_000_000, 16_000_000, 1500)
    assert bucket
    assert bucket.burst == 2_000_000
    assert shaping.plan_bucket(0, 1 << 31, 1500) is None


def test_a_port_has_an_element_for_each_family_it_can_be_reached_by() -> None:
    both = ruleset.elements_of((PortMapping(8080, 80, count=2),), LEASE.addresses)
    assert both == (
        ("ports4", "tcp . 8080", "10.0.0.9 . 80"),
        ("ports4", "tcp . 8081", "10.0.0.9 . 81"),
        ("ports6", "tcp . 8080", "fd00::9 . 80"),
        ("ports6", "tcp . 8081", "fd00::9 . 81"),
    )
    here = PortMapping(53, 5353, Protocol.UDP, ipaddress.ip_address("192.0.2.1"))
    assert ruleset.elements_of((here,), LEASE.addresses) == (
        ("ports_at4", "udp . 192.0.2.1 . 53", "10.0.0.9 . 5353"),
    )
    assert ruleset.udp_ports((here, PortMapping(80, 80))) == [53]
