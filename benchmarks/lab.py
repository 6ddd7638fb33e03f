"""An agent as its own process beside an embedded kubelet: what every measurement starts from."""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from ringbolt.sandbox.events import Event, EventKind
from ringbolt.sandbox.kubelet import Kubelet

TIMEOUT_S = 30.0


class LabError(Exception):
    """The agent did not do what a measurement needs."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A running agent and its kubelet. `started_at_s` is time.monotonic() just before the start."""

    kubelet: Kubelet
    agent: psutil.Process
    started_at_s: float

    async def listed(self, resource: str, count: int, since: int = 0) -> Event:
        """The first list of `count` devices from event number `since` on."""

        def wanted(event: Event) -> bool:
            listed = event.kind is EventKind.LIST and event.resource == resource
            return listed and len(event.devices) == count

        return await self.kubelet.wait_for_event(wanted, TIMEOUT_S, since)

    async def registered(self, resource: str) -> Event:
        """The first registration of the resource."""

        def wanted(event: Event) -> bool:
            return event.kind is EventKind.REGISTERED and event.resource == resource

        return await self.kubelet.wait_for_event(wanted, TIMEOUT_S)

    async def without_healthy(self, resource: str, since: int) -> Event:
        """The first list without a healthy device from event number `since` on."""

        def wanted(event: Event) -> bool:
            listed = event.kind is EventKind.LIST and event.resource == resource
            return listed and "Healthy" not in event.devices.values()

        return await self.kubelet.wait_for_event(wanted, TIMEOUT_S, since)

    def socket(self) -> Path:
        """The agent's plugin socket; there is one resource in every measurement."""
        sockets = [
            path
            for path in self.kubelet.plugins_directory.iterdir()
            if path.is_socket() and path.name != "kubelet.sock"
        ]
        if len(sockets) != 1:
            raise LabError(f"one plugin socket was expected: {sockets}")
        return sockets[0]


def _write(folder: Path, configuration: str) -> Path:
    folder.mkdir()
    config = folder / "config.yaml"
    config.write_text(configuration)
    return config


@asynccontextmanager
async def lab(folder: Path, configuration: str, prefix: Sequence[str] = ()) -> AsyncGenerator[Lab]:
    """Start a kubelet and an agent below `folder`, and stop both. Raises LabError.

    `prefix` is a program that becomes the agent after it has done something.
    """
    config = await asyncio.to_thread(_write, folder, configuration)
    async with Kubelet(folder / "kubelet") as kubelet:
        command = [*prefix, sys.executable, "-m", "daemon", "agent", "--config", str(config)]
        for option in ("kubelet", "run", "state", "cdi"):
            command += [f"--{option}-dir", str(folder / option)]
        with (folder / "agent.log").open("wb") as log:
            started_at_s = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                *command, "--http", "127.0.0.1:0", stdout=log, stderr=log
            )
        try:
            yield Lab(kubelet, psutil.Process(process.pid), started_at_s)
        except TimeoutError as error:
            tail = (folder / "agent.log").read_text()[-2000:]
            raise LabError(f"{error}; the agent's last lines:\n{tail}") from error
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
