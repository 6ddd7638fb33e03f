"""nftables and connection tracking against the real kernel; `nft -j` tells what came of it."""

import errno
import select
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from ringbolt.linux import conntrack, netlink, nft, notices
from ringbolt.linux.conntrack import Pattern
from ringbolt.linux.nft import Nftables
from ringbolt.linux.nft_features import Feature, probe
from tests.kernel.netlab import namespace, refusal, show

TABLE = {"family": "inet", "name": "ours"}
IN = {"family": "inet", "table": "ours"}
PODS: list[nft.Command] = [
    {"add": {"table": TABLE}},
    {"add": {"set": IN | {"name": "pods", "type": "ipv4_addr"}}},
]
TRACKING = """
add table inet ours
add map inet ours ports { type inet_proto . inet_service : ipv4_addr . inet_service; }
add chain inet ours out { type nat hook output priority -100; }
add rule inet ours out ct state new
add rule inet ours out dnat ip to meta l4proto . th dport map @ports
add element inet ours ports { udp . 5353 : 127.0.0.9 . 5300 }
"""


@pytest.fixture
def tables() -> Iterator[Nftables]:
    with Nftables() as opened:
        yield opened


@pytest.fixture
def tracking() -> Iterator[netlink.Socket]:
    with netlink.Socket(netlink.NETLINK_NETFILTER) as opened:
        yield opened


def _elements(name: str) -> list[Any]:
    shown = show("nft", "-j", "list", "set", "inet", "ours", name)["nftables"]
    found: list[Any] = shown[-1]["set"].get("elem", [])
    return found


def _element(address: str) -> dict[str, Any]:
    return {"element": IN | {"name": "pods", "elem": [address]}}


def test_nft_shows_what_was_added_and_taken_away(tables: Nftables) -> None:
    tables.run([*PODS, {"add": _element("10.0.0.2")}, {"add": _element("10.0.0.3")}])
    assert sorted(_elements("pods")) == ["10.0.0.2", "10.0.0.3"]
    tables.run([{"delete": _element("10.0.0.2")}])
    assert _elements("pods") == ["10.0.0.3"]


def test_what_is_listed_is_what_nft_shows(tables: Nftables) -> None:
    tables.run(PODS)
    listed = tables.run([{"list": {"table": TABLE}}])
    shown = show("nft", "-j", "-a", "list", "table", "inet", "ours")["nftables"]
    assert listed == [one for one in shown if "metainfo" not in one]
    assert [next(iter(one)) for one in listed] == ["table", "set"]


def test_commands_are_carried_out_all_or_none(tables: Nftables) -> None:
    with refusal(errno.ENOENT, "nftables -> ENOENT: "):
        tables.run([*PODS, {"delete": {"table": {"family": "inet", "name": "nobody"}}}])
    assert tables.run([{"list": {"tables": None}}]) == []


def test_a_check_changes_nothing(tables: Nftables) -> None:
    tables.check(PODS)
    assert tables.supports(PODS)
    assert tables.run([{"list": {"tables": None}}]) == []
    assert not tables.supports([{"add": _element("10.0.0.2")}])
    tables.run(PODS)
    assert len(tables.run([{"list": {"tables": None}}])) == 1


def test_what_nftables_does_not_understand_is_told_in_its_words(tables: Nftables) -> None:
    hook = {"name": "c", "type": "nat", "hook": "nowhere", "prio": 0, "policy": "accept"}
    with refusal(errno.EINVAL, "Invalid chain hook 'nowhere'"):
        tables.run([*PODS, {"add": {"chain": IN | hook}}])
    with refusal(errno.EINVAL, "syntax error"):
        tables.run("add nonsense")


def test_a_script_says_what_older_json_cannot(tables: Nftables) -> None:
    tables.run(TRACKING)
    element = [[{"concat": ["tcp", 80]}, {"concat": ["10.0.0.2", 8080]}]]
    tables.run([{"add": {"element": IN | {"name": "ports", "elem": element}}}])
    shown = show("nft", "-j", "list", "map", "inet", "ours", "ports")["nftables"]
    ports = {tuple(key["concat"]): value["concat"] for key, value in shown[-1]["map"]["elem"]}
    assert ports == {("tcp", 80): ["10.0.0.2", 8080], ("udp", 5353): ["127.0.0.9", 5300]}


