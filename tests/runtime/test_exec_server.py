"""The agent's socket with real launchers in front of it, and callers that are none."""

import asyncio
import json
import os
import socket
import stat
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from daemon import exec_server, exec_socket, frame
from daemon.exec_door import Outcome, Treatment
from daemon.exec_lead import Lead
from daemon.exec_server import ExecServer
from daemon.frame import Answer, Call, Kind
from tests.kernel.launcher_lab import CONF, SHORT, Launcher, build

WAIT_S = 30.0
NAMESPACE = "/proc/self/ns/net"


@pytest.fixture(scope="session")
def program(
    tmp_path_factory: pytest.TempPathFactory, need_program: Callable[[str, str], str]
) -> Path:
    need_program("cc", "gcc")
    return build(tmp_path_factory.mktemp("hasty"), SHORT)


@pytest.fixture
def launcher(program: Path, tmp_path: Path) -> Launcher:
    return Launcher(program, tmp_path)


@dataclass
class RecordingDoor:
    """Notes each call; ADDs of a container in `held` wait until they are let go."""

    code: int = 0
    facts: dict[str, str] = field(default_factory=dict[str, str])
    calls: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    ages: list[float] = field(default_factory=list[float])
    inodes: list[int] = field(default_factory=list[int])
    held: dict[str, threading.Event] = field(default_factory=dict[str, threading.Event])
    entered: threading.Event = field(default_factory=threading.Event)

    def __call__(self, call: Call, netns_fd: int | None) -> Outcome:
        container = call.environment.get("CNI_CONTAINERID", "")
        command = call.environment.get("CNI_COMMAND", "")
        self.calls.append((command, container))
        self.ages.append(call.age_s)
        if netns_fd is not None:
            self.inodes.append(os.fstat(netns_fd).st_ino)
        self.entered.set()
        if command == "ADD" and container in self.held:
            assert self.held[container].wait(WAIT_S)
        return Outcome(Answer(self.code, container.encode()), self.facts)


@asynccontextmanager
async def serving(
    launcher: Launcher, door: RecordingDoor, lead: Lead | None = None
) -> AsyncIterator[ExecServer]:
    server = ExecServer(launcher.socket, {Kind.CNI: door}, lead)
    task = asyncio.create_task(server.run())
    await until(lambda: launcher.socket.is_socket() or task.done())
    try:
        yield server
    finally:
        task.cancel()
        await asyncio.wait([task])


async def run(
    launcher: Launcher, command: str, **variables: str
) -> "subprocess.CompletedProcess[bytes]":
    return await asyncio.to_thread(lambda: launcher.run(command, stdin=CONF, **variables))


