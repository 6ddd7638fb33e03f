"""The service v1.PodResourcesLister, with the quirks of each generation.

Source: kubelet pkg/kubelet/apis/podresources, pkg/kubelet/cm/container_manager.go.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import grpc
import grpc.aio

from protos import deviceplugin_v1beta1_pb2 as v1beta1
from protos import podresources_v1_pb2 as v1
from ringbolt.sandbox.device_manager import DeviceManager
from ringbolt.sandbox.device_table import numa_nodes
from ringbolt.sandbox.pod import ContainerSpec, Pod, RestartPolicy
from ringbolt.sandbox.pod_devices import Allocation

Context = grpc.aio.ServicerContext[Any, Any]


class _Bucket:
    """A token bucket; a call that finds it empty is refused, never delayed."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s, self._burst = per_s, burst
        self._tokens, self._last_s = float(burst), time.monotonic()

    def take(self) -> bool:
        now_s = time.monotonic()
        earned = (now_s - self._last_s) * self._per_s
        self._tokens, self._last_s = min(self._burst, self._tokens + earned), now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class PodResources:
    """`pods` answers the pods that List knows."""

    def __init__(self, manager: DeviceManager, pods: Callable[[], Sequence[Pod]]) -> None:
        self._manager = manager
        self._pods = pods
        rate = manager.generation.pod_resources_rate
        self._bucket = None if rate is None else _Bucket(*rate)

    def handler(self) -> grpc.GenericRpcHandler:
        """The methods that this generation has; others answer Unimplemented."""
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "List": grpc.unary_unary_rpc_method_handler(
                self._limited(self._list),
                v1.ListPodResourcesRequest.FromString,
                v1.ListPodResourcesResponse.SerializeToString,
            ),
            "Get": grpc.unary_unary_rpc_method_handler(
                self._limited(self._get),
                v1.GetPodResourcesRequest.FromString,
                v1.GetPodResourcesResponse.SerializeToString,
            ),
            "GetAllocatableResources": grpc.unary_unary_rpc_method_handler(
                self._limited(self._allocatable),
                v1.AllocatableResourcesRequest.FromString,
                v1.AllocatableResourcesResponse.SerializeToString,
            ),
        }
        has = self._manager.generation.pod_resources_methods
        return grpc.method_handlers_generic_handler(
            "v1.PodResourcesLister", {name: methods[name] for name in has}
        )

    def _limited(
        self, method: Callable[[Any, Context], Awaitable[Any]]
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        async def call(request: Any, context: Context) -> Any:
            if self._bucket is not None and not self._bucket.take():
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")
            return await method(request, context)

        return call

    async def _list(
        self, _request: v1.ListPodResourcesRequest, _context: Context
    ) -> v1.ListPodResourcesResponse:
        self._manager.free_ended_pods()
        return v1.ListPodResourcesResponse(pod_resources=map(self._pod, self._pods()))

    async def _get(
        self, request: v1.GetPodResourcesRequest, context: Context
    ) -> v1.GetPodResourcesResponse:
        name, namespace = request.pod_name, request.pod_namespace
        for pod in self._pods():
            if (pod.name, pod.namespace) == (name, namespace):
                return v1.GetPodResourcesResponse(pod_resources=self._pod(pod))
        await context.abort(
            grpc.StatusCode.UNKNOWN, f"pod {name} in namespace {namespace} not found"
        )
        raise AssertionError

    async def _allocatable(
        self, _request: v1.AllocatableResourcesRequest, _context: Context
    ) -> v1.AllocatableResourcesResponse:
        table = self._manager.table
        devices = [
            entry
            for resource, healthy in sorted(table.healthy.items())
            for id_ in self._manager.shuffled(healthy)
            for entry in _entries(resource, id_, _named_nodes(table.devices[resource][id_]))
        ]
        return v1.AllocatableResourcesResponse(devices=devices)

    def _pod(self, pod: Pod) -> v1.PodResources:
        sidecars = [c for c in pod.init_containers if c.restart_policy is RestartPolicy.ALWAYS]
        listed = sidecars if self._manager.generation.lists_sidecars else []
        containers = [self._container(pod, c) for c in (*listed, *pod.containers)]
        return v1.PodResources(name=pod.name, namespace=pod.namespace, containers=containers)

    def _container(self, pod: Pod, container: ContainerSpec) -> v1.ContainerResources:
        held = self._manager.held.of(pod.uid, container.name)
        entries = _held_each if self._manager.generation.entry_per_device else _held_by_node
        devices = [e for resource, found in held.items() for e in entries(resource, found)]
        return v1.ContainerResources(name=container.name, devices=self._manager.shuffled(devices))


def _held_each(resource: str, held: Allocation) -> Iterator[v1.ContainerDevices]:
    """1.36: one entry for each device and node."""
    for id_ in held.ids:
        nodes = tuple(node for node, ids in held.by_node.items() if id_ in ids and node >= 0)
        yield from _entries(resource, id_, nodes or None)


def _held_by_node(resource: str, held: Allocation) -> Iterator[v1.ContainerDevices]:
    """1.20: one entry for each node, node 0 where the device named none."""
    for node, ids in held.by_node.items():
        yield v1.ContainerDevices(resource_name=resource, device_ids=ids, topology=_topology(node))


def _entries(
    resource: str, id_: str, nodes: tuple[int, ...] | None
) -> Iterator[v1.ContainerDevices]:
    """One for each node; one without topology for None; an empty topology leaves none."""
    if nodes is None:
        yield v1.ContainerDevices(resource_name=resource, device_ids=[id_])
    for node in nodes or ():
        yield v1.ContainerDevices(
            resource_name=resource, device_ids=[id_], topology=_topology(node)
        )


def _named_nodes(device: v1beta1.Device) -> tuple[int, ...] | None:
    return numa_nodes(device) if device.HasField("topology") else None


def _topology(node: int) -> v1.TopologyInfo:
    return v1.TopologyInfo(nodes=[v1.NUMANode(ID=node)])
