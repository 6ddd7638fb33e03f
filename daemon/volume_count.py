"""Counts the volumes beside the event loop: their directories may lie on what does not answer.

One count at a time, in a thread that nobody waits for at the end: scrapes that come while one hangs
must neither pile up threads nor keep the kubelet's calls waiting.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from ringbolt.volumes.errors import VolumeError

Counts = Mapping[tuple[str, str], int]
"""By kind and state."""

PATIENCE_S = 1.0


class VolumeCount:
    """Of one agent; `count` may hang. Raises VolumeError, OSError where it cannot."""

    def __init__(self, count: Callable[[], Counts], patience_s: float = PATIENCE_S) -> None:
        self._count = count
        self._patience_s = patience_s
        self._last: Counts = {}
        self._ended: asyncio.Event | None = None

    async def now(self) -> Counts:
        """As it is; as it was last, where that does not answer in time."""
        if self._ended is None:
            self._ended = asyncio.Event()
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._run, args=(loop,), name="count", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience_s):
                await self._ended.wait()
        return self._last

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        found: Counts | None = None
        with suppress(VolumeError, OSError):
            found = self._count()
        with suppress(RuntimeError):  # the agent has ended meanwhile
            loop.call_soon_threadsafe(self._take, found)

    def _take(self, found: Counts | None) -> None:
        self._last = self._last if found is None else found
        if self._ended:
            self._ended.set()
        self._ended = None
