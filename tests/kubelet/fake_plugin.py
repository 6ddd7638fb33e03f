"""A minimal, well-behaved device plugin, and what a test may make it do badly."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from protos import deviceplugin_v1beta1_pb2 as v1beta1
from protos import deviceplugin_v1beta1_pb2_grpc as v1beta1_grpc
from protos import pluginregistration_v1_pb2 as registration
from protos import pluginregistration_v1_pb2_grpc as registration_grpc

Answer = Callable[[v1beta1.AllocateRequest], Coroutine[Any, Any, v1beta1.AllocateResponse]]


def device(id_: str, *nodes: int, health: str = "Healthy") -> v1beta1.Device:
    found = v1beta1.Device(ID=id_, health=health)
    found.topology.nodes.extend(v1beta1.NUMANode(ID=node) for node in nodes)
    if not nodes:
        found.ClearField("topology")
    return found


def answer(**fields: Any) -> v1beta1.AllocateResponse:
    return v1beta1.AllocateResponse(
        container_responses=[v1beta1.ContainerAllocateResponse(**fields)]
    )


class FakePlugin(v1beta1_grpc.DevicePluginServicer, registration_grpc.RegistrationServicer):
    """`allocate`, `preferred` (ids, or None to fail) and `pre_start` are for a test to set."""

    def __init__(self, socket: Path, resource: str = "example.com/thing") -> None:
        self.socket = socket
        self.resource = resource
        self.options = v1beta1.DevicePluginOptions()
        self.devices: tuple[v1beta1.Device, ...] = (device("a"), device("b"), device("c"))
        self.allocations: list[list[str]] = []
        self.preferences: list[v1beta1.ContainerPreferredAllocationRequest] = []
        self.pre_starts: list[list[str]] = []
        self.notices: list[registration.RegistrationStatus] = []
        self.preferred: tuple[str, ...] | None = ()
        self.allocate: Answer = self._environment
        self.pre_start: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.info = registration.PluginInfo(
            type="DevicePlugin", name=resource, supported_versions=["v1beta1"]
        )
        self._news = asyncio.Event()
        self._server = grpc.aio.server()
        v1beta1_grpc.add_DevicePluginServicer_to_server(self, self._server)
        registration_grpc.add_RegistrationServicer_to_server(self, self._server)

    async def __aenter__(self) -> Self:
        self._server.add_insecure_port(f"unix:{self.socket}")
        await self._server.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End every stream, as a plugin does that drains."""
        await self._server.stop(None)

    def show(self, *devices: v1beta1.Device) -> None:
        """Send a new list on every stream."""
        self.devices = devices
        self._news.set()
        self._news = asyncio.Event()

    async def register(self, kubelet_socket: Path, **fields: Any) -> None:
        """Raises AioRpcError."""
        request = v1beta1.RegisterRequest(
            version="v1beta1",
            endpoint=self.socket.name,
            resource_name=self.resource,
            options=self.options,
        )
        request.MergeFrom(v1beta1.RegisterRequest(**fields))
        async with grpc.aio.insecure_channel(
            f"unix:{kubelet_socket}", options=(("grpc.use_local_subchannel_pool", 1),)
        ) as channel:
            await v1beta1_grpc.RegistrationStub(channel).Register(request, wait_for_ready=True)

    async def _environment(self, request: v1beta1.AllocateRequest) -> v1beta1.AllocateResponse:
        ids = ",".join(sorted(request.container_requests[0].devices_ids))
        return answer(envs={f"{self.resource.rpartition('/')[2].upper()}_IDS": ids})

    async def GetDevicePluginOptions(  # noqa: N802
        self, _request: v1beta1.Empty, _context: Any
    ) -> v1beta1.DevicePluginOptions:
        return self.options

    async def ListAndWatch(  # noqa: N802
        self, _request: v1beta1.Empty, _context: Any
    ) -> AsyncIterator[v1beta1.ListAndWatchResponse]:
        while True:
            news = self._news
            yield v1beta1.ListAndWatchResponse(devices=self.devices)
            await news.wait()

    async def GetPreferredAllocation(  # noqa: N802
        self, request: v1beta1.PreferredAllocationRequest, context: Any
    ) -> v1beta1.PreferredAllocationResponse:
        self.preferences.extend(request.container_requests)
        if self.preferred is None:
            await context.abort(grpc.StatusCode.INTERNAL, "lost a device")
        response = v1beta1.ContainerPreferredAllocationResponse(deviceIDs=self.preferred)
        return v1beta1.PreferredAllocationResponse(container_responses=[response])

    async def Allocate(  # noqa: N802
        self, request: v1beta1.AllocateRequest, _context: Any
    ) -> v1beta1.AllocateResponse:
        self.allocations += [list(asked.devices_ids) for asked in request.container_requests]
        return await self.allocate(request)

    async def PreStartContainer(  # noqa: N802
        self, request: v1beta1.PreStartContainerRequest, _context: Any
    ) -> v1beta1.PreStartContainerResponse:
        self.pre_starts.append(sorted(request.devices_ids))
        if self.pre_start is not None:
            await self.pre_start()
        return v1beta1.PreStartContainerResponse()

    async def GetInfo(  # noqa: N802
        self, _request: registration.InfoRequest, _context: Any
    ) -> registration.PluginInfo:
        return self.info

    async def NotifyRegistrationStatus(  # noqa: N802
        self, request: registration.RegistrationStatus, _context: Any
    ) -> registration.RegistrationStatusResponse:
        self.notices.append(request)
        return registration.RegistrationStatusResponse()


def healths(devices: Iterable[v1beta1.Device]) -> Mapping[str, str]:
    return {found.ID: found.health for found in devices}
