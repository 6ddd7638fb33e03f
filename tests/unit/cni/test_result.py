"""Results of every version: what is told is read back as far as the version can tell it."""

from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.codes import CniError
from cni.fields import Fields
from cni.result import encode_result, merge, parse_result
from cni.versions import SUPPORTED
from ringbolt.network.attachment import Attached, Interface, PodAddress
from ringbolt.network.settings import Dns, Route
from tests.unit.cni.recording_network import attached

WHOLE = st.none() | st.integers(0, 1 << 31)
INTERFACES = st.ip_addresses().flatmap(
    lambda address: st.integers(0, address.max_prefixlen).map(
        lambda prefix: ip_interface(f"{address}/{prefix}")
    )
)


def routes(interface: IPv4Interface | IPv6Interface) -> st.SearchStrategy[Route]:
    gateways = st.none() | st.just(interface.ip)
    return st.builds(Route, st.just(interface.network), gateways, WHOLE, WHOLE, WHOLE, WHOLE, WHOLE)


ATTACHED = st.builds(
    Attached,
    st.lists(
        st.builds(Interface, st.text(), st.text(), st.integers(0, 9000), st.text()), max_size=3
    ).map(tuple),
    st.lists(
        st.builds(PodAddress, INTERFACES, st.none() | st.ip_addresses(), WHOLE), max_size=3
    ).map(tuple),
    st.lists(INTERFACES.flatmap(routes), max_size=3).map(tuple),
    st.builds(Dns, st.lists(st.text()).map(tuple), st.text(), st.lists(st.text()).map(tuple)),
)


@given(ATTACHED)
def test_the_newest_version_tells_everything(one: Attached) -> None:
    assert parse_result(Fields(encode_result(one, "1.1.0")), "1.1.0") == one


@given(ATTACHED, st.sampled_from([one for one in SUPPORTED if "0.3.0" <= one < "1.1.0"]))
def test_older_versions_leave_out_what_they_do_not_know(one: Attached, version: str) -> None:
    known = replace(
        one,
        interfaces=tuple(replace(each, mtu=0) for each in one.interfaces),
        routes=tuple(Route(each.destination, each.gateway) for each in one.routes),
    )
    assert parse_result(Fields(encode_result(one, version)), version) == known


@given(ATTACHED, st.sampled_from(["0.1.0", "0.2.0"]))
def test_the_oldest_versions_tell_one_address_of_a_family(one: Attached, version: str) -> None:
    first = {each.address.version: each for each in reversed(one.addresses)}
    if not first:
        with pytest.raises(CniError, match="no valid IP addresses"):
            encode_result(one, version)
        return
    read = parse_result(Fields(encode_result(one, version)), version)
    assert [each.address for each in read.addresses] == [
        first[family].address for family in (4, 6) if family in first
    ]
    kept = [each for each in one.routes if each.destination.version in first]
    assert sorted(str(each.destination) for each in read.routes) == sorted(
        str(each.destination) for each in kept
    )


def test_a_result_may_name_another_version_than_was_asked_for() -> None:
    wire = encode_result(attached(), "0.4.0")
    assert parse_result(Fields(wire), "1.1.0").addresses == attached().addresses
    with pytest.raises(CniError, match="incompatible"):
        parse_result(Fields({"cniVersion": "9.0.0"}), "1.1.0")


@pytest.mark.parametrize("version", ["0.2.0", "1.0.0"])
def test_a_merge_keeps_what_was_there(version: str) -> None:
    ours: dict[str, Any] = encode_result(attached(), version)
    before = encode_result(replace(attached(), addresses=attached().addresses[:1]), version)
    merged = merge(Fields(before), dict(ours))
    if version == "0.2.0":
        assert (merged["ip4"], merged["ip6"]) == (before["ip4"], ours["ip6"])
    else:
        assert [one["interface"] for one in merged["ips"]] == [2, 5, 5]