def exchange(path: Path, parts: Sequence[bytes]) -> bytes:
    """Say these parts and hear the answer out."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(WAIT_S)
        caller.connect(str(path))
        for part in parts:
            caller.sendall(part)
        said = b""
        with suppress(ConnectionResetError):  # what was not read is lost, the answer is not
            while chunk := caller.recv(1 << 16):
                said += chunk
        return said


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110  # of the file system, other processes and threads
            await asyncio.sleep(0.005)


async def test_a_call_is_served_and_its_namespace_closed(launcher: Launcher) -> None:
    door = RecordingDoor()
    async with serving(launcher, door):
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        done = await run(launcher, "ADD")
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)  # noqa: PTH208
    assert (done.returncode, done.stdout) == (0, b"c1")
    assert door.inodes == [os.stat(NAMESPACE).st_ino]  # noqa: PTH116


async def test_the_socket_is_roots_alone_and_goes_with_its_server(launcher: Launcher) -> None:
    async with serving(launcher, RecordingDoor()):
        assert stat.S_IMODE(launcher.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(launcher.spool.stat().st_mode) == 0o700
    assert not launcher.socket.exists()


async def test_an_agent_that_cannot_be_called_goes_on_trying(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec_server, "RETRY_S", 0.01)
    launcher.socket.mkdir()
    server = ExecServer(launcher.socket, {Kind.CNI: RecordingDoor()})
    task = asyncio.create_task(server.run())
    await until(launcher.spool.is_dir)
    launcher.socket.rmdir()
    await until(launcher.socket.is_socket)
    assert (await run(launcher, "ADD")).returncode == 0
    task.cancel()
    await asyncio.wait([task])


async def test_who_is_not_root_is_refused(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = RecordingDoor()
    monkeypatch.setattr(exec_socket, "peer_uid", lambda _connection: 1000)
    async with serving(launcher, door):
        done = await run(launcher, "ADD")
    assert (json.loads(done.stdout)["code"], door.calls) == (11, [])


def test_the_kernel_says_who_calls() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert exec_socket.peer_uid(ours) == os.geteuid()


async def test_calls_of_one_container_wait_for_each_other_and_others_do_not(
    launcher: Launcher,
) -> None:
    door = RecordingDoor(held={"c1": threading.Event()})
    async with serving(launcher, door):
        first = asyncio.create_task(run(launcher, "ADD"))
        await until(door.entered.is_set)
        second = asyncio.create_task(run(launcher, "DEL"))
        await run(launcher, "ADD", CNI_CONTAINERID="c2")
        assert door.calls == [("ADD", "c1"), ("ADD", "c2")]
        door.held["c1"].set()
        await first
        await second
    assert door.calls == [("ADD", "c1"), ("ADD", "c2"), ("DEL", "c1")]


async def test_status_does_not_wait_behind_adds(launcher: Launcher) -> None:
    names = [f"c{number}" for number in range(exec_server.THREADS)]
    door = RecordingDoor(held={name: threading.Event() for name in names})
    async with serving(launcher, door):
        adds = [asyncio.create_task(run(launcher, "ADD", CNI_CONTAINERID=name)) for name in names]
        await until(lambda: len(door.calls) == len(names))
        done = await run(launcher, "STATUS")
        assert door.calls[-1] == ("STATUS", "c1")
        assert done.returncode in (0, 1)
        for event in door.held.values():
            event.set()
        await asyncio.wait(adds)


async def test_beyond_its_bounds_it_refuses(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec_server, "CALLS_MAX", 1)
    door = RecordingDoor(held={"c1": threading.Event()})
    async with serving(launcher, door):
        first = asyncio.create_task(run(launcher, "ADD"))
        await until(door.entered.is_set)
        refused = await run(launcher, "ADD", CNI_CONTAINERID="c2")
        kept = await run(launcher, "DEL", CNI_CONTAINERID="c3")
        door.held["c1"].set()
        await first
    assert (json.loads(refused.stdout)["code"], kept.returncode) == (11, 0)
    assert len(list(launcher.spool.glob("*.frame"))) == 1


async def test_more_bytes_than_there_is_room_for_are_refused(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec_server, "BYTES_MAX", 100)
    async with serving(launcher, RecordingDoor()):
        assert json.loads((await run(launcher, "ADD")).stdout)["code"] == 11


async def test_an_add_that_nobody_waits_for_is_not_made_but_a_del_is(launcher: Launcher) -> None:
    door = RecordingDoor(held={"c1": threading.Event()})
    async with serving(launcher, door):
        first = asyncio.create_task(run(launcher, "ADD"))
        await until(door.entered.is_set)
        for command in ("ADD", "DEL"):
            with await asyncio.to_thread(launcher.start, command) as process:
                assert process.stdin
                process.stdin.write(CONF)
                process.stdin.close()
                await asyncio.sleep(0.1)  # it cannot be seen from here that the frame has come
                process.kill()
        door.held["c1"].set()
        await first
        await until(lambda: ("DEL", "c1") in door.calls)
    assert door.calls == [("ADD", "c1"), ("DEL", "c1")]


GOOD = frame.encode_call(Call(Kind.CNI, ("x",), {"CNI_COMMAND": "STATUS"}))


@pytest.mark.parametrize(
    "parts",
    [
        (b"GET / HTTP/1.1\r\n\r\n",),
        (frame.HEADER.pack(b"RgBt", 2, 1, 0),),
        (frame.HEADER.pack(b"RgBt", 1, 9, 0),),
        (frame.HEADER.pack(b"RgBt", 1, 2, 0),),
        (frame.HEADER.pack(b"RgBt", 1, 1, 0xFFFFFFFF),),
        (frame.HEADER.pack(b"RgBt", 1, 1, 9) + frame.FIELD.pack(1, 99) + b"x",),
        (GOOD[:20], b""),
    ],
)
async def test_what_is_no_call_is_refused_and_harms_nobody(
    launcher: Launcher, parts: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec_server, "RECEIVE_S", 0.2)
    async with serving(launcher, RecordingDoor()):
        assert isinstance(
            frame.parse_answer(await asyncio.to_thread(exchange, launcher.socket, parts)), str
        )
        drops = [GOOD[at : at + 1] for at in range(len(GOOD))]
        good = await asyncio.to_thread(exchange, launcher.socket, drops)
        assert frame.parse_answer(good) == Answer(0, b"")


async def test_a_frame_takes_room_from_its_header_on(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec_server, "BYTES_MAX", len(GOOD) + 5)
    async with serving(launcher, RecordingDoor()) as server:
        with socket.socket(socket.AF_UNIX) as slow:
            slow.connect(str(launcher.socket))
            slow.sendall(GOOD[:20])
            await until(lambda: server._bytes > 0)
            told = await asyncio.to_thread(exchange, launcher.socket, (GOOD,))
            assert "no room" in str(frame.parse_answer(told))
        await until(lambda: not server.calls)
        told = await asyncio.to_thread(exchange, launcher.socket, (GOOD,))
        assert frame.parse_answer(told) == Answer(0, b"")


async def test_a_caller_that_hangs_up_within_its_frame_leaves_nothing(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec_server, "RECEIVE_S", 0.2)  # who is sent their own end hears no end
    async with serving(launcher, RecordingDoor()) as server:
        for cut in range(0, len(GOOD), 7):
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(str(launcher.socket))
                if cut:
                    socket.send_fds(caller, [GOOD[:cut]], [caller.fileno()] * 3)
        await until(lambda: not server.calls)
        assert server._bytes == 0


async def test_spooled_dels_are_made_at_the_start(launcher: Launcher) -> None:
    for name in ("c1", "c2"):
        assert (await run(launcher, "DEL", CNI_CONTAINERID=name)).returncode == 0
    for path in launcher.spool.iterdir():
        os.utime(path, times=(0, path.stat().st_mtime - 500))
    (launcher.spool / "junk.frame").write_bytes(b"junk")
    (launcher.spool / ".0123").write_bytes(b"cut off")
    os.utime(launcher.spool / ".0123", (0, 0))
    door = RecordingDoor()
    async with serving(launcher, door):
        await until(lambda: not list(launcher.spool.iterdir()))
    assert sorted(door.calls) == [("DEL", "c1"), ("DEL", "c2")]
    assert max(door.ages) == pytest.approx(500, abs=60)


async def test_a_spooled_del_goes_before_an_add_of_the_same_container(launcher: Launcher) -> None:
    door = RecordingDoor()
    async with serving(launcher, door):
        spooled = frame.encode_call(Call(Kind.CNI, (), launcher.environment("DEL"), CONF))
        before = Launcher(launcher.program, launcher.folder / "away")
        before.folder.mkdir()
        await run(before, "DEL")
        (path,) = before.spool.iterdir()
        (launcher.spool / path.name).write_bytes(spooled)
        await run(launcher, "ADD")
    assert door.calls == [("DEL", "c1"), ("ADD", "c1")]
    assert list(launcher.spool.iterdir()) == []


@pytest.mark.parametrize(("code", "left"), [("11", 1), ("999", 1), ("7", 0), ("6", 0)])
async def test_a_spooled_del_that_may_succeed_later_is_kept(
    launcher: Launcher, code: str, left: int
) -> None:
    await run(launcher, "DEL")
    door = RecordingDoor(code=1, facts={"code": code})
    async with serving(launcher, door) as server:
        await until(door.entered.is_set)
        await until(lambda: len(server._lane) == 0)
        assert len(list(launcher.spool.iterdir())) == left
        door.code = 0
        server.nudge()
        await until(lambda: not list(launcher.spool.iterdir()))


async def test_a_call_that_is_late_is_refused_while_its_door_is_still_at_it(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"ADD": Treatment(limit_s=0.1), "DEL": Treatment(limit_s=60.0)}

    def of(call: Call) -> Treatment:
        return limits[call.environment["CNI_COMMAND"]]

    monkeypatch.setattr(exec_server, "treatment", of)
    door = RecordingDoor(held={"c1": threading.Event()})
    async with serving(launcher, door):
        assert (await run(launcher, "DEL")).returncode == 0  # due long after the next one
        for _ in range(2):
            assert json.loads((await run(launcher, "ADD")).stdout)["code"] == 11
        door.held["c1"].set()


async def test_a_new_agent_takes_the_place_of_the_old_one_without_a_gap(
    launcher: Launcher,
) -> None:
    old, new = RecordingDoor(held={"c1": threading.Event()}), RecordingDoor()
    async with serving(launcher, old):
        first = asyncio.create_task(run(launcher, "ADD"))
        await until(old.entered.is_set)
        inode = launcher.socket.stat().st_ino
        server = ExecServer(launcher.socket, {Kind.CNI: new})
        task = asyncio.create_task(server.run())
        await until(lambda: launcher.socket.stat().st_ino != inode)
        assert (await run(launcher, "ADD", CNI_CONTAINERID="c2")).returncode == 0
        old.held["c1"].set()
        assert (await first).returncode == 0
    assert launcher.socket.is_socket()
    assert new.calls == [("ADD", "c2")]
    task.cancel()
    await asyncio.wait([task])
