"""The ListAndWatch streams of one generation of a plugin: how many live, and how they end.

No queue and no diff: each stream waits for a Snapshot newer than the one it sent and dies with its
own RPC.
"""

import asyncio
import contextlib
import enum
from collections.abc import Coroutine, Generator


class Ending(enum.Enum):
    """How the streams of a generation are brought to their end."""

    DRAIN = "drain"
    """They end: another generation follows."""
    FAREWELL = "farewell"
    """They say that there is nothing any more, then end: the resource goes away."""


class Streams:
    """Counts live streams and tells them when to end."""

    def __init__(self) -> None:
        self.live = 0
        self.opened = 0
        self.ending: Ending | None = None
        self._changed = asyncio.Event()
        self._end = asyncio.Event()

    @contextlib.contextmanager
    def open(self) -> Generator[None]:
        """One stream lives while the context lasts."""
        self.live += 1
        self.opened += 1
        self._tell()
        try:
            yield
        finally:
            self.live -= 1
            self._tell()

    def changed(self) -> Coroutine[None, None, object]:
        """To be awaited: a stream opens or ends after this call."""
        return self._changed.wait()

    def end(self, ending: Ending) -> None:
        """Ask every stream to end."""
        self.ending = ending
        self._end.set()

    async def ended(self) -> None:
        """Return once `end` was called."""
        await self._end.wait()

    async def drained(self, timeout_s: float) -> bool:
        """Whether all streams were over within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.live:
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
