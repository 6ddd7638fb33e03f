"""A lane: runs calls in the threads that bring them, those of one key one after another.

The kernel takes most of these calls one by one anyway (RTNL), so few run at a time. Who brings one
when that many run already, or when one of its key does, leaves it to the threads that are at it.
"""

import threading
from collections import deque
from collections.abc import Callable

Job = Callable[[], None]
"""Must not raise."""


class FullError(Exception):
    """As many calls wait as may."""


class Lane:
    """At most `threads` run jobs at a time.

    At most `limit` jobs are in it, and at most `behind` of one key wait.
    """

    def __init__(self, *, threads: int, limit: int, behind: int | None = None) -> None:
        self._threads = threads
        self._limit = limit
        self._most_behind = limit if behind is None else behind
        self._turn = threading.Lock()
        self._ready: deque[tuple[str, Job]] = deque()
        self._behind: dict[str, deque[Job]] = {}
        self._count = 0
        self._running = 0

    def put(self, key: str, job: Job) -> None:
        """Run `job` after those of the same key; without a key as soon as a thread is free.

        It may return when all is done, this job and others too, or at once. Raises FullError.
        """
        with self._turn:
            if self._count >= self._limit:
                raise FullError(f"{self._count} calls wait already")
            behind = self._behind.get(key) if key else None
            if behind is not None and len(behind) >= self._most_behind:
                raise FullError(f"one like it has not ended yet, and {len(behind)} wait for that")
            self._count += 1
            if behind is not None:
                behind.append(job)
                return
            if key:
                self._behind[key] = deque()
            if self._running >= self._threads:
                self._ready.append((key, job))
                return
            self._running += 1
        self._run(key, job)

    def __len__(self) -> int:
        return self._count

    def _run(self, key: str, job: Job) -> None:
        while True:
            job()
            del job  # what it holds must not live until the next one is done
            with self._turn:
                self._finish(key)
                if not self._ready:
                    self._running -= 1
                    return
                key, job = self._ready.popleft()

    def _finish(self, key: str) -> None:
        self._count -= 1
        if not key:
            return
        if behind := self._behind[key]:
            self._ready.append((key, behind.popleft()))
        else:
            del self._behind[key]
