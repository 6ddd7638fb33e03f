"""The DevicePlugin service of one resource: wire to values and back, nothing else.

Every ListAndWatch stream is independent of the others and ends with its own RPC. Contract:
k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1 and kubelet pkg/kubelet/cm/devicemanager.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import grpc

from daemon.inventory import Inventory
from daemon.lean import structlog
from daemon.listing import EMPTY, listing
from daemon.metrics import Metrics
from daemon.streams import Ending, Streams
from daemon.supply import AllocationError, NotAllocatableError, Supply, UnknownUnitError
from protos import deviceplugin_v1beta1_pb2 as v1beta1
from protos import deviceplugin_v1beta1_pb2_grpc as v1beta1_grpc
from ringbolt.devices.device import UnitId
from ringbolt.devices.injection import Injection

Context = grpc.aio.ServicerContext[Any, Any]  # the generated stubs do not type their contexts

CODES = {
    UnknownUnitError: grpc.StatusCode.NOT_FOUND,
    NotAllocatableError: grpc.StatusCode.FAILED_PRECONDITION,
    AllocationError: grpc.StatusCode.UNAVAILABLE,
}
"""The one table from this door's errors to gRPC codes."""

DETAILS_CHARACTERS = 500
"""An error travels percent-encoded as a header, and beyond 8 KiB of headers the call breaks."""

_log = structlog.get_logger()


class DevicePlugin(v1beta1_grpc.DevicePluginServicer):
    """Serves one generation; `streams` is its handle on the kubelet's attention."""

    def __init__(
        self, supply: Supply, inventory: Inventory, streams: Streams, metrics: Metrics
    ) -> None:
        self._supply = supply
        self._inventory = inventory
        self._streams = streams
        self._metrics = metrics
        self._log = _log.bind(resource=supply.name)

    @property
    def options(self) -> v1beta1.DevicePluginOptions:
        """What the kubelet may call; it reads them once for each registration."""
        return v1beta1.DevicePluginOptions(
            pre_start_required=self._supply.pre_starts,
            get_preferred_allocation_available=True,
        )

    async def GetDevicePluginOptions(
        self, request: v1beta1.Empty, context: Context
    ) -> v1beta1.DevicePluginOptions:
        """Answer what the kubelet may call."""
        return self.options

    # Written through the context, not yielded: a generator is cleaned up only when collected.
    async def ListAndWatch(  # type: ignore[override]
        self, request: v1beta1.Empty, context: Context
    ) -> None:
        """Send the list, and again whenever it changes, until either side ends the stream."""
        with self._streams.open():
            self._count("stream opened", self._streams.live)
            try:
                await self._stream(context)
            finally:
                self._count("stream ended", self._streams.live - 1)

    def _count(self, event: str, live: int) -> None:
        self._metrics.streams(self._supply.name, live)
        self._log.info(event, live=live)

    async def _stream(self, context: Context) -> None:
        sent: tuple[object, ...] = ()
        version = 0
        while self._streams.ending is None:
            snapshot = self._inventory.snapshot
            if snapshot.version > version and self._supply.name in snapshot.resources:
                view = snapshot.devices[self._supply.name], snapshot.gone[self._supply.name]
                if view != sent:
                    await self._send(context, listing(snapshot, self._supply.name))
                    sent = view
            version = snapshot.version
            await self._newer_or_ending(version)
        if self._streams.ending is Ending.FAREWELL:
            await context.write(EMPTY)

    async def _newer_or_ending(self, version: int) -> None:
        waits = [
            asyncio.ensure_future(self._inventory.newer_than(version)),
            asyncio.ensure_future(self._streams.ended()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _send(self, context: Context, answer: v1beta1.ListAndWatchResponse) -> None:
        await context.write(answer)
        healthy = sum(device.health == "Healthy" for device in answer.devices)
        self._metrics.list_sent(self._supply.name, healthy, len(answer.devices) - healthy)
        self._log.info("list sent", healthy=healthy, unhealthy=len(answer.devices) - healthy)

    async def GetPreferredAllocation(
        self, request: v1beta1.PreferredAllocationRequest, context: Context
    ) -> v1beta1.PreferredAllocationResponse:
        """Answer which of the available units to take; never an error."""
        return v1beta1.PreferredAllocationResponse(
            container_responses=[
                v1beta1.ContainerPreferredAllocationResponse(deviceIDs=self._preferred(asked))
                for asked in request.container_requests
            ]
        )

    def _preferred(self, asked: v1beta1.ContainerPreferredAllocationRequest) -> list[str]:
        """An error here would fail the pod's admission, so any order is better than none."""
        available = list(asked.available_deviceIDs)
        required = list(asked.must_include_deviceIDs)
        try:
            return self._supply.prefer(available, required, asked.allocation_size)
        except Exception:  # noqa: BLE001 - the outermost frame of the call
            self._log.exception("preference failed", size=asked.allocation_size)
            return list(dict.fromkeys((*required, *available)))[: max(asked.allocation_size, 0)]

    async def Allocate(
        self, request: v1beta1.AllocateRequest, context: Context
    ) -> v1beta1.AllocateResponse:
        """Answer what each container gets; one failing container fails the call."""
        started = time.perf_counter()
        asked = [_units(container.devices_ids) for container in request.container_requests]
        try:
            answer = v1beta1.AllocateResponse(
                container_responses=[_answer(self._supply.allocate(units)) for units in asked]
            )
        except AllocationError as error:
            self._called("Allocate", asked, started, error)
            await _abort(context, error)
        self._called("Allocate", asked, started)
        return answer

    async def PreStartContainer(
        self, request: v1beta1.PreStartContainerRequest, context: Context
    ) -> v1beta1.PreStartContainerResponse:
        """Run the resource's pre-start actions, inside the kubelet's 30 s."""
        started = time.perf_counter()
        units = _units(request.devices_ids)
        try:
            await self._supply.prestart(units)
        except AllocationError as error:
            self._called("PreStartContainer", [units], started, error)
            await _abort(context, error)
        self._called("PreStartContainer", [units], started)
        return v1beta1.PreStartContainerResponse()

    def _called(
        self,
        call: str,
        units: Sequence[Sequence[UnitId]],
        started: float,
        error: AllocationError | None = None,
    ) -> None:
        seconds = time.perf_counter() - started
        self._metrics.called(self._supply.name, call, seconds, failed=error is not None)
        log = self._log.bind(call=call, units=units, ms=round(seconds * 1000, 3))
        if error:
            log.warning("call failed", error=str(error))
        else:
            log.info("call")


async def _abort(context: Context, error: AllocationError) -> NoReturn:
    await context.abort(CODES[type(error)], str(error)[:DETAILS_CHARACTERS])


def _units(ids: Sequence[str]) -> list[UnitId]:
    return [UnitId(id_) for id_ in ids]


def _answer(injection: Injection) -> v1beta1.ContainerAllocateResponse:
    return v1beta1.ContainerAllocateResponse(
        envs=injection.env,
        mounts=[
            v1beta1.Mount(
                container_path=mount.container_path,
                host_path=mount.host_path,
                read_only=mount.readonly,
            )
            for mount in injection.mounts
        ],
        devices=[
            v1beta1.DeviceSpec(
                container_path=node.container_path,
                host_path=node.host_path,
                permissions=node.permissions,
            )
            for node in injection.nodes
        ],
        annotations=injection.annotations,
        cdi_devices=[v1beta1.CDIDevice(name=name) for name in injection.cdi],
    )
