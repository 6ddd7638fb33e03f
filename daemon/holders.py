"""Who holds which device, as far as the agent must know it to keep a held id on the list.

The kubelet's PodResources answer is the truth; an Allocate that runs, or ran so recently that the
kubelet may not list its pod yet, is added to it. No second allocator: nothing here decides.
"""

import contextlib
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

from daemon.lean import structlog
from daemon.offload import in_thread
from daemon.pod_resources import Holdings, PodResourcesError, read_holdings
from ringbolt.devices.device import UnitId
from ringbolt.devices.resource import ResourceName

RECENT_S = 15.0
"""How long an Allocate counts as a holder by itself: a pod appears in List once it is admitted."""
YOUNG_S = 10.0
"""A kubelet that has just started lists no pods, without an error, until it has admitted them
(measured with two pods: for 0.4 s on 1.20, for 1.0 s on 1.36)."""

_log = structlog.get_logger()


class Holders:
    """Owner of the last PodResources answer and of the running and recent allocations."""

    def __init__(self, socket: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._socket = socket
        self._clock = clock
        self._listed: Holdings | None = None
        self._lacking = ""
        self.young = False
        """Whether the kubelet, when last asked, had made its socket less than YOUNG_S ago."""
        self._running: dict[tuple[ResourceName, UnitId], int] = {}
        self._allocated: dict[tuple[ResourceName, UnitId], float] = {}

    async def refresh(self, timeout_s: float = 1.0) -> bool:
        """Ask the kubelet again, and say whether it told everything.

        While it cannot be asked, what was last known stands; while it is young, it adds to that.
        """
        self.young = await in_thread(self._is_young)
        try:
            answer = await read_holdings(self._socket, timeout_s=timeout_s)
        except PodResourcesError as error:
            if str(error) != self._lacking:
                _log.warning("pod resources unknown", error=str(error))
            self._lacking = str(error)
            return False
        self._lacking = ""
        if self.young:
            self._listed = _added(self._listed or {}, answer)
            return False
        self._listed = answer
        self._forget_listed()
        return True

    def _is_young(self) -> bool:
        try:
            made = self._socket.stat().st_mtime
        except OSError:
            return False
        return time.time() - made < YOUNG_S

    def _forget_listed(self) -> None:
        """From its first appearance in List on, a pod's hold lasts as long as List says."""
        horizon = self._clock() - RECENT_S
        listed = self._listed or {}
        self._allocated = {
            (resource, unit): at
            for (resource, unit), at in self._allocated.items()
            if at > horizon and unit not in listed.get(resource, {})
        }

    @contextlib.contextmanager
    def allocating(self, resource: ResourceName, units: Iterable[UnitId]) -> Generator[None]:
        """Hold `units` while their Allocate runs, and as recent ones if it succeeds."""
        keys = [(resource, unit) for unit in units]
        for key in keys:
            self._running[key] = self._running.get(key, 0) + 1
        try:
            yield
            self._allocated.update(dict.fromkeys(keys, self._clock()))
        finally:
            for key in keys:
                self._running[key] -= 1
                if not self._running[key]:
                    del self._running[key]

    def held(self) -> dict[ResourceName, dict[UnitId, str]]:
        """Every held unit, and by whom in words."""
        held: dict[ResourceName, dict[UnitId, str]] = {}
        for resource, unit in (*self._allocated, *self._running):
            held.setdefault(resource, {})[unit] = "a pod that is being admitted"
        for resource, units in (self._listed or {}).items():
            held.setdefault(resource, {}).update((u, str(h)) for u, h in units.items())
        return held


def _added(known: Holdings, more: Holdings) -> Holdings:
    return {name: {**known.get(name, {}), **more.get(name, {})} for name in known.keys() | more}
