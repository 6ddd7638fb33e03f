"""Units whose device went away: how long they stay on the list, and when the kubelet is asked.

A unit leaves in two steps. First it is unhealthy for GRACE_S, so that an Allocate that the kubelet
has begun for it finds it listed (kubelet 1.34 and later crashes otherwise). Then it stays until
the kubelet, asked after that, says that no pod holds it; one that cannot say yet is waited for.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from daemon.holders import Holders
from ringbolt.devices import presence
from ringbolt.devices.device import Device, Gone, UnitId
from ringbolt.devices.resource import ResourceName

GRACE_S = 2.0
"""Far above the time between a kubelet's choice of an id and the end of its Allocate call."""
RELEASE_S = 30.0
"""How often the kubelet is asked whether a gone unit has been released."""
AGAIN_S = 3.0
"""How soon a kubelet that has just started is asked again."""
SILENCE_S = 60.0
"""A unit that nobody is known to hold leaves after this, where the kubelet cannot be asked."""

Devices = Mapping[ResourceName, Iterable[Device]]


class Departures:
    """Owner of the departure times. Whoever looks at devices never waits for the kubelet."""

    def __init__(self, holders: Holders, clock: Callable[[], float] = time.monotonic) -> None:
        self._holders = holders
        self._clock = clock
        self._left: dict[tuple[ResourceName, UnitId], float] = {}
        self._held_on = False
        self._asked_at = self._told_at = float("-inf")
        self._news = asyncio.Event()
        self._came = False
        self.settled = False
        """Whether this kubelet has said who holds what: before, a held unit may be unknown."""

    def kubelet_came(self) -> None:
        """Ask anew: the kubelet's socket changed."""
        self._came = True
        self._news.set()

    async def run(self, answered: Callable[[], None]) -> None:
        """Ask the kubelet whenever it is time to, for ever, and call `answered` after it."""
        while True:
            await self.ask()
            answered()
            await self._due()

    async def ask(self) -> None:
        """Ask who holds what; who left long enough before is held by a pod or goes."""
        self._came = False
        self._asked_at = self._clock()
        self.settled = await self._holders.refresh()
        if self.settled:
            self._told_at = self._asked_at
        now = self._clock()
        self._left = {key: at for key, at in self._left.items() if self._awaited(at, now)}

    def _awaited(self, left_at: float, now: float) -> bool:
        """Whether the kubelet has yet to say who holds a unit that left then."""
        return self._told_at < left_at + GRACE_S and now < left_at + SILENCE_S

    async def _due(self) -> None:
        """Return when it is time to ask."""
        while not self._came:
            self._news.clear()
            try:
                async with asyncio.timeout(self.wait_s()):
                    await self._news.wait()
            except TimeoutError:
                return

    def wait_s(self) -> float | None:
        """How long until the kubelet is to be asked; None: not before it comes or a unit goes."""
        due = min(self._times(), default=None)
        return None if due is None else max(due - self._clock(), 0.0)

    def _times(self) -> Iterator[float]:
        for left_at in self._left.values():
            grace_over = left_at + GRACE_S
            yield grace_over if self._asked_at < grace_over else left_at + SILENCE_S
        if self._held_on:
            yield self._asked_at + RELEASE_S
        if not self.settled and self._holders.young:
            yield self._asked_at + AGAIN_S

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
