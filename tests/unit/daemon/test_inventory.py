"""Looks that fail, and what is made true again although nothing changed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import cast

import pytest

from daemon import inventory as inventory_module
from daemon.departures import Departures
from daemon.directory_watch import DirectoryWatch
from daemon.hints import Hints
from daemon.inventory import Inventory
from daemon.metrics import Metrics
from ringbolt.devices.device import Snapshot
from ringbolt.devices.scan import Scanner
from ringbolt.devices.tree import Tree


class Machine:
    """A scanner and a preparation; `prepared` has what it was asked, `failures` looks fail."""

    def __init__(self) -> None:
        self.failures = 0
        self.failed = asyncio.Event()
        self.prepared: asyncio.Queue[bool] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def scan(self) -> Tree:
        if self.failures:
            self.failures -= 1
            self._loop.call_soon_threadsafe(self.failed.set)
            raise OSError(5, "Input/output error")
        return Tree((), lambda _path, _name: None)

    def waiting(self) -> frozenset[str]:
        return frozenset()

    def prepare(self, snapshot: Snapshot, *, whole: bool) -> None:
        assert snapshot.version
        self._loop.call_soon_threadsafe(self.prepared.put_nowait, whole)


class NobodyLeaves:
    """Departures of a machine without devices."""

    def note(self, before: object, now: object) -> None:
        assert before is not now

    def gone(self, devices: Mapping[str, object]) -> dict[str, tuple[object, ...]]:
        return dict.fromkeys(devices, ())


@contextlib.asynccontextmanager
async def _deaf(_hints: Hints) -> AsyncIterator[None]:
    yield


@contextlib.asynccontextmanager
async def looking(
    machine: Machine, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Inventory]:
    monkeypatch.setattr(inventory_module, "hearing_uevents", _deaf)
    inventory = Inventory(
        scanner=cast("Scanner", machine),
        departures=cast("Departures", NobodyLeaves()),
        watch=cast("DirectoryWatch", None),
        state_dir=state_dir,
        prepare=machine.prepare,
        metrics=Metrics(),
    )
    task = asyncio.ensure_future(inventory.run())
    try:
        yield inventory
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_every_full_look_makes_links_true_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine()
    async with looking(machine, tmp_path, monkeypatch) as inventory, asyncio.timeout(10):
        assert await machine.prepared.get()
        version = (await inventory.newer_than(0)).version
        inventory.hints.add(full=True)
        assert await machine.prepared.get()
        assert inventory.snapshot.version == version


async def test_a_look_that_fails_is_made_up_for_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine()
    machine.failures = 1
    async with looking(machine, tmp_path, monkeypatch) as inventory, asyncio.timeout(10):
        await machine.failed.wait()
        inventory.hints.add()
        assert await machine.prepared.get()
        assert (await inventory.newer_than(0)).version == 1
