"""Links against the real kernel; `ip -j` tells what came of it."""

import errno
from collections.abc import Iterator

import pytest

from ringbolt.linux import link, netlink
from ringbolt.linux.link import Change, End, Port
from tests.kernel.netlab import (
    add_pair,
    must_find,
    namespace,
    refusal,
    remove_links,
    show,
    show_link,
)

HOST = End("cali1", mac="0a:58:00:00:00:01", mtu=1400, up=True)
ALIAS = Change(alias="default/web")
GROUP = 0x52420001


@pytest.fixture
def host() -> Iterator[netlink.Socket]:
    with netlink.Socket() as socket:
        yield socket
        remove_links(socket)


@pytest.fixture
def pod() -> Iterator[int]:
    with namespace() as fd:
        yield fd


def test_one_message_makes_and_places_both_ends(host: netlink.Socket, pod: int) -> None:
    host.request([link.new_bridge(End("rb0", mac="0a:58:00:00:00:fe", up=True))])
    bridge = must_find(host, "rb0")
    end = End("cali1", HOST.mac, 1400, bridge.index, group=7, queues=1, up=True)
    host.request([link.new_veth(end, End("eth0", "0a:58:0a:f4:00:02", 1400, netns_fd=pod))])

    seen, inside = show_link("cali1"), show_link("eth0", pod)
    assert seen["address"] == "0a:58:00:00:00:01"
    assert (seen["mtu"], inside["mtu"]) == (1400, 1400)
    assert seen["master"] == "rb0"
    assert seen["group"] == "7"
    assert "UP" in seen["flags"]
    assert seen["num_tx_queues"] == 1
    assert inside["address"] == "0a:58:0a:f4:00:02"
    assert "UP" not in inside["flags"]
    assert [entry["ifname"] for entry in show("ip", "-j", "link")] == ["lo", "rb0", "cali1"]


def test_the_kernel_and_ip_show_the_same_link(host: netlink.Socket, pod: int) -> None:
    end = add_pair(host, HOST, End("eth0", netns_fd=pod))
    _, (answer,) = host.request([link.set_link("cali1", ALIAS), link.get_link("cali1")])
    end, seen = link.decode(answer.body), show_link("cali1")
    assert seen["ifalias"] == "default/web"
    assert (end.index, end.peer) == (seen["ifindex"], show_link("eth0", pod)["ifindex"])
    assert (end.name, end.kind, end.mac) == (
        seen["ifname"],
        seen["linkinfo"]["info_kind"],
        seen["address"],
    )
    assert (end.mtu, end.alias, end.group, end.master) == (1400, "default/web", 0, 0)
    assert end.up
    assert link.find(host, end.index) == must_find(host, "cali1")
    assert {one.name for one in link.list_links(host)} == {"lo", "cali1"}


def test_a_taken_name_is_told_with_operation_and_name(host: netlink.Socket, pod: int) -> None:
    add_pair(host, HOST, End("eth0", netns_fd=pod))
    with refusal(errno.EEXIST, "RTM_NEWLINK veth cali1 -> EEXIST"):
        host.request([link.new_veth(HOST, End("eth1", netns_fd=pod))])
    with refusal(errno.EEXIST, "RTM_NEWLINK veth cali2 -> EEXIST"):
        host.request([link.new_veth(End("cali2"), End("eth0", netns_fd=pod))])
    assert link.find(host, "cali2") is None


def test_a_peer_cannot_be_born_up(host: netlink.Socket, pod: int) -> None:
    with refusal(errno.ENOTCONN, "RTM_NEWLINK veth cali1 -> ENOTCONN"):
        host.request([link.new_veth(HOST, End("eth0", netns_fd=pod, up=True))])
    assert link.find(host, "cali1") is None


