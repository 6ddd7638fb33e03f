"""One resource's plugin over its life: generations of a server, each registered and watched.

A generation is a server on a socket name of its own. It is replaced when its socket is wiped, when
the kubelet's own socket is made anew, and when no ListAndWatch stream lives although it is
registered. Up to kubelet 1.36.2 the end of an old stream disconnects whatever plugin then bears the
resource's name (kubernetes/kubernetes#127803), so a generation is drained before the next one
registers, and its stream's absence is what tells that the kubelet has lost us.
"""

import asyncio
import contextlib
import errno
import hashlib
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from daemon.backoff import Backoff
from daemon.directory_watch import DirectoryWatch
from daemon.lean import structlog
from daemon.metrics import Metrics
from daemon.plugin import DevicePlugin
from daemon.registration import Plugin, RegistrationError, Route
from daemon.streams import Ending, Streams
from protos import deviceplugin_v1beta1_pb2_grpc as v1beta1_grpc
from ringbolt.devices.resource import ResourceName

SUN_PATH_MAX = 107
"""Bytes of a unix socket's path (sockaddr_un.sun_path without its final zero)."""
STREAM_TIMEOUT_S = 5.0
"""How long after Register the kubelet may take to open its stream; measured: 8 to 11 ms."""
CHECK_S = 60.0
"""The sockets are looked at this often although no directory event came."""
PREFIX = "rb-"
"""How the names of all our sockets begin."""
DRAIN_S = 1.0
"""How long a generation's streams may take to end before their server is stopped."""
STOP_S = 0.2
"""Grace for calls that still run; without any, and with streams drained, it is not waited out."""
AFTERMATH_S = 0.1
"""A kubelet handles the end of a stream on its own time (measured: within 0.02 s)."""


class SocketError(Exception):
    """The plugin's socket cannot be served; the message says where and why."""


_NO_STREAM = "no stream from the kubelet"

PluginFactory = Callable[[Streams], DevicePlugin]

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Mark:
    """Which file a path names now. An inode number alone may be used again at once (ext4)."""

    device: int
    inode: int
    made_ns: int


def mark(path: Path | None) -> Mark | None:
    """The mark of what lies at `path`; None where nothing does. chmod does not change it."""
    if path is None:
        return None
    try:
        found = path.lstat()
    except OSError:
        return None
    return Mark(found.st_dev, found.st_ino, found.st_mtime_ns)


def unlink_leftovers(directory: Path, prefix: str = PREFIX) -> None:
    """Remove sockets that an earlier agent left: ours by name, and dead.

    A second agent's socket, during a rolling update, answers and is left alone.
    """
    for path in _sockets(directory, prefix):
        if _connect(path) == errno.ECONNREFUSED:
            with contextlib.suppress(OSError):  # a directory that is read-only keeps it
                path.unlink()
                _log.info("leftover removed", socket=path.name)


def _sockets(directory: Path, prefix: str) -> tuple[Path, ...]:
    """The sockets that agents have made there; none where nobody may look."""
    try:
        return tuple(directory.glob(f"{prefix}*.sock"))
    except OSError:
        return ()


class Generation:
    """A server that answers, its streams, and what its socket looked like when it began."""

    def __init__(self, plugin: Plugin, server: grpc.aio.Server, streams: Streams) -> None:
        self.plugin = plugin
        self.streams = streams
        self._server = server
        self._mark = mark(plugin.socket)

    def wiped(self) -> bool:
        """Whether the socket is gone or is somebody else's."""
        return self._mark is None or mark(self.plugin.socket) != self._mark

    async def end(self, ending: Ending) -> None:
        """Let the streams end, stop the server, remove the socket if it is still ours."""
        had_streams = self.streams.live > 0
        self.streams.end(ending)
        await self.streams.drained(DRAIN_S)
        if not self.wiped():
            with contextlib.suppress(OSError):  # what cannot be removed is a leftover for the next
                self.plugin.socket.unlink()
        await self._server.stop(grace=STOP_S)
        if had_streams and ending is Ending.DRAIN:
            await asyncio.sleep(AFTERMATH_S)


