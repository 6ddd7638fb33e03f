"""The agent looks after pods' networks by itself: what somebody breaks is mended, and logged."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.network_lab import Pod, pods
from tests.runtime.cni_lab import Node, agent, new_node, until
from tests.runtime.test_cni_end_to_end import CONF, WISHES

pytestmark = pytest.mark.root
ASKED = {**CONF, "runtimeConfig": WISHES}
BRIDGE = CONF["bridge"]
HOST_PORT = "tcp . 8088 : 10.88.0.2 . 80"


@pytest.fixture
def node(tmp_path: Path, program: Path) -> Iterator[Node]:
    with new_node(tmp_path / "node", program) as made:
        yield made


@pytest.fixture
def pod() -> Iterator[Pod]:
    with pods("c1") as (made,):
        yield made


def _logged(node: Node, event: str) -> list[dict[str, Any]]:
    lines = (node.folder / "agent.log").read_text().splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{")]
    return [one for one in told if one["event"] == event]


def _host_end(node: Node) -> str:
    return next(name for name in node.links() if not name.startswith("rbi"))


def _is_up(node: Node, name: str) -> bool:
    (found,) = node.space.ip("link", "show", "dev", name)
    return "UP" in found["flags"]


def _default(pod: Pod) -> bool:
    return any(one["dst"] == "default" for one in pod.ip("route"))


DAMAGES: list[tuple[str, Callable[[Node, Pod], object], Callable[[Node, Pod], bool]]] = [
    (
        "route to 0.0.0.0/0",
        lambda _n, p: p.run("ip", "route", "delete", "default"),
        lambda _n, p: _default(p),
    ),
    (
        "lacks the address 10.88.0.2/24",
        lambda _n, p: p.run("ip", "address", "delete", "10.88.0.2/24", "dev", "eth0"),
        lambda _n, p: "10.88.0.2" in p.run("ip", "address"),
    ),
    (
        "is down",
        lambda n, _p: n.space.run("ip", "link", "set", _host_end(n), "down"),
        lambda n, _p: _is_up(n, _host_end(n)),
    ),
    (
        f"the bridge {BRIDGE} is gone or down",
        lambda n, _p: n.space.run("ip", "link", "delete", BRIDGE),
        lambda n, _p: BRIDGE in n.space.run("ip", "link"),
    ),
    (
        "neighbour 10.88.0.2",
        lambda n, _p: n.space.run("ip", "neigh", "delete", "10.88.0.2", "dev", BRIDGE),
        lambda n, _p: "PERMANENT" in n.space.run("ip", "neigh", "show", "10.88.0.2"),
    ),
    (
        "table inet ringbolt was removed",
        lambda n, _p: n.space.run("nft", "flush", "ruleset"),
        lambda n, _p: HOST_PORT in n.space.run("nft", "list", "ruleset"),
    ),
    (
        "host port 8088/tcp to 10.88.0.2:80 was removed",
        lambda n, _p: n.space.run("nft", "flush map inet ringbolt ports4"),
        lambda n, _p: HOST_PORT in n.space.run("nft", "list", "ruleset"),
    ),
]


def test_what_somebody_breaks_is_mended_when_the_kernel_tells_and_said(
    node: Node, pod: Pod
) -> None:
    with agent(node):
        node.must("ADD", pod, ASKED)
        for words, damage, is_whole in DAMAGES:
            damage(node, pod)
            until(lambda whole=is_whole: whole(node, pod))  # type: ignore[misc]
            until(lambda w=words: any(w in one["was"] for one in _logged(node, "network mended")))  # type: ignore[misc]
        told = _logged(node, "network mended")
        route = next(one for one in told if DAMAGES[0][0] in one["was"])
        assert (route["network"], route["container_id"]) == ("pods", "c1")
        assert route["addresses"] == ["10.88.0.2", "fd00:88::2"]
        node.must("DEL", pod, ASKED)


def test_what_broke_while_the_agent_was_away_is_mended_at_its_start(node: Node, pod: Pod) -> None:
    with agent(node):
        node.must("ADD", pod, ASKED)
    pod.run("ip", "route", "delete", "default")
    node.space.run("nft", "flush", "ruleset")
    with agent(node):
        until(lambda: _default(pod))
        until(lambda: HOST_PORT in node.space.run("nft", "list", "ruleset"))
        node.must("DEL", pod, ASKED)


def test_pods_follow_the_uplinks_mtu(node: Node, pod: Pod) -> None:
    space = node.space
    space.run("ip", "link", "add", "uplink", "type", "bridge")
    space.run("ip", "link", "set", "uplink", "up", "mtu", "1450")
    space.run("ip", "address", "add", "192.0.2.1/24", "dev", "uplink")
    space.run("ip", "route", "add", "default", "via", "192.0.2.2", "dev", "uplink")

    def mtus() -> set[int]:
        found = [one for one in space.ip("link") if one["ifname"] not in ("lo", "uplink")]
        ours = [one for one in found if not one["ifname"].startswith("rbi")]
        return {one["mtu"] for one in (*ours, *pod.ip("link", "show", "dev", "eth0"))}

    with agent(node):
        node.must("ADD", pod, ASKED)
        assert mtus() == {1450}
        for mtu in (1400, 1500):
            space.run("ip", "link", "set", "uplink", "mtu", str(mtu))
            until(lambda wanted=mtu: mtus() == {wanted})  # type: ignore[misc]
        node.must("DEL", pod, ASKED)


def test_pods_that_come_and_go_are_no_damage(node: Node) -> None:
    with agent(node), pods(*(f"c{n}" for n in range(6))) as many:
        for each in many:
            node.must("ADD", each, CONF)
        for each in many:
            node.must("DEL", each, CONF)
        until(lambda: node.links() == [])
        assert _logged(node, "network mended") == []
        assert _logged(node, "network not as it should be") == []
