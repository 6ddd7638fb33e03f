"""Waits between attempts: they grow, and are jittered so that plugins do not march in step."""

import asyncio
import contextlib
import random
from collections.abc import Callable


class Backoff:
    """Draws each wait from [half, whole] of a bound that doubles up to `cap_s`."""

    __slots__ = ("_bound_s", "_cap_s", "_first_s", "_random")

    def __init__(
        self,
        first_s: float = 0.05,
        cap_s: float = 30.0,
        random_: Callable[[], float] = random.random,
    ) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._bound_s = first_s
        self._random = random_

    def next_s(self) -> float:
        """The next wait in seconds."""
        wait = self._bound_s * (0.5 + self._random() / 2)
        self._bound_s = min(self._bound_s * 2, self._cap_s)
        return wait

    def reset(self) -> None:
        """Begin anew: what was waited for has worked."""
        self._bound_s = self._first_s

    async def pause(self, stir: asyncio.Event) -> None:
        """Wait before the next attempt, or until `stir` is set, which begins anew; clear it.

        Once the other side stirs, how long it was silent says nothing: a kubelet that starts
        refuses one more call (its socket lies there before it listens), then answers.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.next_s()):
                await stir.wait()
                self.reset()
        stir.clear()
