"""In which order the agent's socket serves those who call while it is at another call."""

import asyncio
import socket
import threading
from pathlib import Path

from daemon import frame
from daemon.exec_lead import Lead
from daemon.frame import Call, Kind
from tests.kernel.launcher_lab import Launcher
from tests.runtime.test_exec_server import WAIT_S, RecordingDoor, launcher, program, serving, until

__all__ = ["launcher", "program"]


async def test_status_goes_before_the_adds_that_came_while_one_was_served(
    launcher: Launcher,
) -> None:
    go = threading.Event()
    door = RecordingDoor(held={"c0": go})
    async with serving(launcher, door, Lead(patience_s=WAIT_S)):
        callers = [call_and_wait(launcher.socket, "ADD", "c0")]
        await asyncio.to_thread(door.entered.wait, WAIT_S)
        callers += [call_and_wait(launcher.socket, "ADD", f"c{number}") for number in (1, 2, 3)]
        callers.append(call_and_wait(launcher.socket, "STATUS", ""))
        go.set()
        for caller in callers:
            assert await asyncio.to_thread(caller.recv, 1 << 16)
            caller.close()
    adds = [("ADD", f"c{number}") for number in (1, 2, 3)]
    assert door.calls == [("ADD", "c0"), ("STATUS", ""), *adds]


def call_and_wait(path: Path, command: str, container: str) -> socket.socket:
    """A caller whose call is on its way."""
    caller = socket.socket(socket.AF_UNIX)
    caller.settimeout(WAIT_S)
    caller.connect(str(path))
    environment = {"CNI_COMMAND": command, "CNI_CONTAINERID": container}
    caller.sendall(frame.encode_call(Call(Kind.CNI, ("ringbolt",), environment)))
    return caller


async def test_who_was_met_when_the_agent_ends_is_served(launcher: Launcher) -> None:
    door = RecordingDoor(held={"c0": threading.Event(), "c1": threading.Event()})

    async def go_on_when_the_agent_ends() -> None:
        await until(lambda: not launcher.socket.exists())
        door.held["c1"].set()

    async with serving(launcher, door, Lead(patience_s=WAIT_S)):
        callers = [call_and_wait(launcher.socket, "ADD", "c0")]
        await asyncio.to_thread(door.entered.wait, WAIT_S)
        callers += [call_and_wait(launcher.socket, "ADD", f"c{number}") for number in (1, 2, 3)]
        door.held["c0"].set()
        await until(lambda: ("ADD", "c1") in door.calls)
        going_on = asyncio.create_task(go_on_when_the_agent_ends())
    await going_on
    for caller in callers:
        assert caller.recv(1 << 16)
        caller.close()
