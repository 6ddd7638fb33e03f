"""Admission of a container's device requests: choose, ask the plugin, write down its answer.

Source: kubelet pkg/kubelet/cm/devicemanager/manager.go, allocateContainerResources,
devicesToAllocate. What happens at a container's start is `container_start`.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from protos import deviceplugin_v1beta1_pb2 as v1beta1
from ringbolt.sandbox.device_manager import DeviceManager
from ringbolt.sandbox.device_table import numa_nodes
from ringbolt.sandbox.endpoint import (
    CallError,
    Endpoint,
    call_text,
    no_endpoint_text,
)
from ringbolt.sandbox.events import EventKind
from ringbolt.sandbox.pod import ContainerSpec, Pod, RestartPolicy
from ringbolt.sandbox.pod_devices import Allocation, Holding
from ringbolt.sandbox.topology import (
    ANY,
    IMPOSSIBLE,
    Demand,
    Hint,
    Nodes,
    device_hints,
    split_by_affinity,
)
from ringbolt.sandbox.wire_checks import check_answer


class AllocationError(Exception):
    """Why a container cannot have its devices, in the kubelet's words."""


@dataclass(frozen=True, slots=True)
class Request:
    """A container's wish for `size` devices of a resource; `affinity` is a NUMA mask."""

    pod: str
    container: str
    resource: str
    size: int
    affinity: int | None


@dataclass(slots=True)
class _Pick:
    """Devices chosen so far; what is chosen counts as allocated at once."""

    needed: int
    allocated: set[str]
    chosen: set[str] = field(default_factory=set[str])

    def take(self, ids: Iterable[str]) -> bool:
        """As many of `ids` as are still needed. True when nothing more is."""
        for id_ in ids:
            if self.needed and id_ not in self.chosen:
                self.chosen.add(id_)
                self.allocated.add(id_)
                self.needed -= 1
        return not self.needed


