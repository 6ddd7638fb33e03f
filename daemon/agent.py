"""The composition root: builds the agent from its options and runs it until it is told to stop.

Everything runs in one TaskGroup; an endless task that ends is an error, and cancellation is the
only stop signal. Nothing is decided here.
"""

import asyncio
import contextlib
import dataclasses
import gc
import importlib
import json
import signal
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import ringbolt
from daemon import report
from daemon.config import Config, difference
from daemon.departures import Departures
from daemon.directory_watch import DirectoryWatch
from daemon.endpoint import Endpoint, unlink_leftovers
from daemon.examinations import Examinations
from daemon.holders import Holders
from daemon.http import Page, Pages, serving
from daemon.injector import Injector
from daemon.inventory import Inventory
from daemon.lean import structlog
from daemon.metrics import Metrics
from daemon.options import Registration
from daemon.plugin import DevicePlugin
from daemon.registration import KubeletSocket, PluginsRegistry, Route
from daemon.reload import ConfigFile
from daemon.streams import Streams
from daemon.supply import Supply
from ringbolt.devices.resource import Resource, ResourceName
from ringbolt.devices.scan import Scanner

if TYPE_CHECKING:
    from daemon.exec_rooms import ExecRooms

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of `ringbolt agent`."""

    config: Path
    kubelet_dir: Path
    run_dir: Path
    state_dir: Path
    cdi_dir: Path
    socket: Path
    http: str


@dataclass(frozen=True, slots=True)
class _Running:
    endpoint: Endpoint
    task: asyncio.Task[None]
    resource: Resource
    route: Route

    def serves(self, resource: Resource | None, route: Route) -> bool:
        """Whether it can go on: the kubelet reads a plugin's options only when it registers."""
        if resource is None or route is not self.route:
            return False
        return (resource.prestart is None) == (self.resource.prestart is None)


