"""Looking after what is attached: check, collect, status, on the real kernel."""

import ipaddress
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from ringbolt.linux import sysctl
from ringbolt.network.attachment import (
    Bandwidth,
    ContainerId,
    InterfaceName,
    Key,
    PortMapping,
    Repaired,
)
from ringbolt.network.collection import GRACE_S
from ringbolt.network.errors import (
    DegradedError,
    DriftError,
    ExhaustedError,
    UnknownContainerError,
)
from ringbolt.network.foreign_drop import find_legacy
from ringbolt.network.leases import Acquired, Leases, Request
from ringbolt.network.names import ifb_name, is_ifb_name
from ringbolt.network.network import Network
from ringbolt.network.settings import Mode, Range, Settings
from tests.kernel.network_lab import (
    SETTINGS,
    Pod,
    attach,
    detach,
    dial,
    host,
    ip,
    links,
    network,
    pods,
    run,
    serving,
)

MASQUERADED = replace(SETTINGS, masquerade=True)
ROUTED = replace(SETTINGS, mode=Mode.ROUTED)
CHOSEN = "02:00:00:00:00:05"
LIMITS = Bandwidth(8_000_000, 800_000, 8_000_000, 800_000)


def _age(room: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    now = room.leases.now() + GRACE_S + 1
    monkeypatch.setattr(Leases, "now", lambda _self: now)


def _until(holds: Callable[[], bool]) -> None:
    end = monotonic() + 10
    while not holds() and monotonic() < end:
        sleep(0.01)  # the kernel cleans namespaces up behind our back
    assert holds()


@pytest.mark.parametrize("settings", [SETTINGS, MASQUERADED, ROUTED])
def test_what_was_just_attached_passes_the_check(tmp_path: Path, settings: Settings) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        wanted = attach(a, settings)
        room.check(wanted, room.add(wanted))


BREAKS: list[tuple[str, Callable[[Pod, str], object]]] = [
    ("eth0 is down", lambda a, _h: a.run("ip", "link", "set", "eth0", "down")),
    ("eth0 is gone", lambda a, _h: a.run("ip", "link", "delete", "eth0")),
    ("lacks the address 10.88", lambda a, _h: a.run("ip", "addr", "flush", "dev", "eth0")),
    ("route to ::/0", lambda a, _h: a.run("ip", "-6", "route", "delete", "default")),
    ("not in the bridge rb0", lambda _a, h: run("ip", "link", "set", h, "nomaster")),
    (
        "neighbour 10.88.0.2",
        lambda _a, _h: run("ip", "neigh", "flush", "dev", "rb0", "nud", "permanent"),
    ),
    ("table inet ringbolt was removed", lambda _a, _h: run("nft", "flush", "ruleset")),
]


@pytest.mark.parametrize(("words", "damage"), BREAKS, ids=[words for words, _ in BREAKS])
def test_the_check_says_what_is_missing_and_attaching_again_mends_it(
    tmp_path: Path, words: str, damage: Callable[[Pod, str], object]
) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        wanted = attach(a, MASQUERADED)
        result = room.add(wanted)
        damage(a, host(result))
        with pytest.raises(DriftError, match=words):
            room.check(wanted, result)
        room.check(wanted, room.add(wanted))


def test_an_unknown_pod_is_told_apart(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        result = room.add(attach(a))
        room.delete(detach(a))
        with pytest.raises(UnknownContainerError):
            room.check(attach(a), result)


def test_collecting_unasked_takes_only_pods_whose_namespace_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with network(tmp_path) as room, pods("a", "b") as (a, b):
        result = room.add(attach(a, bandwidth=LIMITS, port_mappings=(PortMapping(8080, 80),)))
        room.add(attach(b))
        a.go()
        _until(lambda: host(result) not in links())
        assert room.collect(SETTINGS, None).attachments == (), "it may just be being attached"
        _age(room, monkeypatch)
        gone = room.collect(SETTINGS, None)
        assert [one.key.container_id for one in gone.attachments] == ["a"]
        assert "namespace" in gone.reasons[0]
        assert [lease.key.container_id for lease in room.leases.all()] == ["b"]
        assert not [name for name in links() if name.startswith("rbi")]
        assert "8080" not in run("nft", "list", "table", "inet", "ringbolt")


def test_collecting_takes_all_that_the_runtime_does_not_know(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a", "b") as (a, b):
        kept = room.add(attach(a))
        room.add(attach(b))
        valid = frozenset([Key(ContainerId("a"), InterfaceName("eth0"))])
        assert len(room.collect(SETTINGS, valid).attachments) == 1
        assert set(links()) == {"lo", "rb0", host(kept)}
        assert len(room.collect(SETTINGS, frozenset()).attachments) == 1
        assert set(links()) == {"lo", "rb0"}


def test_collecting_passes_over_what_a_call_has_in_hand(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        room.add(attach(a))
        with room._ground.turns.of(attach(a).key):  # as a call does from its first look on
            assert room.collect(SETTINGS, frozenset()).attachments == ()
        (gone,) = room.collect(SETTINGS, frozenset()).attachments
        assert gone.key == attach(a).key


def test_collecting_finds_links_whose_leases_were_lost(tmp_path: Path) -> None:
    with network(tmp_path / "one") as room, pods("a") as (a,):
        room.add(attach(a))
        with Network(tmp_path / "other", coalesce=False) as other:
            assert other.collect(SETTINGS, None).links == ()
            assert len(other.collect(SETTINGS, frozenset()).links) == 1
        assert set(links()) == {"lo", "rb0"}


def test_a_full_range_takes_back_what_the_dead_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges = ((Range(ipaddress.ip_network("10.88.0.0/30")),),)
    settings = replace(SETTINGS, ranges=ranges)
    with network(tmp_path) as room, pods("a", "b") as (a, b):
        room.status(settings)
        result = room.add(attach(a, settings))
        with pytest.raises(ExhaustedError, match="no IP addresses available in range set"):
            room.status(settings)
        with pytest.raises(ExhaustedError, match="for range 0: no IP addresses available"):
            room.add(attach(b, settings))
        a.go()
        _until(lambda: host(result) not in links())
        _age(room, monkeypatch)
        room.status(settings)
        assert str(room.add(attach(b, settings)).addresses[0].address) == "10.88.0.2/30"


def test_no_status_misses_the_table_while_the_first_pod_is_attached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire = Leases.acquire

    def acquire_and_ask(leases: Leases, request: Request) -> Acquired:
        got = acquire(leases, request)
        room.status(MASQUERADED)
        return got

    monkeypatch.setattr(Leases, "acquire", acquire_and_ask)
    with network(tmp_path) as room, pods("a") as (a,):
        room.add(attach(a, MASQUERADED))


def test_the_status_tells_of_a_lost_table_and_of_a_foreign_drop(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        room.add(attach(a, MASQUERADED))
        room.status(MASQUERADED)
        run("nft", "flush", "ruleset")
        with pytest.raises(DegradedError, match="was removed"):
            room.status(MASQUERADED)
        room.add(attach(a, MASQUERADED))
        run(
            "nft",
            "add table ip filter; add chain ip filter FORWARD"
            " { type filter hook forward priority 0; policy drop; }",
        )
        with pytest.raises(DegradedError, match="ip filter FORWARD drops what the node forwards"):
            room.status(MASQUERADED)
        with pytest.raises(DegradedError, match="FORWARD drops"):
            room.status(SETTINGS)
        room.status(replace(SETTINGS, gateway=False))
        assert "ip filter FORWARD drops" in room.repair(MASQUERADED).failed[0].words
        (opened,) = room.repair(replace(MASQUERADED, open_forward=True)).mended
        assert "ip filter FORWARD dropped" in opened.words
        assert room.repair(replace(MASQUERADED, open_forward=True)) == Repaired()
        room.status(MASQUERADED)
        assert run("nft", "list", "chain", "ip", "filter", "FORWARD").count("accept") == 2


MENDED: list[tuple[str, Callable[[Pod, str], object]]] = [
    *BREAKS,
    ("MTU of 9000, not 1500", lambda a, _h: a.run("ip", "link", "set", "eth0", "mtu", "9000")),
    ("bridge rb0 is gone or down", lambda _a, _h: run("ip", "link", "delete", "rb0")),
    ("bridge rb0 is gone or down", lambda _a, _h: run("ip", "link", "set", "rb0", "down")),
    ("rb0 lacks the address 10.88.0.1/24", lambda _a, _h: run("ip", "addr", "flush", "dev", "rb0")),
    ("node's end, is gone", lambda _a, h: run("ip", "link", "delete", h)),
    ("is down", lambda _a, h: run("ip", "link", "set", h, "down")),
    ("not hairpin", lambda _a, h: run("bridge", "link", "set", "dev", h, "hairpin", "off")),
    ("not isolated", lambda _a, h: run("bridge", "link", "set", "dev", h, "isolated", "off")),
    ("receives is not limited", lambda _a, h: run("tc", "qdisc", "delete", "dev", h, "root")),
    ("sends is not limited", lambda _a, h: run("tc", "qdisc", "delete", "dev", h, "ingress")),
    ("sends is not limited", lambda _a, h: run("ip", "link", "delete", ifb_name(h))),
    ("ip_forward is 0", lambda _a, _h: sysctl.write("net/ipv4/ip_forward", "0")),
    (
        "127.0.0.1 leads to no host port",
        lambda _a, _h: sysctl.write("net/ipv4/conf/rb0/route_localnet", "0"),
    ),
    ("route to 10.88.0.0/24", lambda a, _h: a.run("ip", "route", "flush", "table", "main")),
    ("set pods4", lambda _a, _h: run("nft", "flush set inet ringbolt pods4")),
    ("8088/tcp to 10.88.0.2:80", lambda _a, _h: run("nft", "flush map inet ringbolt ports4")),
    (
        "host port 9999/tcp to 10.88.0.9:80 was no pod's",
        lambda _a, _h: run(
            "nft", "add element inet ringbolt ports4 { tcp . 9999 : 10.88.0.9 . 80 }"
        ),
    ),
    ("chain postrouting", lambda _a, _h: run("nft", "flush chain inet ringbolt postrouting")),
]


@pytest.mark.parametrize(("words", "damage"), MENDED, ids=[words for words, _ in MENDED])
def test_repair_mends_what_somebody_broke_and_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    damage: Callable[[Pod, str], object],
) -> None:
    settings = replace(MASQUERADED, isolated=True)
    with network(tmp_path) as room, pods("a") as (a,):
        wanted = attach(
            a, settings, netns_path=a.path, bandwidth=LIMITS, port_mappings=(PortMapping(8088, 80),)
        )
        result = room.add(wanted)
        before = _state(a, host(result))
        assert room.repair(settings) == Repaired()
        _age(room, monkeypatch)
        damage(a, host(result))
        assert _state(a, host(result)) != before
        assert room.collect(settings, None).attachments == ()
        repaired = room.repair(settings)
        assert repaired.failed == ()
        assert words in " ".join(one.words for one in repaired.mended)
        assert _state(a, host(result)) == before
        assert room.repair(settings) == Repaired()
        room.check(wanted, result)


@pytest.mark.parametrize("settings", [SETTINGS, ROUTED])
@pytest.mark.parametrize("is_seen", [True, False], ids=["seen", "unseen"])
def test_a_mac_and_a_smaller_mtu_of_others_choice_stay_and_the_node_follows(
    tmp_path: Path, settings: Settings, *, is_seen: bool
) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        wanted = attach(a, settings, netns_path=a.path if is_seen else "/run/netns/elsewhere")
        result = room.add(wanted)
        a.run("ip", "link", "set", "eth0", "address", CHOSEN, "mtu", "1400")
        told = replace(result.interfaces[-1], mac=CHOSEN)
        chained = replace(result, interfaces=(*result.interfaces[:-1], told))
        if is_seen:
            mended = [one.words for one in room.repair(settings).mended]
            assert f"the permanent neighbour 10.88.0.2 at {CHOSEN} is gone" in mended
        else:
            with pytest.raises(DriftError, match=f"hardware address {CHOSEN}"):
                room.check(wanted, result)
            room.check(wanted, chained)
        with serving(a, 80):
            assert dial(None, "10.88.0.2", 80)
        assert room.repair(settings) == Repaired()
        room.check(wanted, chained)
        (inside,) = a.ip("link", "show", "dev", "eth0")
        assert (inside["address"], inside["mtu"]) == (CHOSEN, 1400)


def _state(pod: Pod, host_name: str) -> list[str]:
    """All that a pod has, without the numbers that the kernel gives and counts."""
    told: list[object] = []
    for what in ("addr", "-4 route", "-6 route", "neigh"):
        found = pod.ip(*what.split(), "show", "dev", "eth0") if "eth0" in _names(pod) else []
        told += [_known(one) for one in found if one.get("dst") != "fe80::/64"]
    for words in (("-d", "link", "show"), ("addr", "show"), ("neigh", "show", "nud", "permanent")):
        told += [_known(one) for one in ip(*words)]
    for name in (host_name, ifb_name(host_name)):
        if name in links():
            shown = json.loads(run("tc", "-j", "qdisc", "show", "dev", name))
            told += [_known(one) for one in shown]
    told.append(sorted(run("nft", "-s", "list", "ruleset").splitlines()))
    told.append(sysctl.read("net/ipv4/ip_forward"))
    if "rb0" in links():
        told.append(sysctl.read("net/ipv4/conf/rb0/route_localnet"))
    return sorted(map(str, told))


def _names(pod: Pod) -> list[str]:
    return [one["ifname"] for one in pod.ip("link")]


_KNOWN = ("ifname", "mtu", "master", "address", "dst", "gateway", "lladdr", "local", "kind", "dev")


def _known(wire: dict[str, Any]) -> dict[str, Any]:
    """What stays the same when a link is made again."""
    found = {key: wire[key] for key in _KNOWN if key in wire}
    found["up"] = "UP" in wire.get("flags", ())
    if is_ifb_name(wire.get("ifname", "")):
        del found["address"]
    port = wire.get("linkinfo", {}).get("info_slave_data", {})
    found |= {key: port[key] for key in ("hairpin", "isolated") if key in port}
    ours = (one["local"] for one in wire.get("addr_info", ()) if one["scope"] == "global")
    found["addresses"] = sorted(ours)
    return found


def test_pods_follow_the_mtu_of_the_uplink(tmp_path: Path) -> None:
    run("ip", "link", "add", "uplink", "type", "bridge")
    run("ip", "link", "set", "uplink", "up", "mtu", "1450")
    run("ip", "address", "add", "192.0.2.1/24", "dev", "uplink")
    run("ip", "route", "add", "default", "via", "192.0.2.2", "dev", "uplink")
    with network(tmp_path) as room, pods("a") as (a,):
        wanted = attach(a, netns_path=a.path)
        assert room.add(wanted).interfaces[2].mtu == 1450
        run("ip", "link", "set", "uplink", "mtu", "1400")
        mended = room.repair(SETTINGS).mended
        assert "MTU of 1450, not 1400" in " ".join(one.words for one in mended)
        (inside,) = a.ip("link", "show", "eth0")
        assert inside["mtu"] == 1400
        room.delete(detach(a))
    run("ip", "link", "delete", "uplink")


def test_a_filter_of_legacy_iptables_is_named(tmp_path: Path) -> None:
    tables = tmp_path / "ip_tables_names"
    assert find_legacy(tables) == ""
    tables.write_text("nat\nfilter\n")
    assert "legacy iptables" in find_legacy(tables)


def test_pods_of_host_local_are_taken_over(tmp_path: Path) -> None:
    store = tmp_path / "pods"
    store.mkdir()
    (store / "10.88.0.2").write_bytes(b"old\r\neth0")
    (store / "10.88.0.3").write_bytes(b"")
    with network(tmp_path / "run") as room, pods("old", "new") as (old, new):
        assert room.import_host_local(SETTINGS, store) == 1
        assert room.import_host_local(SETTINGS, store) == 0
        assert str(room.add(attach(new)).addresses[0].address.ip) == "10.88.0.3"
        assert room.collect(SETTINGS, None).attachments == ()
        old.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")
        room.delete(detach(old))
        assert [one["ifname"] for one in old.ip("link")] == ["lo"]
        assert [str(one.addresses[0]) for one in room.attachments()] == ["10.88.0.3"]


def test_a_promiscuous_bridge_is_one(tmp_path: Path) -> None:
    with network(tmp_path) as room, pods("a") as (a,):
        room.add(attach(a, replace(SETTINGS, promiscuous=True)))
        assert "PROMISC" in links()["rb0"]["flags"]
