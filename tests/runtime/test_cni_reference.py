"""The door beside the reference plugins: same environment, same stdin, same exit code, same words.

The reference here is of spec 1.0.0 (Debian 12) or newer; what it cannot know yet is left out.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cni.call import Call
from cni.door import handle
from cni.versions import SUPPORTED
from ringbolt.linux import network_namespace
from ringbolt.network.attachment import Attach
from ringbolt.network.errors import ConflictError
from tests.unit.cni.recording_network import RecordingNetwork

FOLDER = Path("/usr/lib/cni")
CONF: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "type": "bridge",
    "bridge": "rbtest0",
    "ipam": {"type": "host-local", "subnet": "10.99.0.0/24"},
}
VARIABLES = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/nowhere/netns",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": str(FOLDER),
}
WRONG_VARIABLES: list[dict[str, str]] = [
    {"CNI_CONTAINERID": ""},
    {"CNI_CONTAINERID": "../c"},
    {"CNI_CONTAINERID": "-c"},
    {"CNI_CONTAINERID": "c\n"},
    {"CNI_IFNAME": ""},
    {"CNI_IFNAME": "sixteen-letters-"},
    {"CNI_IFNAME": "."},
    {"CNI_IFNAME": "a b"},
    {"CNI_IFNAME": "a/b"},
    {"CNI_IFNAME": "a:b"},
    {"CNI_IFNAME": "a\u00a0b"},
    {"CNI_PATH": ""},
    {"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": "", "CNI_PATH": ""},
]
WRONG_INPUT: list[bytes] = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b'{"cniVersion": "1.0.0"}',
    b'{"cniVersion": "1.0.0", "name": ""}',
    b'{"cniVersion": "1.0.0", "name": "a/b"}',
    b'{"cniVersion": "1.0.0", "name": 5}',
    b'{"cniVersion": 5, "name": "a"}',
    b'{"cniVersion": "9.9.9", "name": "a"}',
    b'{"cniVersion": "0.9.0", "name": "a"}',
    b'{"cniVersion": "1.0.0.0", "name": "a"}',
    b'{"cniVersion": "1.x.0", "name": "a"}',
    b'{"cniVersion": "x", "NAME": "a"}',
    b'{"cniVersion": "1.0", "name": "a"}',
]


def reference(
    kind: str, variables: Mapping[str, str], stdin: bytes
) -> "tuple[int, Any, subprocess.CompletedProcess[bytes]]":
    program = FOLDER / kind
    if not program.exists():
        pytest.skip("needs the reference plugins: apt-get install containernetworking-plugins")
    environment = {key: value for key, value in variables.items() if value}
    # It makes its bridge before it looks at the pod's namespace: not in the machine's own.
    alone = ["unshare", "--net"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*alone, program],
        env=environment,
        input=stdin,
        capture_output=True,
        timeout=30,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done


def ours(
    variables: Mapping[str, str], stdin: bytes, room: RecordingNetwork | None = None
) -> tuple[int, Any]:
    reply = handle(Call(variables, stdin), room or RecordingNetwork())
    return reply.code, json.loads(reply.stdout) if reply.stdout else None


def check_same_refusal(variables: Mapping[str, str], stdin: bytes, kind: str) -> None:
    code, wire, _ = reference(kind, variables, stdin)
    our_code, our_wire = ours(variables, stdin)
    assert (our_code, our_wire["code"]) == (code, wire["code"]) != (0, 0)
    if wire["code"] not in (1, 6):  # these quote Go's decoder, or list the versions of each
        assert our_wire["msg"] == wire["msg"]
        assert our_wire.get("details") == wire.get("details")
    else:
        assert our_wire["msg"].split(":")[0] == wire["msg"].split(":")[0]


@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK"])
@pytest.mark.parametrize("wrong", WRONG_VARIABLES)
def test_wrong_variables_are_refused_in_the_same_words(command: str, wrong: dict[str, str]) -> None:
    variables = {**VARIABLES, "CNI_COMMAND": command, **wrong}
    check_same_refusal(variables, json.dumps(CONF).encode(), "bridge")


@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK", "NONSENSE"])
@pytest.mark.parametrize("stdin", WRONG_INPUT)
def test_wrong_input_is_refused_in_the_same_words(command: str, stdin: bytes) -> None:
    check_same_refusal({**VARIABLES, "CNI_COMMAND": command}, stdin, "bridge")


@pytest.mark.parametrize("version", [one for one in SUPPORTED if one < "0.4.0"])
def test_check_of_an_old_configuration_is_refused_in_the_same_words(version: str) -> None:
    stdin = json.dumps({**CONF, "cniVersion": version}).encode()
    check_same_refusal({**VARIABLES, "CNI_COMMAND": "CHECK"}, stdin, "bridge")


def test_a_namespace_that_is_away_fails_an_add_and_not_a_del(tmp_path: Path) -> None:
    conf = {**CONF, "ipam": {**CONF["ipam"], "dataDir": str(tmp_path)}}
    stdin = json.dumps(conf).encode()
    code, wire, _ = reference("bridge", VARIABLES, stdin)
    our_code, our_wire = ours(VARIABLES, stdin)
    assert (our_code, our_wire["code"]) == (code, wire["code"])
    said, our_said = wire["msg"], our_wire["msg"]
    assert said.startswith('failed to open netns "/nowhere/netns"')
    assert our_said.startswith('failed to open netns "/nowhere/netns"')
    gone = {**VARIABLES, "CNI_COMMAND": "DEL", "CNI_NETNS": ""}
    assert reference("bridge", gone, stdin)[:2] == ours(gone, stdin) == (0, None)


def test_version_answers_as_the_reference_does() -> None:
    variables = {"CNI_COMMAND": "VERSION"}
    code, wire, _ = reference("bridge", variables, b"")
    our_code, our_wire = ours(variables, b"")
    known = len(wire["supportedVersions"])
    assert (our_code, set(our_wire)) == (code, set(wire))
    assert our_wire["supportedVersions"][:known] == wire["supportedVersions"]


def test_without_a_command_both_say_what_they_are() -> None:
    code, _, done = reference("bridge", {}, b"")
    reply = handle(Call({}), RecordingNetwork())
    assert (reply.code, reply.stdout) == (code, done.stdout) == (0, b"")
    assert reply.stderr.splitlines()[1].startswith(done.stderr.splitlines()[1])


# --- Delegated address management ---


def door(
    command: str, conf: Mapping[str, Any], fd: int | None, room: RecordingNetwork
) -> tuple[int, Any]:
    call = Call({**VARIABLES, "CNI_COMMAND": command}, json.dumps(conf).encode(), fd)
    reply = handle(call, room)
    return reply.code, json.loads(reply.stdout) if reply.stdout else None


def leased(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("pods/10.*"))


@pytest.fixture
def delegating(tmp_path: Path) -> dict[str, Any]:
    """A configuration whose addresses the reference's host-local gives."""
    if not (FOLDER / "host-local").exists():
        pytest.skip("needs the reference plugins: apt-get install containernetworking-plugins")
    return {**CONF, "ipam": {**CONF["ipam"], "dataDir": str(tmp_path), "routes": [{"dst": "::/0"}]}}


