"""Other plugins before us, behind us and below us: chains, and addresses from elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.network_lab import Pod, dial, pods, serving
from tests.runtime.cni_lab import Node, Wire, addresses, reference, until
from tests.runtime.test_cni_conformance import CONF, LIMITS, PORTS, inside

pytestmark = pytest.mark.root


# --- Chains --------------------------------------------------------------------------------------


def run_chain(node: Node, pod: Pod, chain: list[Wire]) -> Wire:
    result: Wire = {}
    for conf in chain:
        more = {"prevResult": result} if result else {}
        result = node.must("ADD", pod, conf | more, _program(conf))
    return result


def _program(conf: Wire) -> Path | None:
    return None if conf["type"] == "ringbolt" else reference(conf["type"])


def check_chain(node: Node, pod: Pod, chain: list[Wire], result: Wire) -> None:
    for conf in chain:
        assert node.must("CHECK", pod, conf | {"prevResult": result}, _program(conf)) is None


def end_chain(node: Node, pod: Pod, chain: list[Wire], result: Wire) -> None:
    for conf in reversed(chain):
        node.must("DEL", pod, conf | {"prevResult": result}, _program(conf))
    assert node.leases() == []
    until(lambda: not node.links())


def test_others_may_come_after_us_in_a_chain(
    node: Node, pod: Pod, need_program: Callable[[str, str], str]
) -> None:
    need_program("iptables", "iptables")
    common = {"cniVersion": "1.0.0", "name": "pods"}
    chain: list[Wire] = [
        CONF,
        {**common, "type": "tuning", "sysctl": {"net.core.somaxconn": "500"}, "mtu": 1400},
        {**common, "type": "portmap", "runtimeConfig": {"portMappings": PORTS}},
        {**common, "type": "bandwidth", "runtimeConfig": {"bandwidth": LIMITS}},
    ]
    result = run_chain(node, pod, chain)
    assert [one["name"] for one in result["interfaces"][:3:2]] == ["rbconf0", "eth0"]
    assert inside(pod)["mtu"] == 1400
    with serving(pod, 80):
        assert dial(node.space, "127.0.0.1", 8088)
    # portmap's own CHECK (1.1.1) looks for chains that its ADD does not make.
    check_chain(node, pod, [one for one in chain if one["type"] != "portmap"], result)
    end_chain(node, pod, chain, result)


def test_a_mac_that_is_changed_after_us_is_followed(node: Node, pod: Pod) -> None:
    tuning = {"cniVersion": "1.0.0", "name": "pods", "type": "tuning", "mac": "02:00:00:00:00:05"}
    chain = [CONF, tuning]
    result = run_chain(node, pod, chain)
    assert inside(pod)["address"] == result["interfaces"][2]["mac"] == "02:00:00:00:00:05"
    until(lambda: "02:00:00:00:00:05" in node.space.run("ip", "neigh", "show", "nud", "permanent"))
    check_chain(node, pod, chain, result)
    assert inside(pod)["address"] == "02:00:00:00:00:05"
    with serving(pod, 80):
        assert dial(node.space, addresses(result)[0], 80)
    end_chain(node, pod, chain, result)


def test_others_may_come_before_us_in_a_chain(node: Node, pod: Pod) -> None:
    loopback = {"cniVersion": "1.0.0", "name": "pods", "type": "loopback"}
    result = node.must("ADD", pod, loopback, reference("loopback"))
    chained = CONF | {"prevResult": result}
    whole = node.must("ADD", pod, chained)
    assert [one["name"] for one in whole["interfaces"]][::3] == ["lo", "eth0"]
    assert [one["interface"] for one in whole["ips"]][-2:] == [3, 3]
    node.must("CHECK", pod, CONF | {"prevResult": whole})
    end_chain(node, pod, [CONF], whole)


# --- Addresses from elsewhere, and addresses asked for -------------------------------------------


def delegated(tmp_path: Path, kind: str, **more: Any) -> Wire:
    reference(kind)
    ipam = {"type": kind, **more}
    if kind == "host-local":
        ipam |= {"dataDir": str(tmp_path / "leases"), "ranges": CONF["ipam"]["ranges"]}
    return {**CONF, "ipMasq": True, "ipam": ipam}


def held(tmp_path: Path) -> list[str]:
    return sorted(
        path.name for path in (tmp_path / "leases/pods").glob("*[.:]*") if path.name[0] != "l"
    )


def test_host_local_gives_and_gets_back(node: Node, pod: Pod, tmp_path: Path) -> None:
    conf = delegated(tmp_path, "host-local")
    result = node.must("ADD", pod, conf)
    assert held(tmp_path) == sorted(addresses(result))
    node.must("CHECK", pod, conf | {"prevResult": result})
    with serving(node.space, 81):
        assert dial(pod, "10.88.0.1", 81) == addresses(result)[0]
    node.must("DEL", pod, conf | {"prevResult": result})
    assert (held(tmp_path), node.leases()) == ([], [])


def test_host_local_gets_back_what_a_failed_add_was_given(
    node: Node, pod: Pod, tmp_path: Path
) -> None:
    pod.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")
    assert node.call("ADD", pod, delegated(tmp_path, "host-local")).code == 1
    assert (held(tmp_path), node.leases()) == ([], [])
    until(lambda: not node.links())


def test_static_addresses_are_taken_as_they_are(node: Node, pod: Pod, tmp_path: Path) -> None:
    given = [{"address": "10.99.0.7/24", "gateway": "10.99.0.1"}]
    routes = [{"dst": "192.0.2.0/24", "gw": "10.99.0.9"}]
    conf = delegated(tmp_path, "static", addresses=given, routes=routes)
    result = node.must("ADD", pod, conf)
    assert addresses(result) == ["10.99.0.7"]
    assert {"192.0.2.0/24", "default"} <= {one["dst"] for one in pod.ip("route")}
    node.must("CHECK", pod, conf | {"prevResult": result})
    node.must("DEL", pod, conf | {"prevResult": result})


def test_an_absent_dhcp_daemon_is_an_error_and_leaves_nothing(
    node: Node, pod: Pod, tmp_path: Path
) -> None:
    told = node.call("ADD", pod, delegated(tmp_path, "dhcp"))
    assert (told.code, node.leases(), node.links()) == (1, [], [])
    assert "dhcp" in told.wire["msg"]


@pytest.mark.parametrize(
    ("more", "arguments"),
    [
        ({"runtimeConfig": {"ips": ["10.88.0.77/24", "fd00:88::77"]}}, ""),
        ({"args": {"cni": {"ips": ["10.88.0.77", "fd00:88::77/64"]}}}, ""),
        ({}, "IgnoreUnknown=1;IP=10.88.0.77,fd00:88::77"),
        (
            {
                "runtimeConfig": {
                    "io.kubernetes.cri.pod-annotations": {
                        "ringbolt.dev/ips": "10.88.0.77,fd00:88::77"
                    }
                }
            },
            "",
        ),
    ],
)
def test_an_address_can_be_asked_for_in_every_way(
    node: Node, pod: Pod, more: Wire, arguments: str
) -> None:
    told = node.call("ADD", pod, CONF | more, CNI_ARGS=arguments)
    assert told.code == 0, told.wire
    assert addresses(told.wire) == ["10.88.0.77", "fd00:88::77"]
    with pods("c2") as (other,):
        refused = node.call("ADD", other, CONF | more, CNI_ARGS=arguments)
        assert "container c1 has it" in refused.wire["msg"]


def test_ranges_of_the_runtime_go_first(node: Node, pod: Pod) -> None:
    asked = {"runtimeConfig": {"ipRanges": [[{"subnet": "10.77.0.0/24"}]]}}
    dns = {"runtimeConfig": asked["runtimeConfig"] | {"dns": {"Servers": ["192.0.2.53"]}}}
    ipam = {"ipam": {"ranges": CONF["ipam"]["ranges"][1:]}}
    result = node.must("ADD", pod, CONF | ipam | dns)
    assert addresses(result) == ["10.77.0.2", "fd00:88::2"]
    assert result["dns"] == {"nameservers": ["192.0.2.53"]}
    gateways = [one["gateway"] for one in pod.ip("route", "show", "default")]
    assert gateways == ["10.77.0.1"]
