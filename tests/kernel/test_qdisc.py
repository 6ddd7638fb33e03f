"""Bandwidth in both directions against the real kernel; `tc -j` and byte counts tell what came."""

import errno
import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Interface
from typing import Any

import pytest

from ringbolt.linux import address, link, netlink, network_namespace, qdisc
from ringbolt.linux.address import Address
from ringbolt.linux.link import Change, End, Link
from ringbolt.linux.qdisc import Bucket
from tests.kernel.netlab import add_pair, must_find, namespace, refusal, remove_links, show

TEN_MBIT = Bucket(rate=1_250_000, burst=64_000)
PORT = 4321
DATAGRAM = 1400


@pytest.fixture
def host() -> Iterator[netlink.Socket]:
    with netlink.Socket() as opened:
        yield opened
        remove_links(opened)


@pytest.fixture
def pod(host: netlink.Socket) -> Iterator[int]:
    """A pod at 10.0.0.2; the node's end of its link is `cali1` at 10.0.0.1."""
    with namespace() as fd, netlink.Socket(netns=fd) as inside:
        end = add_pair(host, End("cali1"), End("eth0", netns_fd=fd))
        inside.request(
            [
                link.set_link(end.peer, Change(up=True)),
                address.new_address(Address(end.peer, IPv4Interface("10.0.0.2/24"))),
            ]
        )
        host.request([address.new_address(Address(end.index, IPv4Interface("10.0.0.1/24")))])
        yield fd


@pytest.fixture
def end(host: netlink.Socket, pod: int) -> Link:  # noqa: ARG001  # its pair's other end
    return must_find(host, "cali1")


def _only(name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = show("tc", "-j", "-s", "qdisc", "show", "dev", name, "root")
    return found[0]


def _send(source: socket.socket, to: str, count: int) -> None:
    for _ in range(count):
        source.sendto(bytes(DATAGRAM), (to, PORT))


def test_tc_shows_the_bucket_that_was_asked_for(host: netlink.Socket, end: Link) -> None:
    host.request([qdisc.new_tbf(end.index, TEN_MBIT)])
    shown = _only("cali1")
    assert (shown["kind"], shown["handle"]) == ("tbf", "1:")
    assert shown["options"] == {"rate": 1_250_000, "burst": 64_000, "lat": 25_000}
    (listed,) = qdisc.list_qdiscs(host, end.index)
    assert (listed.kind, listed.rate, listed.burst) == ("tbf", 1_250_000, 64_000)
    assert listed.limit == 64_000 + 1_250_000 // 40


def test_a_bound_changes_live_and_is_lifted(host: netlink.Socket, end: Link) -> None:
    host.request([qdisc.new_tbf(end.index, TEN_MBIT)])
    host.request([qdisc.new_tbf(end.index, Bucket(10**10, 10**7))])
    assert _only("cali1")["options"]["rate"] == 10**10
    host.request([qdisc.delete_tbf(end.index)])
    assert _only("cali1")["kind"] != "tbf"
    with refusal(errno.ENOENT, f"RTM_DELQDISC root index {end.index} -> ENOENT"):
        host.request([qdisc.delete_tbf(end.index)])


def test_a_rate_of_nothing_is_refused() -> None:
    with refusal(errno.EINVAL, "0 B/s with a burst of 64000 B lets nothing through"):
        qdisc.new_tbf(1, Bucket(0, 64_000))
    with refusal(errno.EINVAL, "1250000 B/s with a burst of 0 B lets nothing through"):
        qdisc.new_tbf(1, Bucket(1_250_000, 0))


def test_what_a_pod_sends_is_bounded_outside_of_its_reach(
    host: netlink.Socket, pod: int, end: Link
) -> None:
    host.request([link.new_ifb(End("ifb7", up=True))])
    ifb = must_find(host, "ifb7")
    host.request(
        [
            qdisc.new_tbf(ifb.index, TEN_MBIT),
            qdisc.new_ingress(end.index),
            qdisc.redirect_ingress(end.index, ifb.index),
        ]
    )
    with (
        network_namespace.inside(pod, lambda: socket.socket(type=socket.SOCK_DGRAM)) as source,
        socket.socket(type=socket.SOCK_DGRAM) as drain,
    ):
        drain.bind(("10.0.0.1", PORT))
        drain.settimeout(20)
        _send(source, "10.0.0.1", 200)
        assert len(drain.recv(4096)) == DATAGRAM
    shown = _only("ifb7")
    assert shown["kind"] == "tbf"
    assert shown["packets"] + shown["drops"] + shown["qlen"] >= 200
    assert shown["drops"] > 0


def test_what_a_pod_receives_keeps_to_the_rate(host: netlink.Socket, pod: int, end: Link) -> None:
    host.request([qdisc.new_tbf(end.index, Bucket(rate=250_000, burst=10_000, latency_s=2))])
    drain = network_namespace.inside(pod, lambda: socket.socket(type=socket.SOCK_DGRAM))
    with drain, socket.socket(type=socket.SOCK_DGRAM) as source:
        drain.bind(("10.0.0.2", PORT))
        drain.settimeout(20)
        began = time.monotonic()
        _send(source, "10.0.0.2", 60)
        received = sum(len(drain.recv(4096)) for _ in range(60))
        seconds = time.monotonic() - began
    # Slower is the machine's business; faster than burst and rate allow is a broken bound.
    assert received / (seconds + 10_000 / 250_000) <= 250_000 * 1.1


def test_a_filter_needs_its_place_first(host: netlink.Socket, end: Link) -> None:
    with refusal(errno.EINVAL, f"RTM_NEWTFILTER redirect index {end.index} to index 1 -> EINVAL"):
        host.request([qdisc.redirect_ingress(end.index, 1)])
    host.request([qdisc.new_ingress(end.index)])
    with refusal(errno.EEXIST, f"RTM_NEWQDISC ingress index {end.index} -> EEXIST"):
        host.request([qdisc.new_ingress(end.index)])
    host.request([qdisc.redirect_ingress(end.index, 1)])
    shown = show("tc", "-j", "filter", "show", "dev", "cali1", "ingress")
    (action,) = shown[-1]["options"]["actions"]
    assert (action["kind"], action["mirred_action"], action["to_dev"]) == (
        "mirred",
        "redirect",
        "lo",
    )
    host.request([qdisc.delete_ingress(end.index)])
    assert [one.kind for one in qdisc.list_qdiscs(host, end.index)] != ["ingress"]