class Endpoint:
    """Keeps one resource registered until cancelled; then says farewell."""

    def __init__(
        self,
        resource: ResourceName,
        *,
        route: Route,
        watch: DirectoryWatch,
        make_plugin: PluginFactory,
        metrics: Metrics,
    ) -> None:
        self.resource = resource
        self._route = route
        self._watch = watch
        self._make_plugin = make_plugin
        self._metrics = metrics
        self._nudge = asyncio.Event()
        self._current: Generation | None = None
        self._complaint = ""
        self._prefix = f"{PREFIX}{hashlib.sha256(resource.encode()).hexdigest()[:10]}-"
        self._log = _log.bind(resource=resource)

    @property
    def live(self) -> bool:
        """Whether a kubelet is listening to this resource now."""
        return self._current is not None and self._current.streams.live > 0

    async def run(self) -> None:
        """Serve, register, watch, and begin anew whenever the kubelet has lost us."""
        unsubscribe = self._watch.subscribe(self._route.directory, self._notice)
        backoff = Backoff()
        try:
            while True:
                try:
                    async with self._generation() as generation:
                        cause = await self._serve(generation, backoff)
                except SocketError as error:
                    self._complain("not serving", error)
                    await backoff.pause(self._nudge)
                else:
                    self._log.info("generation over", cause=cause)
        finally:
            unsubscribe()
            self._metrics.forget(self.resource)

    def _complain(self, event: str, error: Exception) -> None:
        """Log what keeps the kubelet away once, not at every attempt."""
        if str(error) != self._complaint:
            self._log.warning(event, error=str(error))
        self._complaint = str(error)

    def _notice(self, path: Path) -> None:
        current = self._current.plugin.socket if self._current else None
        if path in (self._route.directory, self._route.landmark, current):
            self._nudge.set()

    @contextlib.asynccontextmanager
    async def _generation(self) -> AsyncGenerator[Generation]:
        """A new generation, serving; at the end it is drained, or says farewell if cancelled."""
        streams = Streams()
        generation = await self._begin(streams)
        self._current = generation
        ending = Ending.FAREWELL
        try:
            yield generation
            ending = Ending.DRAIN
        finally:
            if self._served_by_another(generation.plugin.socket):
                ending = Ending.DRAIN
            await generation.end(ending)
            self._current = None

    def _served_by_another(self, own: Path) -> bool:
        """Whether a second agent has the resource too, as while a DaemonSet rolls with a surge.

        An empty list would replace that agent's, which sees no reason to send its own again.
        """
        return any(
            path != own and _connect(path) == 0
            for path in _sockets(self._route.directory, self._prefix)
        )

    async def _begin(self, streams: Streams) -> Generation:
        unlink_leftovers(self._route.directory, self._prefix)
        path = self._route.directory / f"{self._prefix}{secrets.token_hex(3)}.sock"
        service = self._make_plugin(streams)
        plugin = Plugin(self.resource, path, service.options)
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        v1beta1_grpc.add_DevicePluginServicer_to_server(service, server)
        self._route.attach(server, plugin)
        await _listen(server, path)
        return Generation(plugin, server, streams)

    async def _serve(self, generation: Generation, backoff: Backoff) -> str:
        """Register and watch one generation; the answer is why it is over."""
        clock = asyncio.get_running_loop().time
        while not generation.wiped():
            landmark = mark(self._route.landmark)
            try:
                await self._route.announce(generation.plugin)
            except (RegistrationError, OSError) as error:
                self._metrics.registered(self.resource, failed=True)
                self._complain("not registered", error)
                await backoff.pause(self._nudge)
                continue
            self._metrics.registered(self.resource, failed=False)
            self._complaint = ""
            self._log.info("registered", socket=generation.plugin.socket.name)
            steady_at = clock() + STREAM_TIMEOUT_S
            cause = await self._lost(generation, landmark)
            if cause is not _NO_STREAM or (generation.streams.opened and clock() > steady_at):
                backoff.reset()
            else:
                await backoff.pause(self._nudge)
            return cause
        return "our socket was removed"

    async def _lost(self, generation: Generation, landmark: Mark | None) -> str:
        """Why the kubelet has lost this generation, once it has."""
        clock = asyncio.get_running_loop().time
        alone_since: float | None = None
        while True:
            self._nudge.clear()
            if generation.wiped():
                return "our socket was removed"
            if mark(self._route.landmark) not in (landmark, None):
                return "the kubelet's socket was made anew"
            if generation.streams.live:
                alone_since = None
                await self._anything(generation, CHECK_S)
                continue
            alone_since = clock() if alone_since is None else alone_since
            patience_s = self._patience_s(generation) - (clock() - alone_since)
            if patience_s <= 0:
                return _NO_STREAM
            await self._anything(generation, patience_s)

    def _patience_s(self, generation: Generation) -> float:
        return self._route.reopen_s if generation.streams.opened else STREAM_TIMEOUT_S

    async def _anything(self, generation: Generation, timeout_s: float) -> None:
        """Return when a stream opens or ends, a socket changes, or the time is over."""
        waits = [
            asyncio.ensure_future(self._nudge.wait()),
            asyncio.ensure_future(generation.streams.changed()),
        ]
        try:
            await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


async def _listen(server: grpc.aio.Server, path: Path) -> None:
    """Serve at `path`. Raises SocketError, whose message is the same for every name of a socket."""
    directory = path.parent
    if len(os.fsencode(path)) > SUN_PATH_MAX:
        raise SocketError(f"{directory}: a socket's path in it exceeds {SUN_PATH_MAX} bytes")
    try:
        if not directory.is_dir():
            raise SocketError(f"{directory}: no such directory; is this the kubelet's?")
        server.add_insecure_port(f"unix:{path}")
        await server.start()
    except (RuntimeError, OSError) as error:
        raise SocketError(f"{directory}: no socket can be made in it; is it writable?") from error


def _connect(path: Path) -> int:
    """Which errno a connection to the socket gives; 0 where somebody listens. Never waits."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            return probe.connect_ex(os.fspath(path))
    except OSError as error:  # no descriptor is left, or the path is too long
        return error.errno or errno.EINVAL
