"""Units whose device went away: how long they stay on the list, and when the kubelet is asked.

A unit leaves in two steps. First it is unhealthy for GRACE_S, so that an Allocate that the kubelet
has begun for it finds it listed (kubelet 1.34 and later crashes otherwise). Then the kubelet is
asked, and the unit stays as long as a pod holds it.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping

from daemon.holders import Holders
from ringbolt.devices import presence
from ringbolt.devices.device import Device, Gone, UnitId
from ringbolt.devices.resource import ResourceName

GRACE_S = 2.0
"""Far above the time between a kubelet's choice of an id and the end of its Allocate call."""
RELEASE_S = 30.0
"""How often the kubelet is asked whether a gone unit has been released."""

Devices = Mapping[ResourceName, Iterable[Device]]


class Departures:
    """Owner of the departure times. Whoever looks at devices never waits for the kubelet."""

    def __init__(self, holders: Holders, clock: Callable[[], float] = time.monotonic) -> None:
        self._holders = holders
        self._clock = clock
        self._left: dict[tuple[ResourceName, UnitId], float] = {}
        self._held_on = False
        self._news = asyncio.Event()

    async def run(self, answered: Callable[[], None]) -> None:
        """Ask the kubelet whenever it is time to, for ever, and call `answered` after it."""
        while True:
            await self.ask()
            answered()
            await self._due()

    async def ask(self) -> None:
        """Ask who holds what; who left long enough before is held by a pod or goes."""
        asked_at = self._clock()
        await self._holders.refresh()
        self._left = {key: at for key, at in self._left.items() if at + GRACE_S > asked_at}

    async def _due(self) -> None:
        """Return when a unit's grace is over, or when a held one may have been released."""
        while True:
            self._news.clear()
            wait_s = self.wait_s()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
                    continue
            return

    def wait_s(self) -> float | None:
        """How long until the kubelet is to be asked; None while nothing is gone."""
        if self._left:
            return max(min(self._left.values()) + GRACE_S - self._clock(), 0.0)
        return RELEASE_S if self._held_on else None

    def note(self, before: Devices, now: Devices) -> None:
        """Remember when units left; forget those that are back."""
        for name, devices in before.items():
            if name in now and devices != now[name]:
                lost = presence.lost_units(devices, now[name])
                self._left.update(dict.fromkeys(((name, unit) for unit in lost), self._clock()))
        if self._left:
            there = {(name, u) for name, some in now.items() for d in some for u in d.units()}
            self._left = {key: at for key, at in self._left.items() if key not in there}

    def gone(self, devices: Devices) -> dict[ResourceName, tuple[Gone, ...]]:
        """The units to keep on the list, for each resource of `devices`."""
        held = self._holders.held()
        for name, unit in self._left:
            held.setdefault(name, {}).setdefault(unit, "nobody known so far")
        gone = {
            name: presence.gone_units(name, present, held.get(name, {}))
            for name, present in devices.items()
        }
        held_on = any(gone.values())
        if self._left or held_on != self._held_on:
            self._news.set()
        self._held_on = held_on
        return gone
