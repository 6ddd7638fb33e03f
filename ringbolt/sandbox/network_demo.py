"""The demo's network: two pods, the node they run on and a host outside it, who reach each other.

What is reached and how fast is for the pods to say; that it ends well is their exit code.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ringbolt.sandbox.examples import example
from ringbolt.sandbox.node import Node, NodeError
from ringbolt.sandbox.pod import Pod
from ringbolt.sandbox.pod_file import load_pods
from ringbolt.sandbox.pod_network import PodNetwork
from ringbolt.sandbox.pod_worker import PodFailedError, PodWorker, Progress, Step
from ringbolt.sandbox.report import Report
from ringbolt.sandbox.session import Session

_OUTSIDE_HOST = Path(__file__).with_name("outside_host.py")


@dataclass(frozen=True, slots=True)
class NetworkDemo:
    """Shows it in a session; `report` hears of it."""

    session: Session
    report: Report

    async def run(self) -> int:
        """1 if anything failed that this machine can do, else 0."""
        for lack in self.session.network_lacks:
            self.report.left_out(lack)
        network = self.session.runtime.network
        if network is None:
            return 0
        try:
            async with _outside(network.node), self._serving() as ips:
                code = await self._worker(self.report.progress).run(self._client(network, ips))
        except (NodeError, PodFailedError) as error:
            self.report.failed(str(error))
            return 1
        for took_s in network.deleted:
            self.report.took("pod: CNI DEL, the exec of the plugin", took_s)
        return 1 if code.exit_code else 0

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncGenerator[tuple[str, ...]]:
        """The pod that serves, until the context ends; its addresses. Raises PodFailedError."""
        started = asyncio.Event()

        def observe(progress: Progress) -> None:
            self.report.progress(progress)
            if progress.step is Step.STARTED:
                started.set()

        (pod,) = load_pods(example("web.yaml"))
        if not self.session.filters:
            main = pod.containers[0]
            pod = replace(pod, containers=(replace(main, ports=()),))
        self.report.pod("examples/web.yaml", pod)
        serving = asyncio.create_task(self._worker(observe).run(pod))
        waiting = asyncio.create_task(started.wait())
        try:
            await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
                raise PodFailedError(f"{pod} ended before anyone asked it for anything")
            yield self.session.kubelet.pod_status(pod.uid).pod_ips
        finally:
            waiting.cancel()
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving

    def _client(self, network: PodNetwork, web_ips: tuple[str, ...]) -> Pod:
        """The pod that asks, told what it can reach here."""
        (pod,) = load_pods(example("client.yaml"))
        self.report.pod("examples/client.yaml", pod)
        outside = ",".join(str(one.ip) for one in network.node.outside_addresses)
        unfiltered = {"PORT": "", "WEB_IPS": ",".join(web_ips)}
        return _with_env(pod, {"OUTSIDE_IPS": outside} if self.session.filters else unfiltered)

    def _worker(self, observer: Callable[[Progress], None]) -> PodWorker:
        return PodWorker(self.session.kubelet, self.session.runtime, observer=observer)


@contextlib.asynccontextmanager
async def _outside(node: Node) -> AsyncGenerator[None]:
    """The host behind the node's uplink answers while the context lasts. Raises NodeError."""
    host = await asyncio.create_subprocess_exec(
        *node.outside_command(sys.executable, "-SI", str(_OUTSIDE_HOST)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert host.stdout is not None
    try:
        if await host.stdout.readline() != b"ready\n":
            raise NodeError("the host that plays the outside did not start")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            host.kill()
        await host.wait()


def _with_env(pod: Pod, more: Mapping[str, str]) -> Pod:
    main = pod.containers[0]
    return replace(pod, containers=(replace(main, env={**main.env, **more}),))
