"""The second way in: sockets that appear below plugins_registry/ are dialled and registered.

Source: kubelet pkg/kubelet/pluginmanager (pluginwatcher, reconciler, operationexecutor).
"""

import asyncio
import itertools
import stat
from dataclasses import dataclass
from pathlib import Path

import asyncinotify
import grpc.aio

from protos import pluginregistration_v1_pb2 as registration
from ringbolt.sandbox.device_manager import DeviceManager
from ringbolt.sandbox.events import EventKind
from ringbolt.sandbox.registration import Registrar, RegistrationError
from ringbolt.sandbox.tasks import Tasks
from ringbolt.sandbox.wire import DialError, PluginRegistrationClient, dial, rpc_text

DEVICE_PLUGIN = "DevicePlugin"
_APPEARED = asyncinotify.Mask.CREATE | asyncinotify.Mask.MOVED_TO
_WATCHED = _APPEARED | asyncinotify.Mask.DELETE


@dataclass(frozen=True, slots=True)
class _Plugin:
    """A registered plugin; `stamp` numbers the socket's appearance."""

    stamp: int
    resource: str


class PluginWatcher:
    """Compares the sockets that should be registered with those that are, at each beat."""

    def __init__(
        self, directory: Path, manager: DeviceManager, registrar: Registrar, tasks: Tasks
    ) -> None:
        self._directory = directory
        self._manager = manager
        self._registrar = registrar
        self._tasks = tasks
        self._stamps = itertools.count(1)
        self._wanted: dict[Path, int] = {}
        self._registered: dict[Path, _Plugin] = {}
        self._busy: set[Path] = set()
        self._back_off_s: dict[Path, float] = {}
        self._not_before_s: dict[Path, float] = {}
        self._work = asyncio.Event()

    def start(self) -> None:
        """Look at what is there, then follow."""
        inotify = asyncinotify.Inotify()
        self._add(inotify, self._directory)
        self._tasks.spawn(self._watch(inotify))
        self._tasks.spawn(self._reconcile())

    async def _watch(self, inotify: asyncinotify.Inotify) -> None:
        with inotify:
            async for event in inotify:
                if event.path is None or event.name is None:
                    continue
                if event.mask & _APPEARED:
                    self._appeared(inotify, event.path)
                elif event.mask & asyncinotify.Mask.DELETE:
                    self._wanted.pop(event.path, None)
                    self._work.set()

    def _add(self, inotify: asyncinotify.Inotify, directory: Path) -> None:
        inotify.add_watch(directory, _WATCHED)
        for path in sorted(directory.iterdir()):
            self._appeared(inotify, path)

    def _appeared(self, inotify: asyncinotify.Inotify, path: Path) -> None:
        if path.name.startswith("."):
            return
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            self._add(inotify, path)
        elif stat.S_ISSOCK(mode):
            self._wanted[path] = next(self._stamps)
            self._work.set()

    async def _reconcile(self) -> None:
        loop = asyncio.get_running_loop()
        beat_s, began_s = self._manager.settings.timings.reconcile_s, loop.time()
        while True:
            await self._work.wait()
            await asyncio.sleep(beat_s - (loop.time() - began_s) % beat_s)
            self._work.clear()
            self._compare(loop.time())

    def _compare(self, now_s: float) -> None:
        for path in tuple(self._wanted.keys() | self._registered):
            if path in self._busy or self._not_before_s.get(path, 0.0) > now_s:
                continue
            plugin, stamp = self._registered.get(path), self._wanted.get(path)
            if plugin is not None and plugin.stamp != stamp:
                self._busy.add(path)
                self._tasks.spawn(self._unregister(path, plugin))
            elif plugin is None and stamp is not None:
                self._busy.add(path)
                self._tasks.spawn(self._register(path, stamp))

    async def _unregister(self, path: Path, plugin: _Plugin) -> None:
        del self._registered[path]
        await self._registrar.deregister(plugin.resource)
        self._done(path)

    async def _register(self, path: Path, stamp: int) -> None:
        try:
            await self._try(path, stamp)
        except RegistrationError as error:
            self._manager.log.publish(EventKind.REFUSED, f"{path.name}: {error}")
            self._later(path)
        else:
            self._back_off_s.pop(path, None)
        self._done(path)

    def _done(self, path: Path) -> None:
        self._busy.discard(path)
        self._work.set()

    def _later(self, path: Path) -> None:
        timings, loop = self._manager.settings.timings, asyncio.get_running_loop()
        delay_s = self._back_off_s.get(path, timings.first_back_off_s)
        self._back_off_s[path] = min(2 * delay_s, timings.longest_back_off_s)
        self._not_before_s[path] = loop.time() + delay_s
        loop.call_later(delay_s, self._work.set)

    async def _try(self, path: Path, stamp: int) -> None:
        """GetInfo, validate, register, notify. Raises RegistrationError."""
        generation, timings = self._manager.generation, self._manager.settings.timings
        try:
            channel = await dial(path, generation.watcher_authority, timings.dial_s)
        except DialError as error:
            raise RegistrationError(
                f"RegisterPlugin error -- dial failed at socket {path}, err: {error}"
            ) from error
        try:
            plugin = PluginRegistrationClient(channel)
            info = await self._get_info(plugin, path)
            await self._introduce(plugin, path, stamp, info)
        finally:
            await channel.close()

    async def _get_info(
        self, plugin: PluginRegistrationClient, path: Path
    ) -> registration.PluginInfo:
        try:
            return await plugin.get_info(
                registration.InfoRequest(), timeout=self._manager.settings.timings.get_info_s
            )
        except grpc.aio.AioRpcError as error:
            raise RegistrationError(
                "RegisterPlugin error -- failed to get plugin info using RPC GetInfo at socket "
                f"{path}, err: {rpc_text(error)}"
            ) from error

    async def _introduce(
        self,
        plugin: PluginRegistrationClient,
        path: Path,
        stamp: int,
        info: registration.PluginInfo,
    ) -> None:
        try:
            self._validate(path, info)
            self._registered[path] = _Plugin(stamp, info.name)
            await self._connect(path, info)
        except RegistrationError as error:
            await self._notify(plugin, path, str(error))
            raise
        await self._notify(plugin, path, "")

    def _validate(self, path: Path, info: registration.PluginInfo) -> None:
        if info.type != DEVICE_PLUGIN:
            raise RegistrationError(
                f"RegisterPlugin error -- no handler registered for plugin type: {info.type} "
                f"at socket {path}"
            )
        try:
            self._registrar.validate_plugin(info.name, info.supported_versions)
        except RegistrationError as error:
            raise RegistrationError(
                f"RegisterPlugin error -- plugin validation failed with err: {error}"
            ) from error

    async def _connect(self, path: Path, info: registration.PluginInfo) -> None:
        socket = Path(info.endpoint) if info.endpoint else path
        try:
            await self._registrar.connect(info.name, socket)
        except RegistrationError as error:
            if self._manager.generation.retries_refused_plugins:
                self._registered.pop(path, None)
            raise RegistrationError(
                f"RegisterPlugin error -- plugin registration failed with err: {error}"
            ) from error

    async def _notify(self, plugin: PluginRegistrationClient, path: Path, text: str) -> None:
        status = registration.RegistrationStatus(plugin_registered=not text, error=text)
        try:
            await plugin.notify(status, timeout=self._manager.settings.timings.notify_s)
        except grpc.aio.AioRpcError as error:
            if not text and self._manager.generation.retries_refused_plugins:
                await self._registrar.deregister(self._registered.pop(path).resource)
            raise RegistrationError(
                f"RegisterPlugin error -- failed to send registration status at socket {path}, "
                f"err: {text}: {rpc_text(error)}"
            ) from error
