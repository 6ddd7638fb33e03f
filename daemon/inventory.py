"""Owner of the newest Snapshot: hints and timers in, immutable versioned Snapshots out.

A hint (uevent, directory change, new configuration, verdict on a device's health) changes nothing
by itself: it leads to a look at the machine. What looks runs in a thread; what decides is a pure
function of `ringbolt.devices`.
"""

import asyncio
import functools
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from daemon import state_file
from daemon.departures import Departures
from daemon.directory_watch import DirectoryWatch, Unsubscribe
from daemon.hints import Hints, Where, hearing_uevents
from daemon.lean import structlog
from daemon.metrics import Metrics
from daemon.offload import in_thread
from ringbolt.devices import plain_paths
from ringbolt.devices.assemble import Assembly, assemble
from ringbolt.devices.device import Device, DeviceId, Snapshot, State
from ringbolt.devices.identity import Memory
from ringbolt.devices.resource import Resource, ResourceName
from ringbolt.devices.scan import UDEV_PATIENCE_S, Scanner
from ringbolt.devices.tree import Tree

RESYNC_S = 60.0
"""A full look although nothing was heard: for what no event tells (a lost one, a bind mount)."""

_log = structlog.get_logger()


class Prepare(Protocol):
    """Makes true what answers refer to (links, CDI files) before a Snapshot is shown.

    Also at every full look, as what others changed there, or what could not be written, is mended
    so.
    """

    def __call__(self, snapshot: Snapshot, *, whole: bool) -> None:
        """`whole`: also what should be true already. It may block, and never raises OSError."""
        ...


class Inventory:
    """Runs the loop look, assemble, publish. `snapshot` is always whole and consistent."""

    def __init__(
        self,
        *,
        scanner: Scanner,
        departures: Departures,
        watch: DirectoryWatch,
        state_dir: Path,
        prepare: Prepare,
        metrics: Metrics,
    ) -> None:
        self._scanner = scanner
        self._departures = departures
        self._watch = watch
        self._identities = state_dir / "identities.json"
        self._memory: Memory = state_file.read(self._identities, Memory.from_json, Memory())
        self._saved = True
        self._prepare = prepare
        self._metrics = metrics
        self._resources: Mapping[ResourceName, Resource] = {}
        self._unfit: Mapping[DeviceId, str] = {}
        self._folders: dict[Path, Unsubscribe] = {}
        self._changed = asyncio.Event()
        self._resync_at = 0.0
        self._plain: Mapping[ResourceName, tuple[str, ...]] = {}
        self.hints = Hints()
        self.snapshot = Snapshot(0, Tree((), lambda _path, _name: None), {}, {}, {})

    async def newer_than(self, version: int) -> Snapshot:
        """The newest Snapshot, once there is one beyond `version`."""
        while self.snapshot.version <= version:
            await self._changed.wait()
        return self.snapshot

    def adopt(self, resources: Iterable[Resource]) -> None:
        """Serve these resources from the next Snapshot on."""
        self._resources = {resource.name: resource for resource in resources}
        self.hints.add(plain=True)

    def judge(self, unfit: Mapping[DeviceId, str]) -> None:
        """Take over which devices fail their health check, and why in words."""
        if unfit != self._unfit:
            self._unfit = dict(unfit)
            self.hints.add()

    async def run(self) -> None:
        """Look, assemble and publish until cancelled."""
        clock = asyncio.get_running_loop().time
        async with hearing_uevents(self.hints):
            while True:
                where = self.hints.take()
                if where.full or clock() >= self._resync_at:
                    self._resync_at = clock() + RESYNC_S
                    where = Where(full=True, plain=True, paths=where.paths)
                try:
                    await self._refresh(where)
                except OSError as error:
                    _log.error("cannot look at this node's devices", error=str(error))
                    self._resync_at = 0.0  # the hints are spent: the next look is at everything
                await self.hints.settled(RESYNC_S)

    async def _refresh(self, where: Where) -> None:
        started = time.perf_counter()
        if where.plain:
            resources = tuple(self._resources.values())
            folders = await in_thread(lambda: plain_paths.directories(resources))
            self._watch_folders(folders)  # before the look: what comes after it is then heard
        tree, assembly = await in_thread(functools.partial(self._look, where))
        self.hints.defer(self._scanner.waiting(), UDEV_PATIENCE_S)
        snapshot = self._compose(tree, assembly)
        changed = not _says_the_same(snapshot, self.snapshot)
        mends = where.full or (where.plain and self._says_where_paths_lead())
        if changed or mends:
            await in_thread(functools.partial(self._prepare, snapshot, whole=where.full))
        seconds = time.perf_counter() - started
        self._metrics.looked(seconds, full=where.full)
        if changed:
            self._publish(snapshot)
            ms = round(seconds * 1000, 1)
            _log.info("devices changed", full=where.full, ms=ms, **_counts(snapshot))
        else:
            self.snapshot = replace(snapshot, version=self.snapshot.version)
        learned = assembly.memory != self._memory
        self._memory = assembly.memory
        if learned or (where.full and not self._saved):
            await in_thread(self._save_identities)  # only now: fsync may take its time

    def _look(self, where: Where) -> tuple[Tree, Assembly]:
        tree = self.snapshot.tree
        if where.full:
            tree = self._scanner.scan()
        elif where.paths:
            tree = self._scanner.rescan(tree, where.paths)
        resources = tuple(self._resources.values())
        if where.plain:
            self._plain = plain_paths.look(resources)
        return tree, assemble(tree, resources, self._memory, self._plain)

    def _save_identities(self) -> None:
        self._saved = False
        try:
            state_file.write(self._identities, self._memory.to_json())
            self._saved = True
        except OSError as error:
            _log.error("identities not saved", path=str(self._identities), error=str(error))

    def _compose(self, tree: Tree, assembly: Assembly) -> Snapshot:
        devices = {
            name: tuple(self._judged(device) for device in assembly.devices.get(name, ()))
            for name in self._resources
        }
        self._departures.note(self.snapshot.devices, devices)
        gone = self._departures.gone(devices)
        return Snapshot(self.snapshot.version + 1, tree, self._resources, devices, gone)

    def _judged(self, device: Device) -> Device:
        if reason := self._unfit.get(device.id):
            return replace(device, state=State.UNHEALTHY, reason=reason)
        return device

    def _says_where_paths_lead(self) -> bool:
        """Whether answers refer to what stands at the end of a path: a link may lead elsewhere."""
        return any(resource.container.needs_cdi for resource in self._resources.values())

    def _publish(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _watch_folders(self, wanted: frozenset[Path]) -> None:
        def _look_again(_path: Path) -> None:
            self.hints.add(plain=True)

        for folder in self._folders.keys() - wanted:
            self._folders.pop(folder)()
        for folder in wanted - self._folders.keys():
            self._folders[folder] = self._watch.subscribe(folder, _look_again)


def _counts(snapshot: Snapshot) -> dict[str, object]:
    return {
        "version": snapshot.version,
        "devices": {name: len(devices) for name, devices in snapshot.devices.items()},
        "gone": {name: len(gone) for name, gone in snapshot.gone.items() if gone},
    }


def _says_the_same(one: Snapshot, other: Snapshot) -> bool:
    return (one.resources, one.devices, one.gone) == (
        other.resources,
        other.devices,
        other.gone,
    ) and other.version > 0
