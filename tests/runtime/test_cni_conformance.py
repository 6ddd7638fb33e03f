"""The contract line by line on a real node, beside the reference: keys, families, old versions."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cni.versions import SUPPORTED
from tests.kernel.network_lab import Pod, dial, pods, serving
from tests.runtime.cni_lab import Node, Wire, addresses, agent, new_node, reference

pytestmark = pytest.mark.root
CONF: Wire = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "type": "ringbolt",
    "bridge": "rbconf0",
    "ipam": {
        "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    },
}
PORTS = [{"hostPort": 8088, "containerPort": 80, "protocol": "tcp"}]
LIMITS = {
    "ingressRate": 80_000_000,
    "ingressBurst": 8_000_000,
    "egressRate": 80_000_000,
    "egressBurst": 8_000_000,
}


def inside(pod: Pod) -> dict[str, Any]:
    (found,) = pod.ip("-d", "address", "show", "eth0")
    return found


# --- Keys of the reference, beside the reference -------------------------------------------------


@pytest.fixture
def beside(tmp_path: Path, program: Path) -> Iterator[Node]:
    reference("bridge")
    with new_node(tmp_path / "reference", program) as made:
        yield made


KEYS: list[Wire] = [
    {"isGateway": True},
    {"isGateway": True, "isDefaultGateway": True, "ipam": {"ranges": CONF["ipam"]["ranges"]}},
    {"isGateway": True, "hairpinMode": True},
    {"isGateway": True, "promiscMode": True},
    {"isGateway": False, "ipam": {"ranges": CONF["ipam"]["ranges"]}},
    {"isGateway": True, "mtu": 1400},
    {"isGateway": True, "ipam": {"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.20"}},
]


@pytest.mark.parametrize("keys", KEYS)
def test_keys_do_what_they_do_in_the_reference(
    node: Node, beside: Node, pod: Pod, keys: Wire, tmp_path: Path
) -> None:
    with pods("c1") as (other,):
        ours = node.must("ADD", pod, CONF | keys | {"isDefaultGateway": _default(keys)})
        ipam = (keys.get("ipam") or CONF["ipam"]) | {
            "type": "host-local",
            "dataDir": str(tmp_path / "leases"),
        }
        theirs = beside.must(
            "ADD", other, CONF | keys | {"type": "bridge", "ipam": ipam}, reference("bridge")
        )
        assert addresses(ours) == addresses(theirs)
        assert _seen(node, pod, ours) == _seen(beside, other, theirs)


def _default(keys: Wire) -> bool:
    return bool(keys.get("isDefaultGateway"))


def _seen(node: Node, pod: Pod, result: Wire) -> Wire:
    """What `ip` knows of one attachment, without what differs from one to the next."""
    links = {one["ifname"]: one for one in node.space.ip("-d", "link", "show")}
    bridge, port = links["rbconf0"], links[result["interfaces"][1]["name"]]
    (found,) = node.space.ip("address", "show", "rbconf0")
    return {
        "mtu": [bridge["mtu"], port["mtu"], inside(pod)["mtu"]],
        "promiscuous": bridge["promiscuity"],
        "hairpin": port["linkinfo"]["info_slave_data"]["hairpin"],
        "gateways": sorted(_global(found)),
        "addresses": sorted(_global(inside(pod))),
        "default": [one.get("gateway") for one in pod.ip("route", "show", "default")],
        "default6": [one.get("gateway") for one in pod.ip("-6", "route", "show", "default")],
    }


def _global(link: dict[str, Any]) -> list[str]:
    found = [one for one in link["addr_info"] if one["scope"] == "global"]
    return [f"{one['local']}/{one['prefixlen']}" for one in found]


@pytest.mark.parametrize("version", [one for one in SUPPORTED if one < "1.1.0"])
def test_results_of_every_version_are_the_references(
    node: Node, beside: Node, pod: Pod, version: str, tmp_path: Path
) -> None:
    ipam = CONF["ipam"] | {"type": "host-local", "dataDir": str(tmp_path / "leases")}
    with pods("c1") as (other,):
        ours = node.must("ADD", pod, CONF | {"cniVersion": version})
        conf = CONF | {"type": "bridge", "isGateway": True, "cniVersion": version, "ipam": ipam}
        theirs = beside.must("ADD", other, conf, reference("bridge"))
    for one in (ours, theirs):
        one.pop("interfaces", None)
        if version >= "1.0.0" and not one.get("dns"):
            one.pop("dns", None)  # whether it is written when empty is a matter of age
    assert _with_gateways(ours) == _with_gateways(theirs)


def _with_gateways(wire: Wire) -> Wire:
    """A route without its gateway leads to the one of its family."""
    gateways = {":" in one["address"]: one["gateway"] for one in wire.get("ips", ())}
    families = [wire[key] for key in ("ip4", "ip6") if key in wire]
    for one in families:
        gateways[":" in one["ip"]] = one["gateway"]
    for route in [*wire.get("routes", ()), *(r for one in families for r in one["routes"])]:
        route.setdefault("gw", gateways[":" in route["dst"]])
    return wire


# --- Families, networks, reboots -----------------------------------------------------------------


@pytest.mark.parametrize("version", [one for one in SUPPORTED if one >= "0.4.0"])
@pytest.mark.parametrize("mode", ["bridge", "routed"])
def test_a_check_right_after_an_add_is_well(node: Node, pod: Pod, version: str, mode: str) -> None:
    runtime = {"portMappings": PORTS, "bandwidth": LIMITS}
    conf = CONF | {"cniVersion": version, "mode": mode, "ipMasq": True, "runtimeConfig": runtime}
    result = node.must("ADD", pod, conf)
    assert node.must("CHECK", pod, conf | {"prevResult": result}) is None


def test_a_pod_can_be_in_two_networks_and_leaves_each_by_itself(node: Node, pod: Pod) -> None:
    second = CONF | {
        "name": "storage",
        "bridge": "rbconf1",
        "isDefaultGateway": False,
        "ipam": {"ranges": [[{"subnet": "10.89.0.0/24"}]]},
    }
    first = node.must("ADD", pod, CONF)
    told = node.call("ADD", pod, second, CNI_IFNAME="net1")
    assert told.code == 0, told.wire
    assert addresses(told.wire) == ["10.89.0.2"]
    assert [one["gateway"] for one in pod.ip("route", "show", "default")] == ["10.88.0.1"]
    with serving(node.space, 81):
        assert dial(pod, "10.89.0.1", 81) == "10.89.0.2"
    node.must("CHECK", pod, CONF | {"prevResult": first})
    assert node.call("DEL", pod, second, CNI_IFNAME="net1").code == 0
    node.must("CHECK", pod, CONF | {"prevResult": first})
    assert [one["ifname"] for one in pod.ip("link") if not one["ifname"].startswith("gone")] == [
        "lo",
        "eth0",
    ]


def test_a_network_can_have_ipv6_alone(node: Node, pod: Pod) -> None:
    six = {"ipam": {"ranges": [[{"subnet": "fd00:88::/64"}]]}, "ipMasq": True}
    conf = CONF | six | {"runtimeConfig": {"portMappings": PORTS}}
    result = node.must("ADD", pod, conf)
    assert addresses(result) == ["fd00:88::2"]
    assert [one for one in inside(pod)["addr_info"] if one["family"] == "inet"] == []
    assert node.space.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "0"
    with serving(pod, 80), serving(node.space, 81):
        assert dial(pod, "fd00:88::1", 81) == "fd00:88::2"
        assert dial(node.space, "fd00:88::1", 8088)
    node.must("CHECK", pod, conf | {"prevResult": result})


def test_links_of_ours_have_ipv6_where_the_node_switched_it_off(node: Node, pod: Pod) -> None:
    for name in ("all", "default"):
        node.space.run("sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1")
    four = CONF | {"ipam": {"ranges": CONF["ipam"]["ranges"][:1]}, "ipMasq": True}
    result = node.must("ADD", pod, four | {"runtimeConfig": {"portMappings": PORTS}})
    node.must("CHECK", pod, four | {"prevResult": result})
    for mode in ("bridge", "routed"):
        with pods("c2") as (other,):
            both = CONF | {"name": f"both-{mode}", "bridge": "rbconf1", "mode": mode}
            both |= {
                "ipam": {"ranges": [[{"subnet": "10.89.0.0/24"}], [{"subnet": "fd00:89::/64"}]]}
            }
            result = node.must("ADD", other, both)
            with serving(node.space, 81):
                assert dial(other, "fd00:89::1", 81) == addresses(result)[1]
            node.must("CHECK", other, both | {"prevResult": result})
            node.must("DEL", other, both)
    assert node.leases() == ["c1"]


def test_after_a_reboot_a_del_of_what_was_before_succeeds(away: Node, pod: Pod) -> None:
    with agent(away):
        result = away.must("ADD", pod, CONF)
    shutil.rmtree(away.folder / "run")
    for link in away.links():
        away.space.run("ip", "link", "delete", link)
    with agent(away):
        for _ in range(2):
            told = away.call("DEL", pod, CONF | {"prevResult": result}, CNI_NETNS="")
            assert (told.code, told.wire) == (0, None)
        again = away.must("ADD", pod, CONF)
        assert addresses(again)[0].startswith("10.88.0.")
        away.must("DEL", pod, CONF)
