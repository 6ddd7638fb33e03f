"""An embedded kubelet: its directory, its sockets, its admissions; the rest of the room composed.

`root` is laid out like /var/lib/kubelet. What outlives a kubelet process (the pods, the node's
status) is kept here; what dies with it is a `_Process`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from ringbolt.sandbox.allocator import AllocationError, Allocator
from ringbolt.sandbox.container_start import cached_options, lacks_devices, pre_start
from ringbolt.sandbox.device_manager import DeviceManager
from ringbolt.sandbox.device_table import Quantity
from ringbolt.sandbox.directory import make_deprecation_file, wipe
from ringbolt.sandbox.events import Event, EventKind, EventLog
from ringbolt.sandbox.generation import V1_36, Generation
from ringbolt.sandbox.plugin_watcher import PluginWatcher
from ringbolt.sandbox.pod import ContainerSpec, Pod, PodUid
from ringbolt.sandbox.pod_records import Phase, PodRecord, PodStatus, pod_status
from ringbolt.sandbox.pod_resources import PodResources
from ringbolt.sandbox.registration import Faults, Registrar
from ringbolt.sandbox.run_options import RunOptions
from ringbolt.sandbox.settings import Settings
from ringbolt.sandbox.tasks import Tasks
from ringbolt.sandbox.topology import merge_hints
from ringbolt.sandbox.volume_manager import VolumeManager
from ringbolt.sandbox.wire import SocketServer

T = TypeVar("T")


class AdmissionError(Exception):
    """The pod is rejected; `reason` and `message` are what its status says."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Admitted:
    """What each container, init containers included, was given when the pod was admitted."""

    pod: Pod
    containers: Mapping[str, RunOptions]


@dataclass(slots=True)
class _Process:
    """What a kubelet process has in memory."""

    manager: DeviceManager
    allocator: Allocator
    registrar: Registrar
    tasks: Tasks


