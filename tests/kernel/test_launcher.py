"""The launcher meets agents that are there, away, slow, broken, dying, or mad."""

import json
import os
import random
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from cni.versions import NEWEST, SUPPORTED
from daemon import frame
from daemon.frame import Answer, Kind
from daemon.spool import container_key
from flexvolume.call import Call
from flexvolume.door import NEVER_SUPPORTED, handle
from ringbolt.volumes.deadline import Deadline
from tests.kernel.launcher_lab import (
    CONF,
    ROOT,
    SHORT,
    FalseAgent,
    Launcher,
    Manner,
    build,
    false_agent,
    receive,
)

LARGEST = 32 << 10


@pytest.fixture(scope="session")
def programs(
    tmp_path_factory: pytest.TempPathFactory, need_program: Callable[[str, str], str]
) -> dict[str, Path]:
    need_program("cc", "gcc")
    folder = tmp_path_factory.mktemp("launcher")
    return {"real": build(folder / "real"), "hasty": build(folder / "hasty", SHORT)}


@pytest.fixture
def launcher(programs: dict[str, Path], tmp_path: Path) -> Launcher:
    """As it is shipped."""
    return Launcher(programs["real"], tmp_path)


@pytest.fixture
def hasty(programs: dict[str, Path], tmp_path: Path) -> Launcher:
    """With deadlines of a second, to see them pass."""
    return Launcher(programs["hasty"], tmp_path)


def answering(code: int, stdout: bytes) -> Manner:
    def answer(connection: socket.socket) -> None:
        receive(connection)
        connection.sendall(frame.encode_answer(Answer(code, stdout)))

    return answer


def silent(connection: socket.socket) -> None:
    while connection.recv(1 << 16):
        pass


def dripping(connection: socket.socket) -> None:
    receive(connection)
    tick = threading.Event()
    for byte in frame.encode_answer(Answer(0, b"x" * 1000)):
        connection.sendall(bytes([byte]))
        tick.wait(0.02)


def hanging_up(connection: socket.socket) -> None:
    connection.recv(1)


def refusing(connection: socket.socket) -> None:
    connection.sendall(frame.encode_refusal("busy"))


def test_it_is_small_static_and_needs_no_library(programs: dict[str, Path]) -> None:
    data = programs["real"].read_bytes()
    assert len(data) < LARGEST
    assert b"ld-linux" not in data
    assert b"GLIBC" not in data


def test_it_hands_over_the_call_and_prints_the_answer(launcher: Launcher) -> None:
    agent = FalseAgent([])

    def answer(connection: socket.socket) -> None:
        agent.take(connection)
        connection.sendall(frame.encode_answer(Answer(7, b"hello\n")))

    with false_agent(launcher.socket, answer):
        done = launcher.run(
            "ADD", TRACEPARENT="00-1", BAGGAGE="b", RINGBOLT_X="y", SECRET="s", CNI_ARGS="A=B=C"
        )
    assert (done.returncode, done.stdout, done.stderr) == (7, b"hello\n", b"")
    ((call, inodes),) = agent.calls
    wanted = launcher.environment(
        "ADD", TRACEPARENT="00-1", BAGGAGE="b", RINGBOLT_X="y", CNI_ARGS="A=B=C"
    )
    assert call == frame.Call(Kind.CNI, (str(launcher.program),), wanted, CONF)
    assert inodes == [os.stat("/proc/thread-self/ns/net").st_ino]  # noqa: PTH116


@pytest.mark.parametrize("size", [0, 1, 65536, 1 << 20])
def test_input_and_answers_of_every_size_pass(launcher: Launcher, size: int) -> None:
    data = random.Random(size).randbytes(size)

    def echo(connection: socket.socket) -> None:
        call = frame.parse_call(receive(connection)[0])
        connection.sendall(frame.encode_answer(Answer(0, call.stdin)))

    with false_agent(launcher.socket, echo):
        done = launcher.run("ADD", stdin=data)
    assert (done.returncode, done.stdout == data) == (0, True)


def test_input_that_is_too_large_is_refused(launcher: Launcher) -> None:
    done = launcher.run("ADD", stdin=bytes((1 << 20) + 1))
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 5)
    long = "x" * 100_000
    done = launcher.run("ADD", CNI_A=long, CNI_B=long, CNI_C=long, CNI_D=long)
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 5)


def test_input_that_never_ends_is_not_waited_for(hasty: Launcher) -> None:
    with hasty.start("ADD") as process:
        assert process.stdout
        told = json.loads(process.stdout.read())
        assert (process.wait(), told["code"]) == (1, 5)


