"""What the kernel drops of its notices is no sign of harm, and attaching a pod wakes nobody."""

import ipaddress
import random
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ringbolt.linux import link
from ringbolt.linux.overhearing import Overheard, Overhearer
from ringbolt.network.attachment import Bandwidth, InterfaceName
from ringbolt.network.network import Network
from ringbolt.network.notice_filter import plan_notice_filter
from ringbolt.network.settings import Mode, Route, Settings
from ringbolt.network.signs import GROUPS, KINDS, Landmarks, Signs, read_signs
from tests.kernel.network_lab import (
    FOUR,
    SETTINGS,
    Pod,
    attach,
    detach,
    host,
    links,
    network,
    pods,
    run,
)
from tests.kernel.test_cni_plugin import wait_until

pytestmark = pytest.mark.root

ROUTED = replace(SETTINGS, mode=Mode.ROUTED)
CHOSEN = "02:00:00:00:00:05"
PODS_MAC = "0a:58:0a:58:00:63"


class Ears:
    """Hears all, and what a filter leaves."""

    def __init__(self, marks: Landmarks, all_of_it: Overhearer, left: Overhearer) -> None:
        self.marks = marks
        self._all = all_of_it
        self._left = left

    def read(self) -> tuple[Signs, Signs]:
        told, left = (read_signs(one.read(), self.marks) for one in (self._all, self._left))
        return told, left

    def left(self) -> Overheard:
        return self._left.read()


@contextmanager
def _ears(room: Network, settings: Settings) -> Generator[Ears]:
    _await_carrier(SETTINGS.bridge)
    marks = room.landmarks([settings])
    with (
        Overhearer(GROUPS, KINDS) as everything,
        Overhearer(GROUPS, KINDS, plan_notice_filter(marks)) as left,
    ):
        yield Ears(marks, everything, left)


def _await_carrier(bridge: str) -> None:
    """That a bridge has its first port's carrier is told a moment after that was attached."""
    if bridge not in links():
        return
    wait_until(lambda: bool(links()[bridge]["operstate"] == "UP"))
    run("ip", "link", "set", "lo", "up")  # waits for RTNL, which is held while it is told


@contextmanager
def _uplink() -> Generator[None]:
    """Of a hardware address as pods have it: the node may be a machine in a pod itself."""
    run("ip", "link", "add", "uplink", "address", PODS_MAC, "mtu", "1450", "type", "bridge")
    run("ip", "link", "set", "uplink", "up")
    run("ip", "address", "add", "192.0.2.1/24", "dev", "uplink")
    run("ip", "route", "add", "default", "via", "192.0.2.2", "dev", "uplink")
    try:
        yield
    finally:
        if "uplink" in run("ip", "link"):
            run("ip", "link", "delete", "uplink")


def _places(signs: Signs) -> Signs:
    """Where it leads: a look at the node is one at all, whatever else is told.

    A pod's multicast neighbours, which are nobody's harm, go with its carrier.
    """
    return Signs(node=True) if signs.node else signs


Damage = Callable[[Pod, str], object]


def _inside(*words: str) -> Damage:
    return lambda pod, _host: [pod.run("ip", *each.split()) for each in words]


def _outside(*words: str) -> Damage:
    return lambda _pod, name: [run("ip", *each.replace("HOST", name).split()) for each in words]


