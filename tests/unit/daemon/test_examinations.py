"""Which devices are examined, when, and what of earlier judgements counts."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import cast

import pytest

from daemon import examinations
from daemon.examinations import Examinations
from daemon.inventory import Inventory
from ringbolt.devices import health
from ringbolt.devices.device import Device, DeviceId, Snapshot
from ringbolt.devices.health import Verdict
from ringbolt.devices.resource import Check, Health, Resource, ResourceName
from ringbolt.devices.tree import Tree

NAME = ResourceName("ringbolt.dev/serial")
HOUR_S = 3600.0
COMMAND = Health(Check.COMMAND, HOUR_S, failures=1, command=("/bin/check",))


class Shown:
    """An inventory as far as Examinations know one; `unfit` are the judgements it was told."""

    def __init__(self, health: Health, *devices: str) -> None:
        self._devices = tuple(Device(DeviceId(name), NAME, ()) for name in devices or ("one",))
        self._tree = Tree((), lambda _path, _name: None)
        self._news = asyncio.Event()
        self.unfit: asyncio.Queue[Mapping[DeviceId, str]] = asyncio.Queue()
        self.snapshot = self._of(1, health)

    def _of(self, version: int, health: Health) -> Snapshot:
        resources = {NAME: Resource(NAME, (), health=health)}
        return Snapshot(version, self._tree, resources, {NAME: self._devices}, {NAME: ()})

    def show(self, health: Health) -> None:
        self.snapshot = self._of(self.snapshot.version + 1, health)
        self._news.set()

    def judge(self, unfit: Mapping[DeviceId, str]) -> None:
        self.unfit.put_nowait(dict(unfit))

    async def newer_than(self, version: int) -> Snapshot:
        while self.snapshot.version <= version:
            self._news.clear()
            await self._news.wait()
        return self.snapshot

    async def told(self, *unfit: str) -> None:
        async with asyncio.timeout(10):
            while (await self.unfit.get()).keys() != set(unfit):
                pass


@contextlib.asynccontextmanager
async def examining(shown: Shown) -> AsyncIterator[None]:
    task = asyncio.ensure_future(Examinations(cast("Inventory", shown)).run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_new_rules_count_at_once_and_old_judgements_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def check(_device: Device, rules: Health) -> Verdict:
        return Verdict(ok=rules.check is not Check.COMMAND, reason="exited with 1")

    monkeypatch.setattr(health, "check", check)
    shown = Shown(COMMAND)
    async with examining(shown):
        await shown.told("one")
        shown.show(replace(COMMAND, check=Check.PRESENCE))
        await shown.told()
        shown.show(COMMAND)
        await shown.told("one")


async def test_a_look_that_hangs_takes_no_second_thread_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()
    looks: list[str] = []

    def check(device: Device, _rules: Health) -> Verdict:
        looks.append(device.id)
        release.wait(10)
        return Verdict(ok=True)

    monkeypatch.setattr(health, "check", check)
    monkeypatch.setattr(examinations, "TOGETHER_S", 0.001)
    shown = Shown(Health(Check.STAT, 0.02, failures=3, timeout_s=-0.99))
    async with examining(shown):
        await shown.told("one")
        assert looks == ["one", "one"]  # once with all others, and once alone
        release.set()


async def test_no_device_waits_for_the_check_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def check(device: Device, _rules: Health) -> Verdict:
        if device.id == "slow":
            release.wait(10)
        return Verdict(ok=False, reason="exited with 1")

    monkeypatch.setattr(health, "check", check)
    shown = Shown(COMMAND, "slow", "quick")
    async with examining(shown):
        await shown.told("quick")
        release.set()
        await shown.told("slow", "quick")
