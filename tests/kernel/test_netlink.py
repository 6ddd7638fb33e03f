"""Netlink sockets against the real kernel: batches, refusals, dumps, lost notifications."""

import errno
import select
import socket as sockets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Interface

import pytest

from ringbolt.linux import address, link, messages, netlink, notices
from ringbolt.linux.address import Address
from ringbolt.linux.link import Change, End
from ringbolt.linux.messages import NetlinkError, Request
from ringbolt.linux.notices import Notice
from tests.kernel.netlab import must_find, namespace, refusal, remove_links, show

PATIENCE_S = 20.0
GROUPS = (notices.RTNLGRP_LINK, notices.RTNLGRP_IPV4_IFADDR)
MANY = 150


@pytest.fixture
def host() -> Iterator[netlink.Socket]:
    with netlink.Socket() as socket:
        yield socket
        remove_links(socket)


def test_a_batch_of_any_length_is_answered_in_order(host: netlink.Socket) -> None:
    made = [link.new_bridge(End(f"rb{n}")) for n in range(MANY)]
    host.request(made)
    answers = host.request([link.get_link(f"rb{n}") for n in range(MANY)])
    assert [link.decode(one.body).name for (one,) in answers] == [f"rb{n}" for n in range(MANY)]
    assert len(link.list_links(host)) == MANY + 1
    assert host.request([]) == []


def test_what_follows_a_refusal_is_tried_too_and_the_first_refusal_is_told(
    host: netlink.Socket,
) -> None:
    batch = [
        link.new_bridge(End("rb0")),
        link.new_bridge(End("rb0")),
        link.delete_link("nobody"),
        link.new_bridge(End("rb1")),
    ]
    with refusal(errno.EEXIST, "RTM_NEWLINK bridge rb0 -> EEXIST"):
        host.request(batch)
    assert must_find(host, "rb1").kind == "bridge"
    results = host.attempt([one.forgiving(errno.ENODEV) for one in batch])
    refused = [result.errno for result in results if isinstance(result, NetlinkError)]
    assert (len(results), refused) == (4, [errno.EEXIST] * 3)


def test_a_malformed_request_is_refused_in_the_kernels_words(host: netlink.Socket) -> None:
    short = Request("RTM_NEWADDR", "nothing", address.RTM_NEWADDR, 0, b"\2")
    with refusal(errno.EINVAL, "RTM_NEWADDR nothing -> EINVAL"):
        host.request([short])
    strict = Request("RTM_GETADDR", "", address.RTM_GETADDR, 0, bytes(7) + b"\1")
    with refusal(errno.EINVAL, "RTM_GETADDR -> EINVAL: ipv4: Invalid values in header"):
        host.dump(
            Request(strict.operation, "", strict.kind, 0, b"\2" + strict.body[1:3] + b"\1\0\0\0\0")
        )


def test_a_socket_stays_in_the_namespace_it_was_opened_in(host: netlink.Socket) -> None:
    with namespace() as fd, netlink.Socket(netns=fd) as inside:
        inside.request([link.new_bridge(End("rb0"))])
        assert link.find(host, "rb0") is None
        assert [one["ifname"] for one in show("ip", "-j", "link", netns=fd)] == ["lo", "rb0"]


def test_threads_share_a_socket(host: netlink.Socket) -> None:
    def make_and_find(number: int) -> str:
        host.request([link.new_bridge(End(f"rb{number}"))])
        return must_find(host, f"rb{number}").name

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(make_and_find, range(40))) == [f"rb{n}" for n in range(40)]


