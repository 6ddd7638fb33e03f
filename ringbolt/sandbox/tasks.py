"""The background work of one kubelet process, ended together."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from ringbolt.sandbox.events import EventKind, EventLog


class Tasks:
    """Tasks that live until they end or the process does; one that fails says so in the log."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside everything else."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.publish(EventKind.FAULT, repr(error))

    async def cancel(self) -> None:
        """End them all and wait for it."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
