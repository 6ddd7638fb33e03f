"""The launcher as a runtime execs it, a real agent, real pods; and the reference beside them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cni.versions import SUPPORTED
from tests.kernel.network_lab import Pod, dial, pods, serving
from tests.runtime.cni_lab import Node, Wire, addresses, agent, new_node, reference, shape, until

pytestmark = pytest.mark.root
GATEWAY = "10.88.0.1"
CONF: Wire = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "type": "ringbolt",
    "bridge": "rbe2e0",
    "isGateway": True,
    "ipMasq": True,
    "ipam": {
        "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    },
}
WISHES: Wire = {
    "portMappings": [{"hostPort": 8088, "containerPort": 80, "protocol": "tcp"}],
    "bandwidth": {
        "ingressRate": 80_000_000,
        "ingressBurst": 8_000_000,
        "egressRate": 80_000_000,
        "egressBurst": 8_000_000,
    },
}


@pytest.fixture
def two() -> Iterator[list[Pod]]:
    with pods("c1", "c2") as made:
        yield made


def found(pod: Pod, *words: str) -> list[dict[str, Any]]:
    return [one for one in pod.ip(*words) if one.get("ifname") != "lo"]


def test_pods_get_what_the_result_says_and_reach_node_and_each_other(
    node: Node, two: list[Pod]
) -> None:
    results = [node.must("ADD", pod, CONF) for pod in two]
    for pod, result in zip(two, results, strict=True):
        (link,) = found(pod, "address", "show")
        has = [one["local"] for one in link["addr_info"] if one["scope"] == "global"]
        assert sorted(has) == sorted(addresses(result))
        assert link["address"] == result["interfaces"][2]["mac"]
        assert result["interfaces"][2]["sandbox"] == pod.path
        gateways = [one["gateway"] for one in pod.ip("route", "show", "default")]
        assert gateways == [GATEWAY]
    first = addresses(results[0])
    with serving(node.space, 7001), serving(two[1], 7002):
        assert dial(two[0], GATEWAY, 7001) == first[0]
        assert dial(two[0], "fd00:88::1", 7001) == first[1]
        for target, source in zip(addresses(results[1]), first, strict=True):
            assert dial(two[0], target, 7002) == source


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_version_is_answered_in_its_own_shape(
    node: Node, two: list[Pod], version: str
) -> None:
    wire = node.must("ADD", two[0], {**CONF, "cniVersion": version})
    assert wire["cniVersion"] == version
    if version < "0.3.0":
        assert wire["ip4"]["ip"] == "10.88.0.2/24"
        return
    kinds = [one.get("version") for one in wire["ips"]]
    assert kinds == ([None, None] if version >= "1.0.0" else ["4", "6"])
    assert [one["interface"] for one in wire["ips"]] == [2, 2]


def test_what_is_done_twice_is_done_once_and_del_leaves_nothing(node: Node, two: list[Pod]) -> None:
    conf = {**CONF, "runtimeConfig": WISHES}
    first = node.must("ADD", two[0], conf)
    assert node.must("ADD", two[0], conf) == first
    assert node.leases() == ["c1"]
    assert node.elements()
    node.must("CHECK", two[0], {**conf, "prevResult": first})
    for _ in range(2):
        assert node.must("DEL", two[0], {**conf, "prevResult": first}) is None
        assert (node.leases(), node.elements()) == ([], [])
        left = [one["ifname"] for one in found(two[0], "link", "show")]
        assert [name for name in left if not name.startswith("gone")] == []
    until(lambda: not node.links())  # the node's own ends go many at once
    assert node.call("CHECK", two[0], {**conf, "prevResult": first}).code == 1


def test_a_host_port_leads_to_the_pod(node: Node, two: list[Pod]) -> None:
    wire = node.must("ADD", two[0], {**CONF, "runtimeConfig": WISHES})
    with serving(two[0], 80):
        assert dial(node.space, "127.0.0.1", 8088) == GATEWAY
        node.must("ADD", two[1], CONF)
        assert dial(two[1], GATEWAY, 8088)
    node.must("DEL", two[0], {**CONF, "runtimeConfig": WISHES, "prevResult": wire})
    with serving(two[0], 80), pytest.raises(AssertionError, match="refused"):
        dial(node.space, "127.0.0.1", 8088)


def test_version_status_and_gc(node: Node, two: list[Pod]) -> None:
    conf = {**CONF, "cniVersion": "1.1.0"}
    assert node.must("VERSION", two[0], {"cniVersion": "1.1.0"})["supportedVersions"] == list(
        SUPPORTED
    )
    assert node.must("STATUS", two[0], conf) is None
    for pod in two:
        node.must("ADD", pod, conf)
    assert node.must("GC", two[0], conf) is None
    assert sorted(node.leases()) == ["c1", "c2"]
    valid = [{"containerID": "c2", "ifname": "eth0"}]
    assert node.must("GC", two[0], {**conf, "cni.dev/valid-attachments": valid}) is None
    assert node.leases() == ["c2"]
    until(lambda: len(node.links()) == 1)


def test_without_an_agent_a_del_is_kept_and_made_later(away: Node, two: list[Pod]) -> None:
    conf = {**CONF, "cniVersion": "1.1.0"}
    with agent(away):
        for pod in two:
            away.must("ADD", pod, conf)
    told = away.call("ADD", two[0], conf)
    assert (told.code, told.wire["code"]) == (1, 11)
    told = away.call("STATUS", two[0], conf)
    assert (told.code, told.wire["code"]) == (1, 50)
    away.must("DEL", two[0], conf)
    assert away.leases() == ["c1", "c2"]
    assert len(list(away.spool.glob("*.frame"))) == 1
    with agent(away):
        until(lambda: not list(away.spool.iterdir()))
        until(lambda: len(away.links()) == 1)
        assert away.leases() == ["c2"]


# --- Beside the reference plugins: bridge, host-local, portmap -----------------------------------


@pytest.fixture
def beside(tmp_path: Path, program: Path) -> Iterator[tuple[Node, Wire]]:
    """A second node, for the reference, and the configuration in its words."""
    reference("bridge")
    ipam = {**CONF["ipam"], "type": "host-local", "dataDir": str(tmp_path / "host-local")}
    with new_node(tmp_path / "reference", program) as made:
        yield made, {**CONF, "type": "bridge", "ipMasq": False, "ipam": ipam}


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
def test_results_have_the_references_shape(
    node: Node, beside: tuple[Node, Wire], two: list[Pod], version: str
) -> None:
    other, theirs = beside
    ours = shape(node.must("ADD", two[0], {**CONF, "ipMasq": False, "cniVersion": version}))
    program = reference("bridge")
    wire = other.must("ADD", two[1], {**theirs, "cniVersion": version}, program)
    wanted = shape(wire)
    for one in wanted["interfaces"]:
        if one.get("sandbox"):
            one["sandbox"] = two[0].path
    assert ours == wanted


def test_refusals_and_repetitions_end_as_the_references_do(
    node: Node, beside: tuple[Node, Wire], two: list[Pod]
) -> None:
    other, theirs = beside
    program = reference("bridge")
    with pods("c3", "c4") as (taken, their_taken):
        for pod in (taken, their_taken):
            pod.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")
        told = node.call("ADD", taken, CONF), other.call("ADD", their_taken, theirs, program)
        assert [one.code for one in told] == [1, 1]
    for _ in range(2):
        told = node.call("DEL", two[0], CONF), other.call("DEL", two[1], theirs, program)
        assert [(one.code, one.wire) for one in told] == [(0, None), (0, None)]


def test_a_chain_with_a_host_port_ends_as_our_one_plugin_does(
    node: Node,
    beside: tuple[Node, Wire],
    two: list[Pod],
    need_program: Callable[[str, str], str],
) -> None:
    need_program("iptables", "iptables")
    other, theirs = beside
    ours = node.must("ADD", two[0], {**CONF, "runtimeConfig": WISHES})
    wire = other.must("ADD", two[1], theirs, reference("bridge"))
    mapped = {**theirs, "type": "portmap", "prevResult": wire, "runtimeConfig": WISHES}
    wire = other.must("ADD", two[1], mapped, reference("portmap"))
    for key in ("ips", "routes"):
        assert shape(ours)[key] == shape(wire)[key]
    for at, pod in ((node, two[0]), (other, two[1])):
        with serving(pod, 80):
            assert dial(at.space, "127.0.0.1", 8088) == GATEWAY
    other.must("DEL", two[1], {**mapped, "prevResult": wire}, reference("portmap"))
    other.must("DEL", two[1], theirs, reference("bridge"))
