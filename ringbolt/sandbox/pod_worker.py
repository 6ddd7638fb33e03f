"""One pod's life: placed, admitted, its containers started in order, restarted, ended.

What the kubelet's pod worker does between the device manager and the runtime.
"""

import asyncio
import contextlib
import enum
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ringbolt.sandbox.allocator import AllocationError
from ringbolt.sandbox.container_process import ContainerProcess, StartError
from ringbolt.sandbox.host_devices import CreateError
from ringbolt.sandbox.kubelet import AdmissionError, Admitted, Kubelet
from ringbolt.sandbox.pod import ContainerSpec, Pod, RestartPolicy
from ringbolt.sandbox.pod_network import NetworkError
from ringbolt.sandbox.runtime import PodSandbox, Runtime
from ringbolt.sandbox.volume_manager import VolumeError

_LONGEST_BACK_OFF_S = 300.0


class Step(enum.Enum):
    """What a pod has come to."""

    ADMITTED = "admitted"
    MOUNTED = "mounted"
    NETWORKED = "networked"
    STARTED = "started"
    ENDED = "ended"
    BACKING_OFF = "backing off"


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a pod; `took_s` is what it cost, `detail` says the rest in words."""

    step: Step
    pod: Pod
    container: str = ""
    took_s: float = 0.0
    detail: str = ""
    admitted: Admitted | None = None


class PodFailedError(Exception):
    """The pod could not be run; the message begins with the reason that a status would have."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How each of the pod's containers ended at last."""

    exit_codes: dict[str, int]

    @property
    def exit_code(self) -> int:
        """The first that is not 0, else 0."""
        return next((code for code in self.exit_codes.values() if code), 0)


def _ignore(_: Progress) -> None:
    """No one looks."""


@dataclass(frozen=True, slots=True)
class PodWorker:
    """Runs pods on a kubelet and a runtime.

    `patience_s`: how long a pod may wait for devices; `terminal`: a descriptor that is every
    container's standard input, for a shell; `first_back_off_s`: the kubelet's, doubled each time.
    """

    kubelet: Kubelet
    runtime: Runtime
    patience_s: float = 10.0
    observer: Callable[[Progress], None] = field(default=_ignore)
    terminal: int | None = None
    first_back_off_s: float = 10.0

    async def run(self, pod: Pod) -> Outcome:
        """Run the pod until its containers have ended for good, and delete it.

        Raises PodFailedError.
        """
        try:
            await self._place(pod)
            async with self._volumes(pod) as volumes, self.runtime.pod(pod, volumes) as sandbox:
                self._tell_addresses(sandbox)
                await self._initialise(sandbox)
                codes = await asyncio.gather(*(self._keep(sandbox, c) for c in pod.containers))
        except (CreateError, StartError, AllocationError, NetworkError, VolumeError) as error:
            raise PodFailedError(f"{_REASONS[type(error)]}: {error}") from error
        finally:
            await self.kubelet.remove(pod.uid)
        return Outcome(dict(zip((c.name for c in pod.containers), codes, strict=True)))

    async def _place(self, pod: Pod) -> None:
        began = time.monotonic()
        try:
            await self.kubelet.wait_for(lambda: not self.kubelet.lacks(pod), self.patience_s)
            began = time.monotonic()
            admitted = await self.kubelet.admit(pod)
        except TimeoutError as error:
            lacking = ", ".join(self.kubelet.lacks(pod))
            raise PodFailedError(
                f"Pending: 0/1 nodes are available: 1 {lacking}. `ringbolt devices` shows what the "
                "agent found; `ringbolt explain device NODE` says why a node is not taken"
            ) from error
        except AdmissionError as error:
            raise PodFailedError(str(error)) from error
        took = time.monotonic() - began
        self.observer(Progress(Step.ADMITTED, pod, took_s=took, admitted=admitted))

    @contextlib.asynccontextmanager
    async def _volumes(self, pod: Pod) -> AsyncGenerator[Mapping[str, Path]]:
        """The pod's flexVolumes are mounted while the context lasts. Raises VolumeError."""
        named = [one.name for one in pod.volumes if one.flex]
        if not named:
            yield {}
            return
        manager = self.kubelet.volumes
        if manager is None:
            raise VolumeError(f'volume "{named[0]}": there is no node here to mount it on')
        try:
            mounted = await manager.mount(pod, self.patience_s)
            detail = ", ".join(named)
            self.observer(Progress(Step.MOUNTED, pod, took_s=mounted.took_s, detail=detail))
            yield mounted.paths
        finally:
            await manager.unmount(pod.uid)

    def _tell_addresses(self, sandbox: PodSandbox) -> None:
        ips = sandbox.addresses.ips
        self.kubelet.note_addresses(sandbox.pod.uid, ips)
        if ips and not sandbox.pod.host_network:
            took_s = sandbox.addresses.added_s
            self.observer(
                Progress(Step.NETWORKED, sandbox.pod, took_s=took_s, detail=", ".join(ips))
            )

    async def _initialise(self, sandbox: PodSandbox) -> None:
        for spec in sandbox.pod.init_containers:
            if spec.restart_policy is RestartPolicy.ALWAYS:
                await self._start(sandbox, spec)
            elif code := await self._keep(sandbox, spec, until_success=True):
                raise PodFailedError(f"Init:Error: {spec.name} ended with exit code {code}")

    async def _keep(
        self, sandbox: PodSandbox, spec: ContainerSpec, *, until_success: bool = False
    ) -> int:
        """Run a container as often as the pod's policy says; its last exit code."""
        policy = sandbox.pod.restart_policy
        if until_success and policy is RestartPolicy.ALWAYS:
            policy = RestartPolicy.ON_FAILURE
        back_off_s = self.first_back_off_s
        while True:
            container = await self._start(sandbox, spec)
            began = time.monotonic()
            code = await self._wait(container, sandbox.pod)
            took = time.monotonic() - began
            self._tell(Step.ENDED, sandbox, spec, took, f"exit code {code}")
            if not policy.again(code):
                return code
            self._tell(Step.BACKING_OFF, sandbox, spec, back_off_s)
            await asyncio.sleep(back_off_s)
            back_off_s = min(2 * back_off_s, _LONGEST_BACK_OFF_S)

    async def _wait(self, container: ContainerProcess, pod: Pod) -> int:
        """Its exit code; on cancellation it is asked to end, and has the pod's grace for it."""
        try:
            return await container.wait()
        except asyncio.CancelledError:
            await container.stop(pod.grace_s)
            raise

    async def _start(self, sandbox: PodSandbox, spec: ContainerSpec) -> ContainerProcess:
        began = time.monotonic()
        options = await self.kubelet.run_options(sandbox.pod.uid, spec.name)
        container = await sandbox.start(spec, options, terminal=self.terminal)
        self._tell(Step.STARTED, sandbox, spec, time.monotonic() - began)
        return container

    def _tell(
        self, step: Step, sandbox: PodSandbox, spec: ContainerSpec, took_s: float, detail: str = ""
    ) -> None:
        self.observer(Progress(step, sandbox.pod, spec.name, took_s, detail))


_REASONS: dict[type[Exception], str] = {
    CreateError: "CreateContainerError",
    StartError: "RunContainerError",
    AllocationError: "CreateContainerConfigError",
    NetworkError: "FailedCreatePodSandBox",
    VolumeError: "FailedMount",
}