def test_tables_belong_to_the_namespace_that_was_asked_for(tables: Nftables) -> None:
    with namespace() as fd, Nftables(netns=fd) as inside:
        inside.run(PODS)
        assert tables.run([{"list": {"tables": None}}]) == []
        shown = show("nft", "-j", "list", "tables", netns=fd)["nftables"]
        assert [one["table"]["name"] for one in shown if "table" in one] == ["ours"]


def test_a_table_that_somebody_removes_is_heard_of(tables: Nftables) -> None:
    tables.run(PODS)
    groups = [notices.NFNLGRP_NFTABLES]
    with netlink.Listener(groups, netlink.NETLINK_NETFILTER) as listener:
        tables.run([{"delete": {"table": TABLE}}])
        ready, _, _ = select.select([listener], [], [], 20)
        assert ready
        assert listener.read().messages


def test_features_are_probed_without_a_trace(tables: Nftables) -> None:
    assert Feature.INTERVALS in probe(tables)
    assert tables.run([{"list": {"tables": None}}]) == []


def test_a_missing_library_is_told_with_its_package() -> None:
    words = "nftables needs libnftables.so.0 (libnftables.so.0: cannot open shared object file"
    with refusal(errno.ENOENT, words):
        nft.load("libnftables.so.0")
    with refusal(errno.ENOENT, "install the package libnftables1 (Debian"):
        nft.load("libnftables.so.0")


def test_a_closed_connection_says_so(tables: Nftables) -> None:
    tables.close()
    with refusal(errno.EBADF, "the connection is closed"):
        tables.run(PODS)


def _speak(to: tuple[str, int], family: socket.AddressFamily = socket.AF_INET) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as source:
        source.sendto(b"datagram", to)


@pytest.fixture
def spoken(tables: Nftables) -> None:
    """UDP to a host port that leads to 127.0.0.9:5300, to a plain port, and over IPv6."""
    tables.run(TRACKING)
    _speak(("127.0.0.1", 5353))
    _speak(("127.0.0.1", 5354))
    _speak(("::1", 5354), socket.AF_INET6)


@pytest.mark.usefixtures("spoken")
def test_flows_are_found_by_what_is_known_of_them(tracking: netlink.Socket) -> None:
    def ports(pattern: Pattern) -> list[int]:
        found = conntrack.list_flows(tracking, pattern)
        return sorted(flow.original.destination_port for flow in found)

    assert ports(Pattern()) == [5353, 5354, 5354]
    assert ports(Pattern(destination_port=5354)) == [5354, 5354]
    assert ports(Pattern(destination=IPv6Address("::1"))) == [5354]
    assert ports(Pattern(server=IPv4Address("127.0.0.9"))) == [5353]
    assert ports(Pattern(protocol=6)) == []


@pytest.mark.usefixtures("spoken")
def test_a_flow_shows_both_of_its_directions(tracking: netlink.Socket) -> None:
    (flow,) = conntrack.list_flows(tracking, Pattern(destination_port=5353))
    assert flow.original.destination == IPv4Address("127.0.0.1")
    assert (flow.reply.source, flow.reply.source_port) == (IPv4Address("127.0.0.9"), 5300)
    assert flow.reply.destination_port == flow.original.source_port


@pytest.mark.usefixtures("spoken")
def test_only_the_flows_that_match_are_forgotten(tracking: netlink.Socket) -> None:
    (flow,) = conntrack.list_flows(tracking, Pattern(destination_port=5353))
    assert conntrack.delete_flows(tracking, Pattern(destination_port=5353)) == 1
    left = conntrack.list_flows(tracking, Pattern())
    assert [one.original.destination_port for one in left] == [5354, 5354]
    assert conntrack.delete_flows(tracking, Pattern(destination_port=5353)) == 0
    with refusal(errno.ENOENT, "IPCTNL_MSG_CT_DELETE protocol 17 127.0.0.1:"):
        tracking.request([conntrack.delete_flow(flow)])
    assert conntrack.delete_flows(tracking, Pattern()) == 2
