"""Units whose device went away: how long they stay on the list, and when to look again.

A unit leaves in two steps. First it is unhealthy for GRACE_S, so that an Allocate that the kubelet
has begun for it finds it listed (kubelet 1.34 and later crashes otherwise). Then it stays as long
as a pod holds it.
"""

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
    """Owner of the departure times."""

    def __init__(self, holders: Holders, clock: Callable[[], float] = time.monotonic) -> None:
        self._holders = holders
        self._clock = clock
        self._left: dict[tuple[ResourceName, UnitId], float] = {}
        self._ask_at = 0.0

    def note(self, before: Devices, now: Devices) -> None:
        """Remember when units left; forget those that are back."""
        for name, devices in before.items():
            if name in now and devices != now[name]:
                lost = presence.lost_units(devices, now[name])
                self._left.update(dict.fromkeys(((name, unit) for unit in lost), self._clock()))
        if self._left:
            there = {(name, u) for name, some in now.items() for d in some for u in d.units()}
            self._left = {key: at for key, at in self._left.items() if key not in there}

    async def ask(self) -> None:
        """Ask the kubelet who holds what, if it is time to."""
        if self._clock() >= self._ask_at:
            self._ask_at = self._clock() + RELEASE_S
            await self._holders.refresh()

    def gone(self, devices: Devices) -> dict[ResourceName, tuple[Gone, ...]]:
        """The units to keep on the list, for each resource of `devices`."""
        expired = self._clock() - GRACE_S
        held = self._holders.held()
        for (name, unit), at in self._left.items():
            if at > expired:
                held.setdefault(name, {}).setdefault(unit, "nobody known so far")
        self._left = {key: at for key, at in self._left.items() if at > expired}
        gone = {
            name: presence.gone_units(name, present, held.get(name, {}))
            for name, present in devices.items()
        }
        if self._left:
            self._ask_at = min(self._ask_at, max(self._left.values()) + GRACE_S)
        return gone

    def wait_s(self) -> float:
        """How long until the gone units are to be looked at again."""
        return max(self._ask_at - self._clock(), 0.0)
