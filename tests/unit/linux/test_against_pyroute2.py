"""pyroute2 reads what our codec writes: another's view of the wire."""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Interface, ip_address
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from ringbolt.linux import address, link, messages, neighbour, qdisc, route
from ringbolt.linux.link import End

MAC = "0a:58:0a:f4:00:02"


def _read(kind: type[Any], request: messages.Request) -> Any:
    """What pyroute2 makes of the request as it is sent."""
    read = kind(messages.encode(request, sequence=7))
    read.decode()
    assert read["header"]["type"] == request.kind
    assert read["header"]["sequence_number"] == 7
    return read


def _nested(message: Any, *names: str) -> Any:
    for name in names:
        message = message.get_attr(name)
    return message


def _has(message: Any, wanted: Mapping[str, object]) -> None:
    assert {name: message.get_attr(name) for name in wanted} == wanted


def test_a_pair_is_one_message_with_two_ends() -> None:
    host = End("cali1", "0a:58:00:00:00:01", mtu=1400, master=5, queues=1, up=True)
    read = _read(ifinfmsg, link.new_veth(host, End("eth0", MAC, mtu=1400, netns_fd=9)))
    assert (read["flags"], read["change"]) == (1, 1)
    wanted = {"IFLA_IFNAME": "cali1", "IFLA_MTU": 1400, "IFLA_MASTER": 5, "IFLA_NUM_TX_QUEUES": 1}
    _has(read, wanted | {"IFLA_ADDRESS": "0a:58:00:00:00:01"})
    assert _nested(read, "IFLA_LINKINFO", "IFLA_INFO_KIND") == "veth"
    peer = _nested(read, "IFLA_LINKINFO", "IFLA_INFO_DATA", "VETH_INFO_PEER")
    assert peer["flags"] == 0
    _has(peer, {"IFLA_IFNAME": "eth0", "IFLA_ADDRESS": MAC, "IFLA_MTU": 1400, "IFLA_NET_NS_FD": 9})


def test_an_address_is_read_as_written() -> None:
    interface = IPv6Interface("fd00::2/64")
    wanted = address.Address(4, interface, address.IFA_F_NODAD, scope=0)
    read = _read(ifaddrmsg, address.new_address(wanted))
    assert (read["family"], read["prefixlen"], read["index"]) == (10, 64, 4)
    _has(read, {"IFA_LOCAL": "fd00::2", "IFA_ADDRESS": "fd00::2", "IFA_FLAGS": 2})


def test_a_route_is_read_as_written() -> None:
    wanted = route.Route(
        IPv4Network("192.0.2.0/24"),
        4,
        ip_address("169.254.1.1"),
        on_link=True,
        mtu=1300,
        advmss=1260,
        priority=7,
        table=1000,
    )
    read = _read(rtmsg, route.new_route(wanted))
    assert (read["dst_len"], read["flags"], read["table"]) == (24, 4, 252)
    given = {"RTA_DST": "192.0.2.0", "RTA_GATEWAY": "169.254.1.1", "RTA_OIF": 4}
    _has(read, given | {"RTA_TABLE": 1000, "RTA_PRIORITY": 7})
    _has(read.get_attr("RTA_METRICS"), {"RTAX_MTU": 1300, "RTAX_ADVMSS": 1260})


def test_a_neighbour_is_read_as_written() -> None:
    wanted = neighbour.Neighbour(4, ip_address("10.0.0.1"), MAC)
    read = _read(ndmsg, neighbour.new_neighbour(wanted))
    assert (read["ifindex"], read["state"]) == (4, neighbour.NUD_PERMANENT)
    _has(read, {"NDA_DST": "10.0.0.1", "NDA_LLADDR": MAC})


@pytest.mark.parametrize("rate", [1_250_000, 10**10])
def test_a_bucket_is_read_as_written(rate: int) -> None:
    read = _read(tcmsg, qdisc.new_tbf(4, qdisc.Bucket(rate, 64_000)))
    assert (read["index"], read["handle"], read["parent"]) == (4, 0x10000, 0xFFFFFFFF)
    options = read.get_attr("TCA_OPTIONS")
    parameters = options.get_attr("TCA_TBF_PARMS")
    assert parameters["rate"] == min(rate, 2**32 - 1)
    assert parameters["limit"] == rate // 40 + 64_000


def test_a_redirect_is_read_as_written() -> None:
    read = _read(tcmsg, qdisc.redirect_ingress(4, 9))
    assert (read["index"], read["parent"], read["info"]) == (4, 0xFFFF0000, 0x10300)
    assert read.get_attr("TCA_KIND") == "u32"
    action = _nested(read, "TCA_OPTIONS", "TCA_U32_ACT", "TCA_ACT_PRIO_1")
    assert action.get_attr("TCA_ACT_KIND") == "mirred"
    mirred = _nested(action, "TCA_ACT_OPTIONS", "TCA_MIRRED_PARMS")
    assert (mirred["eaction"], mirred["ifindex"], mirred["action"]) == (1, 9, 4)