AWAY: dict[str, tuple[int, int | None]] = {
    "ADD": (1, 11),
    "CHECK": (1, 11),
    "GC": (1, 11),
    "STATUS": (1, 50),
    "DEL": (0, None),
    "NONSENSE": (1, 11),
}


def check_alone(launcher: Launcher, command: str) -> None:
    code, told = AWAY[command]
    done = launcher.run(command)
    wire = json.loads(done.stdout) if done.stdout else {}
    assert (done.returncode, wire.get("code"), done.stderr) == (code, told, b"")
    assert "not found" not in str(wire)
    assert len(list(launcher.spool.glob("*.frame"))) == (command == "DEL")


@pytest.mark.parametrize("command", AWAY)
def test_an_agent_that_is_away_is_said_to_be(hasty: Launcher, command: str) -> None:
    check_alone(hasty, command)


@pytest.mark.parametrize("command", AWAY)
def test_a_socket_that_nobody_serves_is_as_none(hasty: Launcher, command: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(hasty.socket))
    check_alone(hasty, command)


@pytest.mark.parametrize("command", AWAY)
@pytest.mark.parametrize("manner", [silent, dripping, hanging_up, refusing])
def test_an_agent_without_manners_does_not_hang_it(
    hasty: Launcher, command: str, manner: Manner
) -> None:
    with false_agent(hasty.socket, manner):
        check_alone(hasty, command)


def test_version_and_about_need_no_agent(launcher: Launcher) -> None:
    done = launcher.run("VERSION", stdin=b"")
    wire = {"cniVersion": NEWEST, "supportedVersions": list(SUPPORTED)}
    assert (done.returncode, json.loads(done.stdout)) == (0, wire)
    done = launcher.run("", stdin=b"")
    assert (done.returncode, done.stdout) == (0, b"")
    assert ", ".join(SUPPORTED).encode() in done.stderr


def test_an_agent_that_dies_is_asked_again(launcher: Launcher) -> None:
    with false_agent(launcher.socket, hanging_up, hanging_up, answering(0, b"{}")) as agent:
        done = launcher.run("ADD")
    assert (done.returncode, done.stdout, agent.seen) == (0, b"{}", 3)


def test_an_agent_that_dies_of_a_call_is_not_killed_for_ever(launcher: Launcher) -> None:
    with false_agent(launcher.socket, hanging_up) as agent:
        done = launcher.run("ADD")
    assert (done.returncode, agent.seen) == (1, 4)


def test_an_agent_that_is_being_replaced_goes_unnoticed(launcher: Launcher) -> None:
    with launcher.start("ADD") as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(CONF)
        process.stdin.close()
        with false_agent(launcher.socket, answering(0, b"{}")):
            assert (process.stdout.read(), process.wait()) == (b"{}", 0)


def test_an_agent_that_is_killed_in_a_call_is_replaced(launcher: Launcher) -> None:
    program = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen();"
        "print(flush=True); c, _ = s.accept(); c.recv(20); print(flush=True); s.accept()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, launcher.socket], stdout=subprocess.PIPE
    ) as agent:
        assert agent.stdout
        agent.stdout.readline()
        with launcher.start("ADD") as process:
            assert process.stdin
            assert process.stdout
            process.stdin.write(CONF)
            process.stdin.close()
            agent.stdout.readline()
            agent.kill()
            with false_agent(launcher.socket, answering(0, b"{}")):
                assert (process.stdout.read(), process.wait()) == (b"{}", 0)


@pytest.mark.parametrize("seed", range(150))
def test_whatever_an_agent_says_the_contract_is_kept(hasty: Launcher, seed: int) -> None:
    chance = random.Random(seed)
    right = frame.encode_answer(Answer(chance.randrange(2), b'{"cniVersion": "1.1.0"}'))
    said = bytearray(right if chance.random() < 0.8 else chance.randbytes(chance.randrange(64)))
    for _ in range(chance.randrange(4)):
        if said:
            said[chance.randrange(len(said))] = chance.randrange(256)
    said = said[: chance.randrange(len(said) + 1)] if chance.random() < 0.5 else said

    def answer(connection: socket.socket) -> None:
        if chance.random() < 0.8:
            receive(connection)
        connection.sendall(said)

    with false_agent(hasty.socket, answer):
        done = hasty.run("ADD")
    assert done.stderr == b""
    if bytes(said[:12]) != right[:12] or len(said) < len(right):
        assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 11)
    else:
        assert done.stdout == bytes(said[16:])