@pytest.fixture
def netns_fd(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    other = network_namespace.Identity(0, 0)
    monkeypatch.setattr(network_namespace, "identify_own", lambda: other)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("version", [one for one in SUPPORTED if one < "1.1.0"])
def test_addresses_come_from_the_delegate_and_go_back_to_it(
    delegating: dict[str, Any], tmp_path: Path, netns_fd: int, version: str
) -> None:
    conf = {**delegating, "cniVersion": version}
    room = RecordingNetwork()
    code, wire = door("ADD", conf, netns_fd, room)
    assert (code, wire["cniVersion"]) == (0, version)
    (_, attach), *_ = room.calls
    assert isinstance(attach, Attach)
    assert attach.given
    assert [str(one.address) for one in attach.given.addresses] == ["10.99.0.2/24"]
    assert [str(one.gateway) for one in attach.given.addresses] == ["10.99.0.1"]
    assert [str(one.destination) for one in attach.given.routes] in (["::/0"], [])
    assert leased(tmp_path) == ["10.99.0.2"]
    for _ in range(2):
        assert door("DEL", conf, netns_fd, room) == (0, None)
    assert leased(tmp_path) == []


def test_what_a_delegate_gave_goes_back_when_an_add_fails(
    delegating: dict[str, Any], tmp_path: Path, netns_fd: int
) -> None:
    code, wire = door("ADD", delegating, netns_fd, RecordingNetwork(ConflictError("taken")))
    assert (code, wire["code"], wire["msg"]) == (1, 100, "taken")
    assert leased(tmp_path) == []


def test_a_delegates_error_is_told_as_it_is(
    delegating: dict[str, Any], netns_fd: int, tmp_path: Path
) -> None:
    ipam = {**delegating["ipam"], "subnet": "10.99.0.0/30"}
    conf = {**delegating, "ipam": ipam}
    assert door("ADD", conf, netns_fd, RecordingNetwork())[0] == 0
    room = RecordingNetwork()
    second = {**VARIABLES, "CNI_CONTAINERID": "c2"}
    reply = handle(Call(second, json.dumps(conf).encode(), netns_fd), room)
    told = json.loads(reply.stdout)
    code, wire, _ = reference("host-local", second, json.dumps(conf).encode())
    assert (reply.code, room.calls) == (code, [])
    assert {key: told[key] for key in wire} == wire
    assert "no IP addresses available" in told["msg"]
    assert leased(tmp_path) == ["10.99.0.2"]


def test_check_is_handed_on(delegating: dict[str, Any], netns_fd: int) -> None:
    room = RecordingNetwork()
    _, result = door("ADD", delegating, netns_fd, room)
    conf = {**delegating, "prevResult": result}
    assert door("CHECK", conf, netns_fd, room) == (0, None)
    door("DEL", delegating, netns_fd, room)
    code, wire = door("CHECK", conf, netns_fd, room)
    assert (code, wire["code"]) == (1, 999)


@pytest.mark.parametrize("command", ["GC", "STATUS"])
def test_a_delegate_that_does_not_know_a_new_verb_is_well(
    delegating: dict[str, Any], command: str
) -> None:
    room = RecordingNetwork()
    assert door(command, {**delegating, "cniVersion": "1.1.0"}, None, room) == (0, None)
    assert len(room.calls) == 1


@pytest.mark.parametrize("kind", ["away", "../host-local"])
def test_a_delegate_that_is_away_is_an_error(
    delegating: dict[str, Any], netns_fd: int, kind: str
) -> None:
    conf = {**delegating, "ipam": {**delegating["ipam"], "type": kind}}
    room = RecordingNetwork()
    code, wire = door("ADD", conf, netns_fd, room)
    ref_code, ref, _ = reference("bridge", VARIABLES, json.dumps(conf).encode())
    assert (code, room.calls) == (ref_code, [])
    assert (wire["code"], "not found" in wire["msg"]) == (ref["code"], False)
    assert door("DEL", conf, netns_fd, room)[0] == 1