class Kubelet:
    """Several can run in one process. An async context manager; `start` and `stop` may alternate.

    `faults` is for tests: what it does wrong. `log` has everything that happened.
    """

    def __init__(
        self, root: Path, generation: Generation = V1_36, settings: Settings | None = None
    ) -> None:
        self.root = root
        self.generation = generation
        self.settings = settings or Settings()
        self.log = EventLog()
        self.faults = Faults()
        self.volumes: VolumeManager | None = None
        """Mounts pods' flexVolumes; None: they cannot be had here."""
        self._pods: dict[PodUid, PodRecord] = {}
        self._admitting = asyncio.Lock()
        self._process: _Process | None = None
        self._registration: SocketServer | None = None
        self._pod_resources: SocketServer | None = None

    @property
    def plugins_directory(self) -> Path:
        """device-plugins/, where kubelet.sock is."""
        return self.root / "device-plugins"

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._process is not None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
        for server in (self._registration, self._pod_resources):
            if server is not None:
                server.forget()

    async def start(self) -> None:
        """As a kubelet process starts: wipe the plugins' sockets, then make kubelet.sock anew."""
        directory = self.plugins_directory
        for path in (directory, self.root / "pod-resources", self.root / "plugins_registry"):
            path.mkdir(parents=True, exist_ok=True)
        manager = DeviceManager(self.generation, self.settings, directory, self.log, self._active)
        manager.load()
        tasks = Tasks(self.log)
        registrar = Registrar(manager, directory, tasks, self.faults)
        self._process = _Process(manager, Allocator(manager), registrar, tasks)
        if self.faults.skip_wipes:
            self.faults.skip_wipes -= 1
        else:
            wipe(directory, files=self.generation.wipes_files)
        await asyncio.sleep(self.settings.timings.wiped_to_listening_s)
        self._registration = await self._serve(
            self._registration, SocketServer(directory / "kubelet.sock", registrar.handler())
        )
        resources = PodResources(manager, self._listed_pods)
        socket = self.root / "pod-resources" / "kubelet.sock"
        self._pod_resources = await self._serve(
            self._pod_resources, SocketServer(socket, resources.handler())
        )
        make_deprecation_file(directory)
        if self.volumes:
            self.volumes.drivers.forget()
            await self.volumes.clean_up(self._pods)
        watcher = PluginWatcher(self.root / "plugins_registry", manager, registrar, tasks)
        watcher.start()
        self.log.publish(EventKind.STARTED)

    async def _serve(self, last: SocketServer | None, server: SocketServer) -> SocketServer:
        if last is not None:
            last.forget()
        await server.start()
        return server

    async def stop(self) -> None:
        """As a kubelet process dies: every connection ends, every file stays."""
        if self._process is None:
            return
        process, self._process = self._process, None
        for server in (self._registration, self._pod_resources):
            if server is not None:
                await server.stop()
        await process.registrar.close()
        await process.tasks.cancel()
        self.log.publish(EventKind.STOPPED)

    async def restart(self, *, reboot: bool = False) -> None:
        """Stop and start. After a reboot no container runs, so every pod is admitted again."""
        await self.stop()
        await self.start()
        if reboot:
            await self._admit_again()

    async def _admit_again(self) -> None:
        """In no order, and before any plugin can have registered (kubernetes#125579)."""
        manager = self._running.manager
        for record in manager.shuffled(self._pods.values()):
            if record.phase is not Phase.FAILED:
                try:
                    await self._admit(record)
                except AdmissionError as error:
                    self._reject(record, error)

    @property
    def _running(self) -> _Process:
        if self._process is None:
            raise RuntimeError("the kubelet is stopped; await start() first")
        return self._process

    def _active(self) -> set[str]:
        return {uid for uid, record in self._pods.items() if record.phase is Phase.RUNNING}

    def _listed_pods(self) -> list[Pod]:
        """The pods that PodResources List knows."""
        return [
            record.pod
            for record in self._pods.values()
            if record.phase is Phase.RUNNING or not self.generation.active_pods_only
        ]

    async def admit(self, pod: Pod) -> Admitted:
        """Admit a pod that is bound to this node. Raises AdmissionError.

        A resource the node has never heard of is no reason to reject (the kubelet leaves cluster
        wide resources alone); `place` waits for it as a scheduler would.
        """
        record = PodRecord(pod)
        self._pods[pod.uid] = record
        try:
            await self._admit(record)
        except AdmissionError as error:
            self._reject(record, error)
            raise
        self.log.publish(EventKind.ADMITTED, str(pod), place=(pod.uid, ""))
        return self.admitted(pod.uid)

    def admitted(self, uid: PodUid) -> Admitted:
        """A pod's options from the answers that are cached. Raises KeyError for an unknown pod."""
        pod = self._pods[uid].pod
        return Admitted(
            pod, {c.name: cached_options(self._running.manager, pod, c) for c in _containers(pod)}
        )

    async def _admit(self, record: PodRecord) -> None:
        async with self._admitting:
            for container in _containers(record.pod):
                await self._allocate(record, container)
            self._check_fits(record.pod)

    async def _allocate(self, record: PodRecord, container: ContainerSpec) -> None:
        allocator = self._running.allocator
        hints = allocator.hints(record.pod, container)
        affinity, admit = merge_hints(self.settings.policy, hints, self.settings.numa_nodes)
        if not admit:
            raise AdmissionError(
                "TopologyAffinityError",
                "Resources cannot be allocated with Topology locality",
            )
        record.affinity[container.name] = affinity
        try:
            await allocator.allocate(record.pod, container, affinity)
        except AllocationError as error:
            raise AdmissionError(
                "UnexpectedAdmissionError", f"Allocate failed due to {error}, which is unexpected"
            ) from error

    def _check_fits(self, pod: Pod) -> None:
        """The scheduler's own check, repeated by the kubelet after the devices are allocated."""
        others = [
            r.pod for uid, r in self._pods.items() if uid != pod.uid and uid in self._active()
        ]
        allocated = self._running.manager.allocated
        for resource, quantity in self.node_status().items():
            wanted = pod_limit(pod, resource)
            used = sum(pod_limit(other, resource) for other in others)
            capacity = max(quantity.allocatable, len(allocated.get(resource, ())))
            if wanted and used + wanted > capacity:
                raise AdmissionError(
                    f"OutOf{resource}",
                    f"Node didn't have enough resource: {resource}, requested: {wanted}, "
                    f"used: {used}, capacity: {capacity}",
                )

    def _reject(self, record: PodRecord, error: AdmissionError) -> None:
        record.phase = Phase.FAILED
        record.reason = error.reason
        record.message = self.generation.rejection_prefix + error.message
        place = (record.pod.uid, "")
        self.log.publish(EventKind.REJECTED, str(error), place=place)

    def lacks(self, pod: Pod) -> tuple[str, ...]:
        """What the scheduler would say against this node; nothing if the pod fits."""
        status = self.node_status()
        lacking: list[str] = []
        for resource in sorted({r for c in _containers(pod) for r in c.limits}):
            used = sum(
                pod_limit(record.pod, resource)
                for uid, record in self._pods.items()
                if uid in self._active()
            )
            free = status.get(resource, Quantity(0, 0)).allocatable - used
            if pod_limit(pod, resource) > free:
                lacking.append(f"Insufficient {resource}")
        return tuple(lacking)

    async def place(self, pod: Pod, timeout_s: float) -> Admitted:
        """Wait as Pending until the pod fits, then admit it.

        Raises TimeoutError, AdmissionError.
        """
        await self.wait_for(lambda: not self.lacks(pod), timeout_s)
        return await self.admit(pod)

    async def run_options(self, uid: PodUid, container: str) -> RunOptions:
        """What a runtime must ask before every start of a container. Raises AllocationError."""
        record, process = self._pods[uid], self._running
        spec = next(c for c in _containers(record.pod) if c.name == container)
        await pre_start(process.manager, record.pod, spec)
        if lacks_devices(process.manager, record.pod, spec):
            async with self._admitting:
                affinity = record.affinity.get(container)
                await process.allocator.allocate(record.pod, spec, affinity)
        return cached_options(process.manager, record.pod, spec)

    def finish(self, uid: PodUid, *, succeeded: bool = True) -> None:
        """The pod's containers have ended for good; its devices are free at the next admission."""
        record = self._pods[uid]
        record.phase = Phase.SUCCEEDED if succeeded else Phase.FAILED

    async def remove(self, uid: PodUid) -> None:
        """The pod is deleted; its devices are free at the next admission."""
        if self._pods.pop(uid, None) is not None:
            self.log.publish(EventKind.REMOVED, place=(uid, ""))

    def node_status(self) -> Mapping[str, Quantity]:
        """Capacity and allocatable of each resource, as `kubectl describe node` has them."""
        return self._running.manager.node_status()

    def note_addresses(self, uid: PodUid, ips: tuple[str, ...]) -> None:
        """What the runtime says of a pod's network, for its status."""
        self._pods[uid].pod_ips = ips

    def pod_status(self, uid: PodUid) -> PodStatus:
        """Phase, reason, and in 1.36 each device's health. Raises KeyError for an unknown pod."""
        return pod_status(self._pods[uid], self._running.manager)

    def holdings(self, uid: PodUid, container: str) -> Mapping[str, frozenset[str]]:
        """The ids a container holds, by resource."""
        held = self._running.manager.held.of(uid, container)
        return {resource: allocation.ids for resource, allocation in held.items()}

    async def disconnect(self, resource: str) -> None:
        """For tests: drop a plugin's connection and never come back (kubernetes#125501)."""
        await self._running.registrar.disconnect(resource)

    async def wait_for(self, answer: Callable[[], T], timeout_s: float) -> T:
        """The first true value of `answer`, asked now and after every event.

        Raises TimeoutError, with the last events in it.
        """
        return await self.log.until(answer, timeout_s)

    async def wait_for_event(
        self, wanted: Callable[[Event], bool], timeout_s: float, mark: int = 0
    ) -> Event:
        """The first event from number `mark` on that is wanted. Raises TimeoutError."""
        found = await self.log.until(
            lambda: [event for event in self.log.since(mark) if wanted(event)], timeout_s
        )
        return found[0]

    def events(self, mark: int = 0) -> AsyncIterator[Event]:
        """Every event, without end."""
        return self.log.follow(mark)


def _containers(pod: Pod) -> tuple[ContainerSpec, ...]:
    """In the order of admission."""
    return (*pod.init_containers, *pod.containers)


def pod_limit(pod: Pod, resource: str) -> int:
    """What the pod asks of the node: containers together, or its greediest init container."""
    together = sum(c.limits.get(resource, 0) for c in pod.containers)
    return max(
        together, *(c.limits.get(resource, 0) for c in (*pod.init_containers, *pod.containers))
    )