class Allocator:
    """Serves one kubelet's admissions, one pod at a time."""

    def __init__(self, manager: DeviceManager) -> None:
        self._manager = manager
        self._reusable: dict[str, set[str]] = {}
        self._reusable_by = ""

    def hints(self, pod: Pod, container: ContainerSpec) -> list[tuple[Hint, ...]]:
        """The topology hints of each device resource of a container."""
        self._manager.free_ended_pods()
        return [
            self._hints(pod, container.name, resource, size)
            for resource, size in container.limits.items()
            if self._manager.is_plugin_resource(resource)
        ] or [(ANY,)]

    def _hints(self, pod: Pod, container: str, resource: str, size: int) -> tuple[Hint, ...]:
        table = self._manager.table
        if not table.has_topology(resource):
            return (ANY,)
        held = self._manager.held.ids(pod.uid, container, resource)
        reusable = self._reusable_of(pod).get(resource, set())
        available = table.healthy.get(resource, set()) - self._manager.allocated.get(
            resource, set()
        )
        demand = Demand(size, held, ()) if held else Demand(size, available, reusable)
        self._check_listed(resource, (*demand.available, *demand.reusable), "while it is held")
        if (len(held) != size) if held else len(available | reusable) < size:
            return (IMPOSSIBLE,)
        hints = device_hints(self._nodes(resource), demand, self._manager.settings.numa_nodes)
        return hints or (IMPOSSIBLE,)

    async def allocate(self, pod: Pod, container: ContainerSpec, affinity: int | None) -> None:
        """Give a container its devices, init containers first. Raises AllocationError."""
        self._reusable_of(pod)
        for resource, size in self._manager.shuffled(container.limits.items()):
            if self._manager.is_plugin_resource(resource):
                self._manager.free_ended_pods()
                request = Request(pod.uid, container.name, resource, size, affinity)
                await self._allocate_resource(request)
        self._pass_on(pod, container)

    def _reusable_of(self, pod: Pod) -> dict[str, set[str]]:
        """What the pod's init containers leave for its next container, by resource."""
        if self._reusable_by != pod.uid:
            self._reusable, self._reusable_by = {}, pod.uid
        return self._reusable

    def _pass_on(self, pod: Pod, container: ContainerSpec) -> None:
        """An init container's devices serve the next one again; a sidecar keeps its own."""
        again = container in pod.init_containers and (
            container.restart_policy is not RestartPolicy.ALWAYS
            or not self._manager.generation.lists_sidecars
        )
        for resource, held in self._manager.held.of(pod.uid, container.name).items():
            reusable = self._reusable.setdefault(resource, set())
            if again:
                reusable |= held.ids
            else:
                reusable -= held.ids

    async def _allocate_resource(self, request: Request) -> None:
        chosen = await self._devices_to_allocate(request)
        if not chosen:
            return
        endpoint = self._manager.table.endpoints.get(request.resource)
        if endpoint is None:
            self._manager.allocated = self._manager.held.allocated()
            raise AllocationError(f"unknown Device Plugin {request.resource}")
        answer = await self._ask(endpoint, chosen)
        self._check_listed(request.resource, chosen, "while its Allocate ran")
        allocation = Allocation(self._by_node(request.resource, chosen), answer)
        self._manager.held.insert(
            Holding(request.pod, request.container, request.resource, allocation)
        )
        self._manager.save()
        self._manager.log.publish(
            EventKind.ALLOCATED,
            resource=request.resource,
            place=(request.pod, request.container),
            devices=dict.fromkeys(sorted(chosen), ""),
        )

    async def _ask(
        self, endpoint: Endpoint, ids: Collection[str]
    ) -> v1beta1.ContainerAllocateResponse:
        """The plugin's answer to Allocate."""
        try:
            answer = await endpoint.allocate(self._manager.shuffled(ids))
        except CallError as error:
            self._manager.allocated = self._manager.held.allocated()
            raise AllocationError(call_text(error)) from error
        for text in check_answer(answer):
            self._manager.log.publish(EventKind.VIOLATION, text, resource=endpoint.resource)
        if not answer.container_responses:
            raise AllocationError("no containers return in allocation response &AllocateResponse{}")
        return answer.container_responses[0]

    async def _devices_to_allocate(self, request: Request) -> set[str]:
        """The ids for which Allocate is to be called; none if the container has all it wants."""
        self._check_request(request)
        if self._manager.held.ids(request.pod, request.container, request.resource) is not None:
            return set()
        resource, allocated = request.resource, self._manager.allocated
        pick = _Pick(request.size, allocated.setdefault(resource, set()))
        if pick.take(self._manager.shuffled(self._reusable.get(resource, ()))):
            return pick.chosen
        available = self._manager.table.healthy[resource] - allocated[resource]
        if len(available) < pick.needed:
            raise AllocationError(
                f"requested number of devices unavailable for {resource}. "
                f"Requested: {pick.needed}, Available: {len(available)}"
            )
        return await self._choose(request, pick, available)

    def _check_request(self, request: Request) -> None:
        """What is refused before anything is chosen."""
        resource = request.resource
        held = self._manager.held.ids(request.pod, request.container, resource)
        if held is not None and len(held) != request.size:
            raise AllocationError(
                f'pod "{request.pod}" container "{request.container}" changed request for resource '
                f'"{resource}" from {len(held)} to {request.size}'
            )
        generation = self._manager.generation
        if held is not None and not generation.checks_health_of_held:
            return
        healthy = self._manager.table.healthy.get(resource)
        if healthy is None:
            raise AllocationError(generation.unregistered_text.format(resource))
        if not generation.checks_health_of_held:
            return
        cannot = f"cannot allocate unhealthy devices {resource}"
        if not healthy:
            raise AllocationError(f"no healthy devices present; {cannot}")
        if held is not None and not held <= healthy:
            raise AllocationError(f"previously allocated devices are no longer healthy; {cannot}")

    async def _choose(self, request: Request, pick: _Pick, available: set[str]) -> set[str]:
        """From the aligned ones if they suffice, the plugin's preference before our own."""
        split = split_by_affinity(self._nodes(request.resource), available, request.affinity)
        if pick.needed < len(split.aligned):
            pool, rest = split.aligned, [split.aligned]
        elif pick.take(self._manager.shuffled(split.aligned)):
            return pick.chosen
        else:
            pool, rest = frozenset(available), [split.elsewhere, split.anywhere]
        preferred = await self._prefer(request, pool | pick.chosen, pick.chosen)
        for ids in (preferred & pool, *rest):
            if pick.take(self._manager.shuffled(ids)):
                return pick.chosen
        raise AllocationError(
            "unexpectedly allocated less resources than required. "
            f"Requested: {request.size}, Got: {request.size - pick.needed}"
        )

    async def _prefer(
        self, request: Request, available: Collection[str], must: Collection[str]
    ) -> frozenset[str]:
        endpoint = self._manager.table.endpoints.get(request.resource)
        if endpoint is None:
            raise AllocationError(no_endpoint_text(request.resource))
        if not endpoint.options.get_preferred_allocation_available:
            return frozenset()
        try:
            preferred = await endpoint.prefer(
                self._manager.shuffled(available), self._manager.shuffled(must), request.size
            )
        except CallError as error:
            raise AllocationError(
                f"device plugin GetPreferredAllocation rpc failed with err: {call_text(error)}"
            ) from error
        self._manager.log.publish(
            EventKind.PREFERRED,
            resource=request.resource,
            place=(request.pod, request.container),
            devices=dict.fromkeys(sorted(preferred), ""),
        )
        return preferred

    def _nodes(self, resource: str) -> Nodes:
        devices = self._manager.table.devices.get(resource, {})
        return {id_: numa_nodes(device) for id_, device in devices.items()}

    def _by_node(self, resource: str, ids: Collection[str]) -> dict[int, tuple[str, ...]]:
        nodes = self._nodes(resource)
        by_node: dict[int, list[str]] = {}
        for id_ in sorted(ids):
            for node in nodes.get(id_) or (self._manager.generation.numa_of_unaligned,):
                by_node.setdefault(node, []).append(id_)
        return {node: tuple(listed) for node, listed in by_node.items()}

    def _check_listed(self, resource: str, ids: Collection[str], when: str) -> None:
        """Kubelets from 1.34 on dereference nil for an id that has left the list."""
        gone = sorted(set(ids) - self._manager.table.devices.get(resource, {}).keys())
        if gone and self._manager.generation.crashes_on_vanished:
            text = f"kubelet would crash here: {', '.join(gone)} left the list {when}"
            self._manager.log.publish(EventKind.VIOLATION, text, resource=resource)
