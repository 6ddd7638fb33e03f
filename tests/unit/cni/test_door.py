"""The door with a room that records: what it asks of the room, what a runtime is told."""

import json
import os
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from cni.call import Call, Reply
from cni.door import handle
from cni.versions import SUPPORTED
from ringbolt.linux import network_namespace
from ringbolt.network import errors
from ringbolt.network.attachment import Attach, Key, PortMapping, Protocol
from ringbolt.network.settings import Mode
from tests.unit.cni.recording_network import RecordingNetwork

CONF: dict[str, Any] = {
    "cniVersion": "1.1.0",
    "name": "pods",
    "type": "ringbolt",
    "ipam": {"ranges": [[{"subnet": "10.244.0.0/24"}]]},
}
VARIABLES = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/a",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}


@pytest.fixture
def netns_fd(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A namespace that is open; the door is told that its own is another one."""
    fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    other = network_namespace.Identity(0, 0)
    monkeypatch.setattr(network_namespace, "identify_own", lambda: other)
    yield fd
    os.close(fd)


def call(
    command: str, conf: object = CONF, fd: int | None = None, **variables: str
) -> tuple[Reply, Any, RecordingNetwork]:
    return call_room(RecordingNetwork(), command, conf, fd, **variables)


def call_room(
    room: RecordingNetwork, command: str, conf: object, fd: int | None, **variables: str
) -> tuple[Reply, Any, RecordingNetwork]:
    environment = {**VARIABLES, "CNI_COMMAND": command, **variables}
    stdin = conf if isinstance(conf, bytes) else json.dumps(conf).encode()
    reply = handle(Call(environment, stdin, fd), room)
    return reply, json.loads(reply.stdout) if reply.stdout else None, room


def attach_of(room: RecordingNetwork) -> Attach:
    (verb, attach), *_ = room.calls
    assert verb == "add"
    assert isinstance(attach, Attach)
    return attach


def test_add_hands_the_request_to_the_room_and_tells_its_answer(netns_fd: int) -> None:
    args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web;K8S_POD_UID=u"
    reply, wire, room = call("ADD", fd=netns_fd, CNI_ARGS=args, TRACEPARENT="00-ab-cd-01")
    attach = attach_of(room)
    assert reply.code == 0
    assert attach.key == Key(attach.container_id, attach.ifname) == ("c1", "eth0")
    assert (attach.netns_fd, attach.netns_path) == (netns_fd, "/run/netns/a")
    assert (attach.pod.namespace, attach.pod.name, attach.pod.uid) == ("ns", "web", "u")
    assert wire["interfaces"][2] == {
        "name": "eth0",
        "mac": "0a:58:0a:f4:00:05",
        "mtu": 1500,
        "sandbox": "/run/netns/a",
    }
    assert wire["routes"][0] == {"dst": "0.0.0.0/0", "gw": "10.244.0.1", "mtu": 1400}
    assert reply.facts == {
        "command": "ADD",
        "container_id": "c1",
        "ifname": "eth0",
        "network": "pods",
        "pod": "ns/web",
        "traceparent": "00-ab-cd-01",
    }


@pytest.mark.parametrize("version", ["", *SUPPORTED])
def test_a_result_is_of_the_version_that_was_asked_for(netns_fd: int, version: str) -> None:
    _, wire, _ = call("ADD", {**CONF, "cniVersion": version}, netns_fd)
    assert wire["cniVersion"] == (version or "0.1.0")
    if version in ("", "0.1.0", "0.2.0"):
        assert wire["ip4"]["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.244.0.1"}]
        assert wire["ip6"]["ip"] == "fd00::5/64"
        assert wire["dns"] == {}
        return
    versions = [one.get("version") for one in wire["ips"]]
    assert versions == (["4", "6"] if version < "1" else [None, None])
    assert ("dns" in wire) is (version < "1")
    assert ("mtu" in wire["interfaces"][0]) is ("mtu" in wire["routes"][0]) is (version == "1.1.0")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidError("x"), 7),
        (errors.ExhaustedError("x"), 11),
        (errors.ConflictError("x"), 100),
        (errors.UnknownContainerError("x"), 3),
        (errors.DriftError("x"), 101),
        (errors.TryAgainError("x"), 11),
        (errors.NotAvailableError("x"), 11),
        (OSError(16, "RTM_NEWLINK: busy"), 999),
        (ZeroDivisionError("x"), 999),
    ],
)
def test_what_goes_wrong_has_one_code(netns_fd: int, error: Exception, code: int) -> None:
    reply, wire, _ = call_room(RecordingNetwork(error), "ADD", CONF, netns_fd)
    assert (reply.code, wire["code"], wire["cniVersion"]) == (1, code, "1.1.0")
    assert reply.facts["error_type"] == type(error).__name__


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ExhaustedError("x"), 50),
        (errors.NotAvailableError("x"), 50),
        (errors.DegradedError("x"), 51),
        (OSError(5, "x"), 50),
    ],
)
def test_status_says_whether_an_add_would_be_served(error: Exception, code: int) -> None:
    reply, wire, _ = call_room(RecordingNetwork(error), "STATUS", CONF, None)
    assert (reply.code, wire["code"]) == (1, code)
    assert call("STATUS")[0].code == 0


@pytest.mark.parametrize("command", ["DEL", "CHECK", "GC", "STATUS"])
def test_success_prints_nothing(netns_fd: int, command: str) -> None:
    previous = {"cniVersion": "1.1.0", "ips": [{"address": "10.244.0.5/24"}]}
    reply, _, room = call(command, {**CONF, "prevResult": previous}, netns_fd)
    assert (reply.code, reply.stdout, len(room.calls)) == (0, b"", 1)


def test_no_error_says_the_words_that_containerd_takes_for_success() -> None:
    room = RecordingNetwork(errors.TryAgainError("bridge not found"))
    _, wire, _ = call_room(room, "DEL", CONF, None)
    assert wire["msg"] == "bridge missing"


@pytest.mark.parametrize(
    "broken",
    [
        {"ipam": {"ranges": "x"}},
        {"ipam": 5},
        {"mode": "nonsense"},
        {"vlan": 5},
        {"runtimeConfig": []},
        {"prevResult": "x"},
        {"mtu": -1},
    ],
)
def test_del_does_not_mind_settings_that_no_add_could_use(broken: dict[str, object]) -> None:
    conf = {**CONF, **broken}
    reply, _, room = call("DEL", conf, CNI_ARGS="what;ever", CNI_NETNS="")
    assert (reply.code, [verb for verb, _ in room.calls]) == (0, ["delete"])


def test_the_pod_may_not_be_the_node(monkeypatch: pytest.MonkeyPatch, netns_fd: int) -> None:
    ours = network_namespace.identify(netns_fd)
    monkeypatch.setattr(network_namespace, "identify_own", lambda: ours)
    reply, wire, room = call("ADD", fd=netns_fd)
    assert (reply.code, wire["code"], room.calls) == (1, 8, [])
    assert call("ADD", fd=netns_fd, CNI_NETNS_OVERRIDE="true")[0].code == 0
    reply, wire, room = call("DEL", fd=netns_fd)
    assert (wire["code"], [verb for verb, _ in room.calls]) == (8, ["delete"])


def test_a_netns_that_is_none_is_refused_by_add_and_forgiven_by_del(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+") as file:
        _, wire, room = call("ADD", fd=file.fileno())
        assert wire["msg"].startswith('failed to open netns "/run/netns/a"')
        assert room.calls == []
        assert call("DEL", fd=file.fileno())[0].code == 0


@pytest.mark.parametrize(
    ("keys", "valid"),
    [
        ({}, None),
        ({"cni.dev/valid-attachments": None}, frozenset()),
        ({"cni.dev/valid-attachments": []}, frozenset()),
        ({"cni.dev/attachments": [{"containerID": "a", "ifname": "b"}]}, {("a", "b")}),
        ({"CNI.dev/Valid-Attachments": [{"ContainerID": "a", "IfName": "b"}]}, {("a", "b")}),
        (
            {"cni.dev/valid-attachments": None, "cni.dev/attachments": [{}]},
            frozenset(),
        ),
    ],
)
def test_gc_tells_an_absent_list_from_an_empty_one(
    keys: dict[str, object], valid: frozenset[tuple[str, str]] | None
) -> None:
    reply, _, room = call("GC", {**CONF, **keys}, CNI_CONTAINERID="", CNI_NETNS="", CNI_IFNAME="")
    assert (reply.code, room.calls) == (0, [("collect", ("pods", valid))])


@pytest.mark.parametrize("entries", ["x", [1], [{}], [{"containerID": "a"}], {"containerID": "a"}])
def test_gc_touches_nothing_when_the_list_is_broken(entries: object) -> None:
    reply, wire, room = call("GC", {**CONF, "cni.dev/valid-attachments": entries})
    assert (reply.code, wire["code"], room.calls) == (1, 7, [])


@pytest.mark.parametrize("case", [str, str.upper, str.capitalize])
def test_capabilities_are_read_whatever_the_case_of_their_keys(
    netns_fd: int, case: Callable[[str], str]
) -> None:
    def name(key: str) -> str:
        return case(key)

    mapping = {name("hostPort"): 8080, name("containerPort"): 80, name("protocol"): "UDP"}
    bandwidth = {name("ingressRate"): 1000, name("ingressBurst"): 4294967295}
    runtime = {
        "portMappings": [{**mapping, name("hostIP"): "127.0.0.1"}, {"containerPort": 5}],
        "bandwidth": bandwidth,
        "dns": {name("servers"): ["1.1.1.1"]},
    }
    _, _, room = call("ADD", {**CONF, "runtimeConfig": runtime}, netns_fd)
    attach = attach_of(room)
    wanted = PortMapping(8080, 80, Protocol.UDP, ip_address("127.0.0.1"))
    assert attach.port_mappings == (wanted,)
    assert (attach.bandwidth.ingress_rate, attach.bandwidth.ingress_burst) == (1000, 0)
    assert attach.settings.dns.nameservers == ("1.1.1.1",)


def test_the_later_source_of_a_wish_counts(netns_fd: int) -> None:
    annotations = {"ringbolt.dev/ips": "10.244.0.1", "ringbolt.dev/mac": "02:00:00:00:00:01"}
    sources: list[dict[str, Any]] = [
        {"runtimeConfig": {"io.kubernetes.cri.pod-annotations": annotations}},
        {"CNI_ARGS": "IP=10.244.0.2;MAC=02:00:00:00:00:02"},
        {"args": {"cni": {"ips": ["10.244.0.3/24"], "mac": "02-00-00-00-00-03"}}},
        {"runtimeConfig": {"ips": ["10.244.0.4/24"], "mac": "0200.0000.0004"}},
    ]
    conf, variables = dict(CONF), dict[str, str]()
    for number, source in enumerate(sources, 1):
        variables |= {key: value for key, value in source.items() if key == "CNI_ARGS"}
        runtime = {**conf.get("runtimeConfig", {}), **source.get("runtimeConfig", {})}
        conf = {**conf, **source, "runtimeConfig": runtime}
        attach = attach_of(call("ADD", conf, netns_fd, **variables)[2])
        assert attach.addresses == (ip_address(f"10.244.0.{number}"),)
        assert attach.mac == f"02:00:00:00:00:0{number}"


def test_the_reference_keys_mean_what_they_mean_there(netns_fd: int) -> None:
    keys = {
        "bridge": "cni0",
        "isGateway": True,
        "isDefaultGateway": False,
        "ipMasq": True,
        "mtu": 1400,
        "hairpinMode": True,
        "portIsolation": True,
        "somethingNew": {"x": 1},
        "mode": "routed",
        "ipam": {
            "subnet": "10.1.0.0/16",
            "rangeStart": "10.1.0.10",
            "ranges": [[{"subnet": "fd00::/64", "gateway": "fd00::9"}]],
            "routes": [{"dst": "10.0.0.0/8", "gw": "10.1.0.1", "priority": 5}],
        },
    }
    settings = attach_of(call("ADD", {**CONF, **keys}, netns_fd)[2]).settings
    assert (settings.name, settings.bridge, settings.mode) == ("pods", "cni0", Mode.ROUTED)
    assert (settings.gateway, settings.default_route, settings.masquerade) == (True, False, True)
    assert (settings.mtu, settings.hairpin, settings.isolated) == (1400, True, True)
    (((first),), ((second),)) = settings.ranges
    assert (str(first.subnet), str(first.first)) == ("10.1.0.0/16", "10.1.0.10")
    assert str(second.gateway) == "fd00::9"
    assert settings.routes[0].priority == 5


@pytest.mark.parametrize(
    ("keys", "code", "says"),
    [
        ({"vlan": 100}, 2, "vlan: 100"),
        ({"macspoofchk": True}, 2, "macspoofchk: true"),
        ({"mode": "flat"}, 2, 'mode: "flat"'),
        ({"hairpinMode": True, "promiscMode": True}, 7, "hairpin"),
        ({"ipam": {"subnet": "10.1.0.5/16"}}, 7, "host bits"),
        ({"ipam": {"ranges": [{}]}}, 7, "ipam.ranges"),
        ({"mtu": "big"}, 7, "mtu"),
        ({"ipam": {"coolDown": 10**400}}, 7, "0 to 86400"),
        ({"runtimeConfig": {"ips": ["x"]}}, 7, "runtimeConfig.ips"),
        ({"runtimeConfig": {"mac": "01:00:00:00:00:00"}}, 7, "group address"),
        ({"runtimeConfig": {"portMappings": [{"hostPort": 70000}]}}, 7, "70000"),
        ({"runtimeConfig": {"portMappings": [{"protocol": "x", "hostPort": 1}]}}, 7, "container"),
    ],
)
def test_a_wrong_configuration_is_named(
    netns_fd: int, keys: dict[str, object], code: int, says: str
) -> None:
    _, wire, room = call("ADD", {**CONF, **keys}, netns_fd)
    assert (wire["code"], room.calls) == (code, [])
    assert says in wire["msg"]


def test_in_a_chain_the_result_holds_what_was_there_before(netns_fd: int) -> None:
    before = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "lo", "sandbox": "/x", "pciID": "0"}],
        "ips": [{"address": "127.0.0.1/8", "interface": 0}],
        "dns": {"domain": "x"},
    }
    _, wire, _ = call("ADD", {**CONF, "prevResult": before}, netns_fd)
    assert [one["name"] for one in wire["interfaces"]] == [
        "lo",
        "ringbolt0",
        "veth01234567",
        "eth0",
    ]
    assert wire["interfaces"][0]["pciID"] == "0"
    assert [one["interface"] for one in wire["ips"]] == [0, 3, 3]
    assert wire["dns"] == {"domain": "x"}


@pytest.mark.parametrize(
    "stdin",
    [b"", b"{", b"[]", b"5", b'{"name": 5}', b"\xff", b"[" * 100_000, b'{"x": NaN}', b"9" * 5000],
)
def test_stdin_that_is_no_configuration_is_code_6(stdin: bytes) -> None:
    reply, wire, room = call("DEL", stdin)
    assert (reply.code, wire["code"], room.calls) == (1, 6, [])


def test_a_call_without_a_command_says_what_this_is() -> None:
    reply, _, _ = call("")
    assert (reply.code, reply.stdout) == (0, b"")
    assert b"CNI protocol versions supported: 0.1.0, 0.2.0" in reply.stderr


def test_a_result_that_cannot_be_told_is_undone(netns_fd: int) -> None:
    class Empty(RecordingNetwork):
        def add(self, attach: Attach) -> Any:
            answer = super().add(attach)
            return type(answer)(interfaces=answer.interfaces, addresses=())

    _, wire, room = call_room(Empty(), "ADD", {**CONF, "cniVersion": "0.2.0"}, netns_fd)
    assert wire["msg"] == "cannot convert: no valid IP addresses"
    assert [verb for verb, _ in room.calls] == ["add", "delete"]