BOTH: dict[str, Damage] = {
    "pod down": _inside("link set eth0 down"),
    "pod deleted": _inside("link delete eth0"),
    "pod changed while down": _inside("link set eth0 down", "link set eth0 mtu 1300"),
    "pod renamed": _inside("link set eth0 down", "link set eth0 name eth9"),
    "pod's mac": _inside(f"link set eth0 address {CHOSEN}"),
    "pod's mac while down": _inside(
        "link set eth0 down", f"link set eth0 address {CHOSEN}", "link set eth0 up"
    ),
    "pod's mac as a node end's": _inside("link set eth0 address 0e:58:00:00:00:01"),
    "pod's address": _inside("address delete 10.88.0.2 dev eth0"),
    "pod's route": _inside("route delete default"),
    "pod's route 6": _inside("-6 route delete default"),
    "pod's routes": _inside("route flush table main"),
    "pod's routes 6": _inside("-6 route flush table main"),
    "pod's route of its own": _inside(
        "route add 254.128.0.0/16 dev eth0", "route delete 254.128.0.0/16"
    ),
    "pod's neighbour": _inside("neigh delete 10.88.0.1 dev eth0"),
    "pod's neighbour 6": _inside("neigh delete fd00:88::1 dev eth0"),
    "pod's addresses": _inside("address flush dev eth0"),
    "node end down": _outside("link set HOST down"),
    "node end deleted": _outside("link delete HOST"),
    "node end renamed": _outside("link set HOST down", "link set HOST name other"),
    "node end's mac": _outside(f"link set HOST address {CHOSEN}", "link set HOST down"),
    "uplink's mtu": _outside("link set uplink mtu 1400"),
    "uplink's mtu while down": _outside(
        "link set uplink down", "link set uplink mtu 1400", "link set uplink up"
    ),
    "uplink deleted": _outside("link delete uplink"),
    "uplink's route": _outside("route delete default"),
}
BRIDGED: dict[str, Damage] = BOTH | {
    "bridge deleted": _outside("link delete rb0"),
    "bridge down": _outside("link set rb0 down"),
    "bridge's address": _outside("address delete 10.88.0.1/24 dev rb0"),
    "bridge's address 6": _outside("address delete fd00:88::1/64 dev rb0"),
    "node's neighbour": _outside("neigh delete 10.88.0.2 dev rb0"),
    "node's neighbour 6": _outside("neigh delete fd00:88::2 dev rb0"),
}
TO_EACH: dict[str, Damage] = BOTH | {
    "node's route": _outside("route delete 10.88.0.2/32"),
    "node's route 6": _outside("-6 route delete fd00:88::2/128"),
    "node's address": _outside("address delete 10.88.0.1/32 dev HOST"),
    "node's neighbour": _outside("neigh delete 10.88.0.2 dev HOST"),
    "node's neighbour 6": _outside("neigh delete fd00:88::2 dev HOST"),
}
CASES = [
    *((SETTINGS, name, damage) for name, damage in BRIDGED.items()),
    *((ROUTED, name, damage) for name, damage in TO_EACH.items()),
]
IDS = [f"{settings.mode.value}, {name}" for settings, name, _ in CASES]


@pytest.mark.parametrize(("settings", "name", "damage"), CASES, ids=IDS)
def test_no_harm_is_dropped(tmp_path: Path, settings: Settings, name: str, damage: Damage) -> None:
    with network(tmp_path) as room, pods("a") as (a,), _uplink():
        end = host(room.add(attach(a, settings)))
        with _ears(room, settings) as ears:
            damage(a, end)
            told, left = ears.read()
            assert told, f"{name} leads nowhere"
            assert _places(told) == _places(left)


@pytest.mark.parametrize("mac", [CHOSEN, "0e:58:00:00:00:01"], ids=["any", "a node end's"])
def test_a_pods_other_mac_is_told_where_no_neighbour_goes_with_it(tmp_path: Path, mac: str) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        room.add(attach(a, SETTINGS))
        a.run("ip", "neigh", "flush", "nud", "permanent", "dev", "eth0")
        with _ears(room, SETTINGS) as ears:
            a.run("ip", "link", "set", "eth0", "address", mac)
            told, left = ears.read()
            assert told.netnsids
            assert told == left


@pytest.mark.parametrize("settings", [SETTINGS, ROUTED], ids=["bridge", "routed"])
@pytest.mark.parametrize("seed", range(8))
def test_no_harm_of_several_is_dropped(tmp_path: Path, settings: Settings, seed: int) -> None:
    """What is changed of a link that is down may be dropped: that it is down was told."""
    known = BRIDGED if settings is SETTINGS else TO_EACH
    dice = random.Random(seed)
    with network(tmp_path) as room, pods("a", "b") as made, _uplink():
        ends = [host(room.add(attach(one, settings))) for one in made]
        told, left = Signs(), Signs()
        with _ears(room, settings) as ears:
            for name in dice.sample(sorted(known), 6):
                which = dice.randrange(2)
                with suppress(AssertionError):  # it was broken before
                    known[name](made[which], ends[which])
                if dice.random() < 0.5:
                    heard = ears.read()
                    told, left = told | heard[0], left | heard[1]
            heard = ears.read()
        told, left = told | heard[0], left | heard[1]
        assert told
        assert _places(told | left) == _places(left)


@pytest.mark.parametrize("settings", [SETTINGS, ROUTED], ids=["bridge", "routed"])
def test_attaching_a_pod_wakes_nobody(tmp_path: Path, settings: Settings) -> None:
    with network(tmp_path) as room, pods("a", "b") as (a, b), _uplink():
        room.add(attach(a, settings))
        with _ears(room, settings) as ears:
            room.add(attach(b, settings))
            second = replace(settings, default_route=False)
            if settings is SETTINGS:
                room.add(attach(b, second, ifname=InterfaceName("eth1")))
            assert ears.left() == Overheard((), overflow=False)


