"""The agent as a process of its own, started and stopped through its command line alone."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringbolt.sandbox.node import Node

_STOP_DEADLINE_S = 5.0
_SHOWN_LINES = 8


class AgentError(Exception):
    """The agent, or a question to it, failed; what it wrote is in the message."""


@dataclass(frozen=True, slots=True)
class AgentPlace:
    """What the agent is told: its configuration and its directories."""

    config: Path
    kubelet: Path
    run: Path
    state: Path
    cdi: Path
    log: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """What finds this agent from a shell."""
        return {"RINGBOLT_SOCKET": str(self.run / "agent.sock")}

    def command(self) -> tuple[str, ...]:
        """The agent's command line."""
        return (
            *(sys.executable, "-m", "daemon", "agent", "--config", str(self.config)),
            *("--kubelet-dir", str(self.kubelet), "--run-dir", str(self.run)),
            *("--state-dir", str(self.state), "--cdi-dir", str(self.cdi)),
            *("--http", "127.0.0.1:0"),
        )

    def devices_command(self) -> tuple[str, ...]:
        """The command that lists this agent's devices."""
        return (
            *(sys.executable, "-m", "daemon", "devices", "--config", str(self.config)),
            *("--kubelet-dir", str(self.kubelet), "--state-dir", str(self.state)),
            *("-o", "json"),
        )


class AgentProcess:
    """A running agent."""

    def __init__(self, place: AgentPlace, process: asyncio.subprocess.Process) -> None:
        self.place = place
        self._process = process
        self._ended = asyncio.create_task(process.wait())

    async def stop(self) -> int:
        """SIGTERM, then SIGKILL after 5 s; the exit code."""
        if self._process.returncode is None:
            self._process.terminate()
        try:
            return await asyncio.wait_for(asyncio.shield(self._ended), _STOP_DEADLINE_S)
        except TimeoutError:
            self._process.kill()
            return await self._ended

    async def unless_it_ends(self, task: "asyncio.Task[Any]") -> None:
        """Wait for `task`, or raise AgentError if the agent ends first."""
        await asyncio.wait({task, self._ended}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            raise AgentError(
                f"the agent ended with exit code {self._ended.result()}; it said:\n"
                f"{last_lines(self.place.log)}"
            )
        await task


async def start_agent(place: AgentPlace, node: Node | None = None) -> AgentProcess:
    """Start it, on the node where there is one; whether it registers is for the kubelet to see."""
    command = place.command()
    with place.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(node.command(*command) if node else command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment(),
        )
    return AgentProcess(place, process)


async def check_configuration(file: Path) -> None:
    """Raise AgentError with all that `ringbolt config check` finds wrong."""
    await ringbolt("config", "check", str(file))


async def list_devices(place: AgentPlace) -> Mapping[str, Any]:
    """What `ringbolt devices -o json` prints. Raises AgentError."""
    found: dict[str, Any] = json.loads(await _answer(*place.devices_command()))
    return found


async def ringbolt(*words: str) -> None:
    """Run a command of ours. Raises AgentError with what it said."""
    await _answer(sys.executable, "-m", "daemon", *words)


async def _answer(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    out, err = await process.communicate()
    if process.returncode:
        said = (err + out).decode(errors="replace").strip()
        raise AgentError(f"`ringbolt {' '.join(command[3:])}` failed:\n{said}")
    return out


def last_lines(log: Path) -> str:
    """The end of the agent's log."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"  {line}" for line in lines[-_SHOWN_LINES:]) or "  (nothing)"


def environment() -> Mapping[str, str]:
    """Ours, with the place of our own code: the agent runs the same."""
    code = str(Path(__file__).parents[2])
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{code}{os.pathsep}{known}" if known else code}
