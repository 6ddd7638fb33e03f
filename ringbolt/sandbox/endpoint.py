"""One registered plugin as the kubelet sees it: its channel, its options, when it stopped.

Source: kubelet pkg/kubelet/cm/devicemanager/endpoint.go.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import grpc.aio

from protos import deviceplugin_v1beta1_pb2 as v1beta1
from ringbolt.sandbox.wire import DevicePluginClient, rpc_text


class EndpointStoppedError(Exception):
    """The plugin's stream has ended, so nothing is asked of it any more."""


CallError = (EndpointStoppedError, grpc.aio.AioRpcError)
"""Everything a call to a plugin can end with."""


def call_text(error: Exception) -> str:
    """The error in the kubelet's words."""
    return rpc_text(error) if isinstance(error, grpc.aio.AioRpcError) else str(error)


def no_endpoint_text(resource: str) -> str:
    """The error for a resource whose grace period is over."""
    return f"endpoint not found in cache for a registered resource: {resource}"


@dataclass(slots=True, eq=False)
class Endpoint:
    """`channel` is None for a resource known from the checkpoint alone; `stopped_s` in clock time.

    Every call raises EndpointStoppedError or grpc.aio.AioRpcError.
    """

    resource: str
    socket: Path
    options: v1beta1.DevicePluginOptions
    channel: grpc.aio.Channel | None = None
    stopped_s: float | None = None

    @property
    def plugin(self) -> DevicePluginClient:
        """The plugin's calls."""
        if self.channel is None or self.stopped_s is not None:
            raise EndpointStoppedError(f"endpoint {self.resource} has been stopped")
        return DevicePluginClient(self.channel)

    async def close(self) -> None:
        """Close the channel; every call on it ends."""
        if self.channel is not None:
            await self.channel.close()

    async def allocate(self, ids: Collection[str]) -> v1beta1.AllocateResponse:
        """One ContainerRequest, no time limit."""
        request = v1beta1.ContainerAllocateRequest(devices_ids=ids)
        return await self.plugin.allocate(v1beta1.AllocateRequest(container_requests=[request]))

    async def prefer(
        self, available: Collection[str], must_include: Collection[str], size: int
    ) -> frozenset[str]:
        """What the plugin would rather give; nothing if it answers nothing. No time limit."""
        request = v1beta1.ContainerPreferredAllocationRequest(
            available_deviceIDs=available, must_include_deviceIDs=must_include, allocation_size=size
        )
        answer = await self.plugin.get_preferred_allocation(
            v1beta1.PreferredAllocationRequest(container_requests=[request])
        )
        responses = answer.container_responses
        return frozenset(responses[0].deviceIDs) if responses else frozenset()

    async def pre_start(self, ids: Collection[str], timeout_s: float) -> None:
        """Before every container start."""
        request = v1beta1.PreStartContainerRequest(devices_ids=ids)
        await self.plugin.pre_start_container(request, timeout=timeout_s)