class Agent:
    """Holds the parts together and keeps one Endpoint for each configured resource."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._watch = DirectoryWatch()
        self._metrics = Metrics()
        self._scanner = Scanner()
        pod_resources = options.kubelet_dir / "pod-resources" / "kubelet.sock"
        self._holders = Holders(pod_resources)
        self._departures = Departures(self._holders)
        self._watch.subscribe(pod_resources.parent, lambda _path: self._departures.kubelet_came())
        self._injector = Injector(options.run_dir / "devices", options.cdi_dir)
        self._inventory = Inventory(
            scanner=self._scanner,
            departures=self._departures,
            watch=self._watch,
            state_dir=options.state_dir,
            prepare=self._injector.prepare,
            metrics=self._metrics,
        )
        self._config_file = ConfigFile(options.config, self._watch)
        self._running: dict[ResourceName, _Running] = {}
        self._routes: dict[Registration, Route] = {
            Registration.KUBELET_SOCKET: KubeletSocket(options.kubelet_dir),
            Registration.PLUGINS_REGISTRY: PluginsRegistry(options.kubelet_dir),
        }
        self._config = Config()
        self._rooms: ExecRooms | None = None
        self._tasks = asyncio.TaskGroup()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises ConfigError, OSError before serving anything."""
        config = self._config_file.first()
        stop = self._handle_signals()
        pages: Pages = {
            "/healthz": self._healthz,
            "/metrics": self._exposition,
            "/devices": self._devices,
        }
        async with serving(self._options.http, pages), self._tasks:
            tasks = [
                self._endless(self._watch.run(), "directory watch"),
                self._endless(self._inventory.run(), "inventory"),
                self._endless(self._departures.run(self._inventory.hints.add), "departures"),
                self._endless(Examinations(self._inventory).run(), "examinations"),
                self._endless(self._reloading(config), "configuration"),
                self._endless(self._serve_pods(), "pods' networks and volumes"),
            ]
            for route in self._routes.values():  # also of resources that are configured no more
                unlink_leftovers(route.directory)
            self._adopt(config)
            tasks.append(self._tasks.create_task(self._spare_the_collector()))
            _log.info("agent started", version=ringbolt.__version__, resources=list(self._running))
            for lack in self._scanner.lacks():
                _log.warning("this node lacks", lack=lack)
            await stop.wait()
            await self._stop(tasks)
            _end_children()
        if self._rooms:
            await asyncio.to_thread(self._rooms.close)
        _log.info("agent stopped")

    async def _serve_pods(self) -> None:
        """Networks and volumes, loaded once the devices are found."""
        await self._inventory.newer_than(0)
        loaded = await asyncio.to_thread(importlib.import_module, "daemon.exec_rooms")
        options = self._options
        paths = loaded.Paths(
            options.run_dir, options.state_dir, options.kubelet_dir, options.socket
        )
        rooms: ExecRooms = loaded.ExecRooms(paths, self._watch, self._metrics)
        rooms.adopt(self._config)
        self._rooms = rooms
        await rooms.run()

    async def _spare_the_collector(self) -> None:
        """Leave what lives as long as the agent out of full collections.

        With 1,000 devices one takes some 20 ms, in the middle of a kubelet's call.
        """
        await self._inventory.newer_than(0)
        gc.collect()
        gc.freeze()

    def _handle_signals(self) -> asyncio.Event:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._config_file.nudge)
        return stop

    def _endless(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        async def guarded() -> None:
            await work
            raise RuntimeError(f"{name} ended although it should run for ever")

        return self._tasks.create_task(guarded(), name=name)

    async def _reloading(self, config: Config) -> None:
        while True:
            new = await self._config_file.next()
            self._adopt(new)
            changes = dataclasses.asdict(difference(config, new))
            _log.info("configuration adopted", resources=list(self._running), **changes)
            config = new

    def _adopt(self, config: Config) -> None:
        """Start, stop and keep endpoints; the others' streams notice nothing."""
        self._inventory.adopt(config.resources)
        self._config = config
        if self._rooms:
            self._rooms.adopt(config)
        wanted = {resource.name: resource for resource in config.resources}
        route = self._routes[config.kubelet.registration]
        ended = {
            name: running.task
            for name, running in self._running.items()
            if not running.serves(wanted.get(name), route)
        }
        for name, task in ended.items():
            task.cancel()
            del self._running[name]
        for name, resource in wanted.items():
            if name not in self._running:
                self._running[name] = self._start(resource, route, ended.get(name))

    def _start(
        self, resource: Resource, route: Route, predecessor: asyncio.Task[None] | None
    ) -> _Running:
        supply = Supply(resource, self._inventory, self._holders, self._injector)

        def make_plugin(streams: Streams) -> DevicePlugin:
            return DevicePlugin(supply, self._inventory, streams, self._metrics)

        endpoint = Endpoint(
            resource.name,
            route=route,
            watch=self._watch,
            make_plugin=make_plugin,
            metrics=self._metrics,
        )

        async def run() -> None:
            if predecessor:  # its streams must be over before the name is registered again
                await asyncio.wait([predecessor])
            await endpoint.run()

        return _Running(endpoint, self._endless(run(), resource.name), resource, route)

    async def _stop(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        """Say farewell to the kubelet first, then end everything else."""
        endpoints = [running.task for running in self._running.values()]
        for task in endpoints:
            task.cancel()
        await asyncio.gather(*endpoints, return_exceptions=True)
        for task in tasks:
            task.cancel()

    def _healthz(self) -> Page:
        silent = [name for name, running in self._running.items() if not running.endpoint.live]
        if not silent:
            return Page(b"ok\n")
        text = "no kubelet listens to: " + ", ".join(sorted(silent)) + "\n"
        return Page(text.encode(), HTTPStatus.SERVICE_UNAVAILABLE)

    async def _exposition(self) -> Page:
        if self._rooms:
            await self._rooms.measure()
        return Page(self._metrics.exposition(), content_type="text/plain; version=0.0.4")

    def _devices(self) -> Page:
        rows = report.rows(self._inventory.snapshot, self._holders.held())
        return Page(json.dumps(rows, indent=1).encode(), content_type="application/json")


def _end_children() -> None:
    """Kill what health checks and pre-start commands left running: it must not outlive us."""
    import psutil  # noqa: PLC0415 - only the end needs it

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
