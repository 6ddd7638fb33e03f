"""Until when each call is to be answered. Threads add and discard; the event loop's timer rings.

The timer is set anew only for a call that is due before all others, so that most calls wake nobody.
"""

import asyncio
import math
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from daemon.exec_exchange import Exchange


class Deadlines:
    """`late` is called in the event loop with each call that was not discarded in time."""

    def __init__(self, late: Callable[[Exchange], None]) -> None:
        self._late = late
        self._loop = asyncio.get_running_loop()
        self._turn = threading.Lock()
        self._due: dict[Exchange, float] = {}
        self._next = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def add(self, exchange: Exchange, limit_s: float) -> None:
        """It is due in `limit_s` seconds."""
        due = monotonic() + limit_s
        with self._turn:
            self._due[exchange] = due
            if due >= self._next:
                return
            self._next = due
        with suppress(RuntimeError):  # the loop has closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._arm)

    def discard(self, exchange: Exchange) -> None:
        """It was answered."""
        with self._turn:
            self._due.pop(exchange, None)

    def _arm(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._next < math.inf:
            left_s = max(0.0, self._next - monotonic())
            self._timer = self._loop.call_later(left_s, self._ring)

    def _ring(self) -> None:
        now = monotonic()
        with self._turn:
            late = [one for one, due in self._due.items() if due <= now]
            for one in late:
                del self._due[one]
            self._next = min(self._due.values(), default=math.inf)
        self._arm()
        for one in late:
            self._late(one)