class Meddled(netlink.Socket):
    """Changes the links under a dump's feet, right after the kernel began it."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.meddler = netlink.Socket()
        self.times = times
        self.dumps = 0

    def _send(self, data: bytes, first: Request) -> None:
        super()._send(data, first)
        self.dumps += 1
        if self.times:
            self.times -= 1
            self.meddler.request([link.new_bridge(End(f"new{self.dumps}"))])

    def close(self) -> None:
        self.meddler.close()
        super().close()


def test_a_dump_that_changed_underway_is_taken_again(host: netlink.Socket) -> None:
    host.request([link.new_bridge(End(f"rb{n}")) for n in range(MANY)])
    with Meddled(times=2) as meddled:
        names = {one.name for one in link.list_links(meddled)}
        assert meddled.dumps == 3
    assert names >= {"new1", "new2"}
    with Meddled(times=1000) as meddled, refusal(errno.EINTR, "RTM_GETLINK -> EINTR: changed"):
        meddled.meddler.request([link.delete_link("new1"), link.delete_link("new2")])
        link.list_links(meddled)


def _hear(listener: netlink.Listener, wanted: int) -> list[Notice]:
    heard: list[Notice] = []
    while len(heard) < wanted:
        ready, _, _ = select.select([listener], [], [], PATIENCE_S)
        assert ready, f"heard only {heard}"
        found = listener.read()
        assert not found.overflow
        heard += [notice for one in found.messages if (notice := notices.decode(one))]
    return heard


def test_changes_are_heard_in_their_order(host: netlink.Socket) -> None:
    with netlink.Listener(GROUPS) as listener:
        assert listener.read() == netlink.Heard((), overflow=False)
        host.request([link.new_bridge(End("rb0"))])
        found = must_find(host, "rb0")
        one = Address(found.index, IPv4Interface("10.0.0.1/24"))
        host.request([address.new_address(one), address.delete_address(one)])
        host.request([link.delete_link("rb0")])
        heard = _hear(listener, 4)
    told = [(type(notice.value).__name__, notice.gone) for notice in heard]
    assert told == [("Link", False), ("Address", False), ("Address", True), ("Link", True)]
    assert isinstance(heard[1].value, Address)
    assert heard[1].value.interface == one.interface


def test_lost_notifications_are_told_and_hearing_goes_on(host: netlink.Socket) -> None:
    with netlink.Listener(GROUPS, receive_buffer=4096) as listener:
        host.request([link.new_bridge(End(f"rb{n}")) for n in range(40)])
        assert listener.read().overflow
        host.request([link.set_link("rb0", Change(up=True))])
        heard = _hear(listener, 1)
    assert isinstance(heard[0].value, link.Link)
    assert (heard[0].value.name, heard[0].value.up) == ("rb0", True)


def test_a_listener_can_live_in_another_namespace(host: netlink.Socket) -> None:
    with (
        namespace() as fd,
        netlink.Socket(netns=fd) as inside,
        netlink.Listener(GROUPS, netns=fd) as listener,
    ):
        host.request([link.new_bridge(End("here"))])
        inside.request([link.new_bridge(End("there"))])
        (notice,) = _hear(listener, 1)
        assert isinstance(notice.value, link.Link)
        assert notice.value.name == "there"


def test_what_another_process_sends_is_not_believed(host: netlink.Socket) -> None:
    """Root may send to a netlink socket too; only what the kernel sends is an answer."""
    with sockets.socket(sockets.AF_NETLINK, sockets.SOCK_RAW, 0) as stranger:
        port = host._socket.getsockname()[0]
        forged = messages.encode(Request("", "", messages.NLMSG_ERROR, 0, b"\xff" * 4), 1)
        stranger.sendto(forged, (port, 0))
        assert must_find(host, "lo").index == 1


def test_a_request_beyond_what_a_socket_sends_is_told_by_its_name(host: netlink.Socket) -> None:
    with refusal(errno.EMSGSIZE, "RTM_GETLINK everything -> EMSGSIZE: sending 800016 bytes failed"):
        host.request([Request("RTM_GETLINK", "everything", 18, 0, bytes(800_000))])


def test_sequence_numbers_begin_anew(host: netlink.Socket) -> None:
    host._sequence = 2**32 - 6
    for first in (2**32 - 6, 1):
        answers = host.request([link.get_link("lo")] * 4)
        assert [one.sequence for (one,) in answers] == [first + at for at in range(4)]


def test_an_unknown_family_and_group_are_refused() -> None:
    with refusal(errno.EPROTONOSUPPORT):
        netlink.Socket(family=31)
    with refusal(errno.EINVAL):
        netlink.Listener([100_000])
