"""The demo's volumes: one pod writes, and after the agent's restart another finds what it wrote.

That it is found, and that it cannot be written by a reader, is for the pods to say by how they end.
"""

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from ringbolt.sandbox.ability import Ability, Means
from ringbolt.sandbox.agent_process import start_agent
from ringbolt.sandbox.examples import example
from ringbolt.sandbox.pod_file import load_pods
from ringbolt.sandbox.pod_worker import PodFailedError, PodWorker
from ringbolt.sandbox.report import Report
from ringbolt.sandbox.session import Session

_LOOP_CONTROL = Path("/dev/loop-control")


@dataclass(frozen=True, slots=True)
class VolumeDemo:
    """Shows them in a session; `report` hears of it."""

    session: Session
    report: Report
    ability: Ability

    async def write(self) -> int:
        """A pod writes; 1 if it failed although all it needs is there, else 0."""
        if self.session.kubelet.volumes is None:
            self.report.left_out("pods' volumes: they are mounted on the node, and there is none")
            return 0
        if lack := self._lack:
            self.report.left_out(f"volumes that outlive their pods: {lack}")
            return await self._run("scratch.yaml")
        return await self._run("writer.yaml")

    async def find_again(self) -> int:
        """The agent is ended and started anew, then another pod reads; as `write`."""
        if self.session.kubelet.volumes is None or self._lack:
            return 0
        self.report.agent_restart()
        async with self._restarted_agent():
            return await self._run("reader.yaml")

    @property
    def _lack(self) -> str:
        if self.ability.means is not Means.ROOT:
            return "an image file is mounted by a loop device, which takes root"
        if not _LOOP_CONTROL.exists():
            return f"there is no {_LOOP_CONTROL} (modprobe loop)"
        return ""

    @contextlib.asynccontextmanager
    async def _restarted_agent(self) -> AsyncGenerator[None]:
        """Whoever calls the agent meanwhile waits for it."""
        session = self.session
        await session.agent.stop()
        network = session.runtime.network
        agent = await start_agent(session.agent.place, network.node if network else None)
        try:
            yield
        finally:
            await agent.stop()

    async def _run(self, name: str) -> int:
        (pod,) = load_pods(example(name))
        self.report.pod(f"examples/{name}", pod)
        session = self.session
        worker = PodWorker(session.kubelet, session.runtime, observer=self.report.progress)
        try:
            return 1 if (await worker.run(pod)).exit_code else 0
        except PodFailedError as error:
            self.report.failed(str(error))
            return 1
