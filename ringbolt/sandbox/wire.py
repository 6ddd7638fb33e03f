"""gRPC over unix sockets as a kubelet does it: typed calls, dialling, serving. No policy."""

import asyncio
import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import grpc
import grpc.aio

from protos import deviceplugin_v1beta1_pb2 as v1beta1
from protos import pluginregistration_v1_pb2 as registration
from ringbolt.sandbox.generation import Authority

RECEIVE_LIMIT_BYTES = 4 * 1024 * 1024
"""grpc-go's default; the kubelet does not raise it (kubernetes#109304)."""


class DialError(Exception):
    """A plugin's socket could not be reached; the message is the Go dialer's."""


class DevicePluginClient:
    """The five calls of v1beta1.DevicePlugin on one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        service = "/v1beta1.DevicePlugin"
        self.get_device_plugin_options = channel.unary_unary(
            f"{service}/GetDevicePluginOptions",
            v1beta1.Empty.SerializeToString,
            v1beta1.DevicePluginOptions.FromString,
        )
        self.list_and_watch = channel.unary_stream(
            f"{service}/ListAndWatch",
            v1beta1.Empty.SerializeToString,
            v1beta1.ListAndWatchResponse.FromString,
        )
        self.get_preferred_allocation = channel.unary_unary(
            f"{service}/GetPreferredAllocation",
            v1beta1.PreferredAllocationRequest.SerializeToString,
            v1beta1.PreferredAllocationResponse.FromString,
        )
        self.allocate = channel.unary_unary(
            f"{service}/Allocate",
            v1beta1.AllocateRequest.SerializeToString,
            v1beta1.AllocateResponse.FromString,
        )
        self.pre_start_container = channel.unary_unary(
            f"{service}/PreStartContainer",
            v1beta1.PreStartContainerRequest.SerializeToString,
            v1beta1.PreStartContainerResponse.FromString,
        )


class PluginRegistrationClient:
    """The two calls of pluginregistration.Registration on one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        service = "/pluginregistration.Registration"
        self.get_info = channel.unary_unary(
            f"{service}/GetInfo",
            registration.InfoRequest.SerializeToString,
            registration.PluginInfo.FromString,
        )
        self.notify = channel.unary_unary(
            f"{service}/NotifyRegistrationStatus",
            registration.RegistrationStatus.SerializeToString,
            registration.RegistrationStatusResponse.FromString,
        )


async def dial(socket: Path, authority: Authority, timeout_s: float) -> grpc.aio.Channel:
    """A connected channel; blocks until connected as grpc.WithBlock does. Raises DialError."""
    names = {
        Authority.LOCALHOST: "localhost",
        Authority.RAW_PATH: str(socket),
        Authority.ENCODED_PATH: quote(str(socket), safe=""),
    }
    channel = grpc.aio.insecure_channel(
        f"unix:{quote(str(socket))}",
        options=(
            ("grpc.default_authority", names[authority]),
            ("grpc.max_receive_message_length", RECEIVE_LIMIT_BYTES),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
        ),
    )
    try:
        async with asyncio.timeout(timeout_s):
            await channel.channel_ready()
    except TimeoutError:
        await channel.close()
        raise DialError("context deadline exceeded") from None
    except BaseException:
        await channel.close()
        raise
    return channel


def rpc_text(error: grpc.aio.AioRpcError) -> str:
    """The error as grpc-go prints it; users see it in pod status."""
    words = error.code().name.split("_")
    name = "".join(word.capitalize() for word in words).replace("Cancelled", "Canceled")
    return f"rpc error: code = {name} desc = {error.details() or ''}"


def go_quoted(text: str) -> str:
    """`text` as Go's %q prints it."""
    return json.dumps(text, ensure_ascii=False)


class SocketServer:
    """A gRPC server on a unix socket whose file stays when the server ends, as a killed kubelet's.

    The library unlinks the path it bound, so it binds a path aside and `socket` is a link to it;
    whoever watches the directory sees IN_CREATE, as for a bind.
    """

    def __init__(self, socket: Path, handler: grpc.GenericRpcHandler) -> None:
        self._socket = socket
        self._handler = handler
        self._server: grpc.aio.Server | None = None
        self._aside: Path | None = None

    async def start(self) -> None:
        """Listen. An existing socket file is replaced. Raises OSError."""
        self.forget()
        aside = Path(tempfile.mkdtemp(prefix=".s", dir=self._socket.parent.parent))
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        server.add_generic_rpc_handlers((self._handler,))
        server.add_insecure_port(f"unix:{quote(str(aside / 's'))}")
        await server.start()
        with suppress(FileNotFoundError):
            self._socket.unlink()
        os.link(aside / "s", self._socket)
        self._server, self._aside = server, aside

    async def stop(self) -> None:
        """End every call at once; the socket's file stays, untouched and dead."""
        if self._server is None or self._aside is None:
            return
        self._aside = self._aside.rename(f"{self._aside}x")
        await self._server.stop(None)
        self._server = None

    def forget(self) -> None:
        """Remove what `start` put aside. It changes the socket's ctime: once that is gone."""
        if self._aside is not None:
            shutil.rmtree(self._aside, ignore_errors=True)
            self._aside = None
