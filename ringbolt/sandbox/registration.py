"""Who is connected: the Registration service, and one client for each plugin that registered.

Source: kubelet pkg/kubelet/cm/devicemanager/plugin/v1beta1 (1.36), manager.go (1.20).
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from protos import deviceplugin_v1beta1_pb2 as v1beta1
from ringbolt.sandbox.device_manager import DeviceManager
from ringbolt.sandbox.endpoint import Endpoint
from ringbolt.sandbox.events import EventKind
from ringbolt.sandbox.resource_name import is_extended_resource_name
from ringbolt.sandbox.tasks import Tasks
from ringbolt.sandbox.wire import DevicePluginClient, DialError, dial, go_quoted, rpc_text

VERSION = "v1beta1"


class RegistrationError(Exception):
    """Why a plugin was not registered, in the kubelet's words."""


@dataclass(slots=True)
class Faults:
    """What a test makes the kubelet do wrong, as often as it says."""

    skip_streams: int = 0
    """Register is answered, but ListAndWatch is never called (kubernetes#125501)."""
    refuse: int = 0
    """Register is answered with an error."""
    skip_wipes: int = 0
    """A start leaves the plugins' sockets where they are; only kubelet.sock is made anew."""


class Registrar:
    """The plugins' clients of one kubelet process; `directory` is device-plugins/."""

    def __init__(
        self, manager: DeviceManager, directory: Path, tasks: Tasks, faults: Faults
    ) -> None:
        self._manager = manager
        self._directory = directory
        self._tasks = tasks
        self._faults = faults
        self._clients: dict[str, Endpoint] = {}
        self._channels: set[grpc.aio.Channel] = set()

    def handler(self) -> grpc.GenericRpcHandler:
        """The service v1beta1.Registration."""
        register = grpc.unary_unary_rpc_method_handler(
            self._register,
            v1beta1.RegisterRequest.FromString,
            v1beta1.Empty.SerializeToString,
        )
        return grpc.method_handlers_generic_handler("v1beta1.Registration", {"Register": register})

    async def _register(
        self,
        request: v1beta1.RegisterRequest,
        context: "grpc.aio.ServicerContext[v1beta1.RegisterRequest, v1beta1.Empty]",
    ) -> v1beta1.Empty:
        try:
            self._validate(request)
            socket = self._directory / request.endpoint
            if self._manager.generation.synchronous_register:
                await self.connect(request.resource_name, socket)
            else:
                self._tasks.spawn(self._connect_later(request, socket))
        except RegistrationError as error:
            self._refused(request.resource_name, str(error))
            await context.abort(grpc.StatusCode.UNKNOWN, str(error))
        return v1beta1.Empty()

    def _validate(self, request: v1beta1.RegisterRequest) -> None:
        if request.version != VERSION:
            raise RegistrationError(
                f"requested API version {go_quoted(request.version)} is not supported by kubelet. "
                f"Supported version is [{go_quoted(VERSION)}]"
            )
        name = request.resource_name
        if not is_extended_resource_name(name):
            raise RegistrationError(f"the ResourceName {go_quoted(name)} is invalid")
        if self._faults.refuse:
            self._faults.refuse -= 1
            raise RegistrationError("refused, as the test asked")

    def validate_plugin(self, name: str, versions: Collection[str]) -> None:
        """The plugin watcher's checks. Raises RegistrationError."""
        if VERSION not in versions:
            listed = " ".join(versions)
            raise RegistrationError(
                f"manager version, {VERSION}, is not among plugin supported versions [{listed}]"
            )
        if not is_extended_resource_name(name):
            raise RegistrationError(
                "invalid name of device plugin socket: "
                f"the ResourceName {go_quoted(name)} is invalid"
            )

    async def _connect_later(self, request: v1beta1.RegisterRequest, socket: Path) -> None:
        try:
            await self.connect(request.resource_name, socket, request.options)
        except RegistrationError as error:
            self._refused(request.resource_name, str(error))

    def _refused(self, resource: str, text: str) -> None:
        self._manager.log.publish(EventKind.REFUSED, text, resource=resource)

    async def connect(
        self, resource: str, socket: Path, options: v1beta1.DevicePluginOptions | None = None
    ) -> None:
        """Dial back, ask for the options unless `options` count, then follow the plugin's list.

        Raises RegistrationError.
        """
        if not self._manager.generation.options_from_request:
            options = None
        endpoint = Endpoint(resource, socket, options or v1beta1.DevicePluginOptions())
        self._clients[resource] = endpoint
        try:
            await self._dial(endpoint, ask=options is None)
        except RegistrationError:
            self._clients.pop(resource, None)
            raise
        self._manager.table.endpoints[resource] = endpoint
        self._manager.log.publish(EventKind.REGISTERED, socket.name, resource=resource)
        if self._faults.skip_streams:
            self._faults.skip_streams -= 1
        else:
            self._tasks.spawn(self._run(endpoint))

    async def _dial(self, endpoint: Endpoint, *, ask: bool) -> None:
        generation, timings = self._manager.generation, self._manager.settings.timings
        try:
            channel = await dial(endpoint.socket, generation.plugin_authority, timings.dial_s)
        except DialError as error:
            raise RegistrationError(f"failed to dial device plugin: {error}") from error
        self._channels.add(channel)
        endpoint.channel = channel
        if ask:
            plugin = DevicePluginClient(channel)
            try:
                endpoint.options = await plugin.get_device_plugin_options(v1beta1.Empty())
            except grpc.aio.AioRpcError as error:
                text = f"failed to get device plugin options: {rpc_text(error)}"
                raise RegistrationError(text) from error

    async def _run(self, endpoint: Endpoint) -> None:
        log = self._manager.log
        log.publish(EventKind.STREAM_OPENED, endpoint.socket.name, resource=endpoint.resource)
        text = await self._follow(endpoint)
        log.publish(EventKind.STREAM_ENDED, text, resource=endpoint.resource)
        if self._manager.generation.clients_by_name:
            await self.disconnect(endpoint.resource)
        else:
            await self._end(endpoint)

    async def _follow(self, endpoint: Endpoint) -> str:
        """Take every list of the stream; answers how it ended."""
        try:
            async for answer in endpoint.plugin.list_and_watch(v1beta1.Empty()):
                self._manager.receive(endpoint.resource, answer)
        except grpc.aio.AioRpcError as error:
            return rpc_text(error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return "rpc error: code = Canceled desc = grpc: the client connection is closing"
        return "EOF"

    async def disconnect(self, resource: str) -> None:
        """Drop the client that the resource's name finds, which need not be the one that ended."""
        endpoint = self._clients.pop(resource, None)
        if endpoint is not None:
            await self._close(endpoint)
            self._manager.disconnected(resource)

    async def deregister(self, resource: str) -> None:
        """The plugin watcher saw the socket go."""
        if self._manager.generation.clients_by_name:
            await self.disconnect(resource)
        elif (endpoint := self._manager.table.endpoints.get(resource)) is not None:
            await self._close(endpoint)
            endpoint.stopped_s = self._manager.settings.clock()

    async def _end(self, endpoint: Endpoint) -> None:
        await self._close(endpoint)
        if self._manager.table.endpoints.get(endpoint.resource) is endpoint:
            self._manager.disconnected(endpoint.resource)

    async def _close(self, endpoint: Endpoint) -> None:
        if endpoint.channel is not None:
            self._channels.discard(endpoint.channel)
        await endpoint.close()

    async def close(self) -> None:
        """Every connection at once, as when the process dies."""
        for channel in tuple(self._channels):
            await channel.close()
        self._channels.clear()