def test_detaching_a_pod_is_told_in_few_words(tmp_path: Path) -> None:
    settings = replace(SETTINGS, ranges=(FOUR,))
    with network(tmp_path) as room, pods("a", "b") as (a, b):
        for one in (a, b):
            room.add(attach(one, settings))
        with _ears(room, settings) as ears:
            room.delete(detach(b, settings))
            heard = [(where != link.NO_NETNSID, one.kind) for where, one in ears.left().messages]
            assert len(heard) == len(set(heard)) == 8


@pytest.mark.parametrize("settings", [SETTINGS, ROUTED], ids=["bridge", "routed"])
def test_a_pod_that_is_detached_leads_nowhere(tmp_path: Path, settings: Settings) -> None:
    with network(tmp_path) as room, pods("a", "b") as (a, b):
        for one in (a, b):
            room.add(attach(one, settings, bandwidth=Bandwidth(8_000_000, 0, 8_000_000, 0)))
        with _ears(room, settings) as ears:
            room.delete(detach(b))
            assert ears.read() == (Signs(), Signs())


@pytest.mark.parametrize("settings", [SETTINGS, ROUTED], ids=["bridge", "routed"])
def test_harm_to_one_is_told_while_another_is_detached(tmp_path: Path, settings: Settings) -> None:
    with network(tmp_path) as room, pods("a", "b") as (a, b):
        ends = [host(room.add(attach(one, settings))) for one in (a, b)]
        at = ends[0] if settings is ROUTED else "rb0"
        with _ears(room, settings) as ears:
            a.run("ip", "route", "delete", "default")
            room.delete(detach(b))
            run("ip", "neigh", "delete", "10.88.0.2", "dev", at)
            told, left = ears.read()
            assert told == left
            assert len(left.netnsids) == 1
            assert left.addresses == frozenset([ipaddress.ip_address("10.88.0.2")])


def test_harm_to_a_pods_other_interface_is_told_while_one_is_detached(tmp_path: Path) -> None:
    other = InterfaceName("eth1")
    second = replace(SETTINGS, default_route=False)
    with network(tmp_path) as room, pods("a") as (a,):
        room.add(attach(a, SETTINGS))
        room.add(attach(a, second, ifname=other))
        with _ears(room, SETTINGS) as ears:
            a.run("ip", "address", "delete", "10.88.0.2", "dev", "eth0")
            room.delete(replace(detach(a, second), ifname=other))
            assert len(ears.read()[1].netnsids) == 1


def test_a_pods_link_that_others_take_leads_to_it(tmp_path: Path) -> None:
    """It goes as one of ours that is detached does, but for the mark on the node's end."""
    with network(tmp_path) as room, pods("a", "b") as (a, b):
        room.add(attach(a, SETTINGS))
        room.add(attach(b, SETTINGS))
        with _ears(room, SETTINGS) as ears:
            room.delete(detach(b))
            a.run("ip", "link", "set", "eth0", "down")
            assert len(ears.read()[1].netnsids) == 1


def test_link_local_losses_are_told_where_something_of_ours_is_link_local(
    tmp_path: Path,
) -> None:
    via = Route(ipaddress.ip_network("fd01::/16"), ipaddress.ip_address("fe80::1"))
    near = replace(SETTINGS, routes=(via,))
    with network(tmp_path) as room, pods("a") as (a,):
        room.add(attach(a, near))
        with _ears(room, near) as told, _ears(room, SETTINGS) as dropped:
            a.run("ip", "-6", "route", "delete", "fe80::/64", "dev", "eth0")
            (told_signs, left) = told.read()
            assert left == told_signs
            assert left.netnsids
            assert dropped.read()[1] == Signs()


def test_a_filter_may_follow_the_uplinks(tmp_path: Path) -> None:
    with network(tmp_path) as room, _uplink():
        before = room.landmarks([SETTINGS])
        run("ip", "link", "set", "uplink", "mtu", "1400")
        now = room.landmarks([SETTINGS])
        with Overhearer(GROUPS, KINDS, plan_notice_filter(before)) as ears:
            ears.drop_by(plan_notice_filter(now))
            run("ip", "link", "set", "uplink", "mtu", "1450")
            assert read_signs(ears.read(), now).node
            run("ip", "link", "set", "uplink", "mtu", "1400")
            assert ears.read() == Overheard((), overflow=False)
