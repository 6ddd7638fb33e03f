"""The two ways to make a plugin known to the kubelet, behind one shape.

`KubeletSocket` calls Register on device-plugins/kubelet.sock (kubelet pkg/kubelet/cm/devicemanager
plugin/v1beta1/server.go): while it runs, the kubelet dials back, so the plugin must be serving.
`PluginsRegistry` only lays a socket into plugins_registry/ and waits to be found
(pkg/kubelet/pluginmanager); the kubelet finds it again by itself after a restart.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc

from protos import deviceplugin_v1beta1_pb2 as v1beta1
from protos import deviceplugin_v1beta1_pb2_grpc as v1beta1_grpc
from protos import pluginregistration_v1_pb2 as registration_v1
from protos import pluginregistration_v1_pb2_grpc as registration_v1_grpc
from ringbolt.devices.resource import ResourceName

VERSION = "v1beta1"
REGISTER_TIMEOUT_S = 15.0
"""Above the 10 s that the kubelet itself allows for dialling back inside Register."""
FOUND_TIMEOUT_S = 60.0
"""How long the plugin watcher may take to find a socket before a new one is laid out."""


class RegistrationError(Exception):
    """The kubelet did not take the plugin; the message says why and at which socket."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """What the kubelet must know of one generation of a plugin."""

    resource: ResourceName
    socket: Path
    options: v1beta1.DevicePluginOptions


class Route(Protocol):
    """One way to the kubelet.

    `directory` is where sockets lie, `landmark` what a kubelet's restart makes anew, `reopen_s` how
    long a plugin whose stream ended waits for the kubelet to come back by itself.
    """

    directory: Path
    landmark: Path | None
    reopen_s: float

    def attach(self, server: grpc.aio.Server, plugin: Plugin) -> None:
        """Add to the plugin's own server what the route needs served."""
        ...

    async def announce(self, plugin: Plugin) -> None:
        """Return once the kubelet has taken the plugin; raise RegistrationError if it has not."""
        ...


class KubeletSocket:
    """Register by a call on kubelet.sock. The kubelet never dials a plugin again by itself."""

    reopen_s = 0.5

    def __init__(self, kubelet_dir: Path) -> None:
        self.directory = kubelet_dir / "device-plugins"
        self._kubelet = self.directory / "kubelet.sock"
        self.landmark: Path | None = self._kubelet

    def attach(self, server: grpc.aio.Server, plugin: Plugin) -> None:
        """Nothing: the kubelet serves this side."""

    async def announce(self, plugin: Plugin) -> None:
        """Call Register with the socket's name relative to the directory."""
        if not self._kubelet.exists():
            raise RegistrationError(f"{self._kubelet}: no such socket; is the kubelet running?")
        request = v1beta1.RegisterRequest(
            version=VERSION,
            endpoint=plugin.socket.name,
            resource_name=plugin.resource,
            options=plugin.options,
        )
        options = (
            ("grpc.use_local_subchannel_pool", 1),  # else it shares the others' refusals for 1 s
            ("grpc.enable_http_proxy", 0),
            ("grpc.default_authority", "localhost"),
        )
        async with grpc.aio.insecure_channel(f"unix:{self._kubelet}", options=options) as channel:
            try:
                await v1beta1_grpc.RegistrationStub(channel).Register(
                    request, timeout=REGISTER_TIMEOUT_S
                )
            except grpc.aio.AioRpcError as error:
                raise RegistrationError(
                    f"{self._kubelet}: Register: {error.code().name}: {error.details()}"
                ) from error


class PluginsRegistry:
    """Be found by the kubelet's plugin watcher, which also comes back after a restart."""

    reopen_s = 2.0
    """Twice the watcher's beat. It only comes back by itself if it was it that went: not when it
    took the end of another agent's socket for the end of this one (kubelet <= 1.36.2)."""

    def __init__(self, kubelet_dir: Path) -> None:
        self.directory = kubelet_dir / "plugins_registry"
        self.landmark: Path | None = None
        self._infos: dict[ResourceName, _Info] = {}

    def attach(self, server: grpc.aio.Server, plugin: Plugin) -> None:
        """Serve GetInfo and NotifyRegistrationStatus beside the plugin itself."""
        self._infos[plugin.resource] = info = _Info(plugin)
        registration_v1_grpc.add_RegistrationServicer_to_server(info, server)

    async def announce(self, plugin: Plugin) -> None:
        """Wait until the kubelet has found the socket and says what it makes of it."""
        try:
            async with asyncio.timeout(FOUND_TIMEOUT_S):
                refused = await self._infos[plugin.resource].verdict()
        except TimeoutError:
            raise RegistrationError(f"{plugin.socket}: not found by the kubelet so far") from None
        if refused:
            raise RegistrationError(f"{plugin.socket}: refused by the kubelet: {refused}")


class _Info(registration_v1_grpc.RegistrationServicer):
    """What the plugin watcher asks of one generation."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin
        self._verdicts: asyncio.Queue[str] = asyncio.Queue()

    async def verdict(self) -> str:
        """The kubelet's next word on the plugin: "" if it took it, else its error."""
        return await self._verdicts.get()

    async def GetInfo(
        self, request: registration_v1.InfoRequest, context: object
    ) -> registration_v1.PluginInfo:
        return registration_v1.PluginInfo(
            type="DevicePlugin",
            name=self._plugin.resource,
            endpoint=str(self._plugin.socket),
            supported_versions=[VERSION],
        )

    async def NotifyRegistrationStatus(
        self, request: registration_v1.RegistrationStatus, context: object
    ) -> registration_v1.RegistrationStatusResponse:
        error = "" if request.plugin_registered else request.error or "no reason given"
        self._verdicts.put_nowait(error)
        return registration_v1.RegistrationStatusResponse()