def test_a_link_without_ipv6_address_has_none(host: netlink.Socket) -> None:
    host.request([link.new_veth(End("a"), End("b"))])
    quiet, other = must_find(host, "a"), must_find(host, "b")
    host.request(
        [
            link.set_without_ipv6_address("a"),
            link.set_link(quiet.index, Change(up=True)),
            link.set_link(other.index, Change(up=True)),
        ]
    )
    assert show_link("a")["inet6_addr_gen_mode"] == "none"
    shown = {entry["ifname"]: entry["addr_info"] for entry in show("ip", "-j", "-6", "addr")}
    assert "a" not in shown
    assert [one["scope"] for one in shown["b"]] == ["link"]


def test_a_bridge_port_is_changed_one_setting_at_a_time(host: netlink.Socket) -> None:
    host.request([link.new_bridge(End("rb0"), multicast_snooping=False)])
    end = add_pair(host, End("a", master=must_find(host, "rb0").index), End("b"))

    def settings() -> tuple[bool, bool, bool]:
        data = show_link("a")["linkinfo"]["info_slave_data"]
        return data["hairpin"], data["isolated"], data["learning"]

    assert settings() == (False, False, True)
    host.request([link.set_bridge_port(end.index, Port(hairpin=True, isolated=True))])
    assert settings() == (True, True, True)
    host.request([link.set_bridge_port(end.index, Port(hairpin=False, learning=False))])
    assert settings() == (False, True, False)
    assert show_link("rb0")["linkinfo"]["info_data"]["mcast_snooping"] == 0


def test_a_link_is_changed_in_place(host: netlink.Socket, pod: int) -> None:
    host.request([link.new_bridge(End("rb0")), link.new_ifb(End("ifb7"))])
    bridge = must_find(host, "rb0")
    end = add_pair(host, End("a", master=bridge.index), End("b"))
    change = Change(
        up=False, name="c", mac="0a:58:00:00:00:09", mtu=1300, master=0, alias="x/y", group=9
    )
    host.request([link.set_link(end.index, change)])
    seen = must_find(host, "c")
    assert (seen.mac, seen.mtu, seen.master, seen.alias, seen.group, seen.up) == (
        "0a:58:00:00:00:09",
        1300,
        0,
        "x/y",
        9,
        False,
    )
    host.request([link.set_link(end.index, Change(netns_fd=pod))])
    assert link.find(host, "c") is None
    assert show_link("c", pod)["mtu"] == 1300
    assert show_link("ifb7")["linkinfo"]["info_kind"] == "ifb"


def test_a_deleted_end_takes_its_peer_along(host: netlink.Socket, pod: int) -> None:
    add_pair(host, HOST, End("eth0", netns_fd=pod))
    host.request([link.delete_link("cali1")])
    assert link.find(host, "cali1") is None
    assert [entry["ifname"] for entry in show("ip", "-j", "link", netns=pod)] == ["lo"]
    with refusal(errno.ENODEV, "RTM_DELLINK cali1 -> ENODEV"):
        host.request([link.delete_link("cali1")])
    host.request([link.delete_link("cali1").forgiving(errno.ENODEV)])


def test_a_group_goes_at_once_and_nothing_else(host: netlink.Socket) -> None:
    pairs = [add_pair(host, End(f"a{n}"), End(f"b{n}")) for n in range(5)]
    doomed = pairs[:3]
    host.request([link.set_link(end.index, Change(group=GROUP)) for end in doomed])
    host.request([link.delete_group(GROUP)])
    left = {one.name for one in link.list_links(host)}
    assert left == {"lo", "a3", "b3", "a4", "b4"}
    with refusal(errno.ENODEV, f"RTM_DELLINK group {GROUP} -> ENODEV"):
        host.request([link.delete_group(GROUP)])


def test_a_link_is_deleted_by_its_index(host: netlink.Socket) -> None:
    host.request([link.new_ifb(End("ifb7"))])
    host.request([link.delete_link(must_find(host, "ifb7").index)])
    assert link.find(host, "ifb7") is None
    assert link.find(host, 4711) is None