# --- The spool ---


def test_a_spooled_call_is_its_frame(hasty: Launcher) -> None:
    for _ in range(2):
        assert hasty.run("DEL").returncode == 0
    (path,) = hasty.spool.iterdir()
    call = frame.parse_call(path.read_bytes())
    assert (call.environment, call.stdin) == (hasty.environment("DEL"), CONF)
    assert path.name.startswith(container_key("c1") + "-")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(hasty.spool.stat().st_mode) == 0o700
    assert hasty.run("DEL", CNI_CONTAINERID="c2").returncode == 0
    assert hasty.run("DEL", CNI_IFNAME="net1").returncode == 0
    assert hasty.run("DEL", stdin=CONF + b" ").returncode == 0
    assert len(list(hasty.spool.iterdir())) == 4


@pytest.mark.parametrize(("files", "size"), [(1024, 1), (1, 32 << 20)])
def test_a_spool_that_is_full_is_an_error_to_try_again(
    hasty: Launcher, files: int, size: int
) -> None:
    hasty.spool.mkdir()
    for number in range(files):
        with (hasty.spool / f"{number}.frame").open("wb") as file:
            file.truncate(size)
    done = hasty.run("DEL")
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 11)
    (hasty.spool / "0.frame").unlink()
    assert hasty.run("DEL").returncode == 0


def test_a_spool_that_cannot_be_written_is_an_error_to_try_again(hasty: Launcher) -> None:
    hasty.spool.write_text("in the way")
    done = hasty.run("DEL")
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 11)


# --- FlexVolume ---


def test_a_volume_driver_speaks_json_alone(hasty: Launcher) -> None:
    said = {
        call: (done.returncode, json.loads(done.stdout)["status"], done.stderr)
        for call in ("init", "getvolumename", "mount", "unmount", "expandfs")
        for done in [hasty.call_volume(call, "/x")]
    }
    assert said == {
        "init": (0, "Success", b""),
        "getvolumename": (0, "Not supported", b""),
        "mount": (0, "Failure", b""),
        "unmount": (0, "Failure", b""),
        "expandfs": (0, "Failure", b""),
    }
    assert not hasty.spool.exists()


def test_launcher_and_agent_answer_alike_what_needs_no_agent(hasty: Launcher) -> None:
    for call in ("init", *sorted(NEVER_SUPPORTED)):
        reply = handle(Call((call,)), never, Deadline.after(1))
        assert hasty.call_volume(call).stdout == reply.stdout


def never() -> NoReturn:
    raise AssertionError("these calls need no room")


def test_a_volume_call_is_handed_over(launcher: Launcher) -> None:
    agent = FalseAgent([])

    def answer(connection: socket.socket) -> None:
        agent.take(connection)
        connection.sendall(frame.encode_answer(Answer(0, b'{"status":"Success"}')))

    with false_agent(launcher.socket, answer):
        done = launcher.call_volume("mount", "/dir", '{"a":"b"}')
    assert (done.stdout, done.stderr) == (b'{"status":"Success"}', b"")
    ((call, inodes),) = agent.calls
    assert (call.kind, call.arguments[1:], inodes) == (
        Kind.FLEXVOLUME,
        ("mount", "/dir", '{"a":"b"}'),
        [],
    )


# --- Other machines ---


@pytest.mark.parametrize(
    ("kind", "emulator"),
    [("x86_64", ""), ("aarch64", "aarch64"), ("armv7l", "arm"), ("riscv64", "riscv64")],
)
def test_it_runs_on_every_kind_of_machine(
    tmp_path: Path, need_program: Callable[[str, str], str], kind: str, emulator: str
) -> None:
    pytest.importorskip("ziglang", reason="needs pip install -r requirements/launcher.txt")
    if emulator:
        emulator = need_program(f"qemu-{emulator}-static", "qemu-user-static")
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run([ROOT / "launcher/build", tmp_path], env=environment, check=True)
    program = tmp_path / f"launcher-{kind}"
    assert program.stat().st_size < LARGEST
    variables = Launcher(program, tmp_path).environment("STATUS")
    command = [*([emulator] if emulator else []), str(program)]
    done = subprocess.run(command, env=variables, input=CONF, capture_output=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 50)
    with false_agent(tmp_path / "agent.sock", answering(0, b"{}")):
        variables["CNI_COMMAND"] = "ADD"
        done = subprocess.run(command, env=variables, input=CONF, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"{}")
