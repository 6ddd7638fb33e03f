"""A lane: a few threads that run calls, those of one key one after another, as they came.

The kernel takes most of these calls one by one anyway (RTNL), so a few threads are enough. They are
not joined at the end: a call that hangs in the kernel must not hang SIGTERM too.
"""

import threading
from collections import deque
from collections.abc import Callable

Job = Callable[[], None]
"""Must not raise."""


class FullError(Exception):
    """As many calls wait as may."""


class Lane:
    """`threads` run what is put in; at most `limit` jobs are in it at a time."""

    def __init__(self, name: str, *, threads: int, limit: int) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._ready: deque[tuple[str, Job]] = deque()
        self._behind: dict[str, deque[Job]] = {}
        self._count = 0
        for number in range(threads):
            threading.Thread(target=self._work, name=f"{name} {number}", daemon=True).start()

    def put(self, key: str, job: Job) -> None:
        """Run `job` after those of the same key; without a key as soon as a thread is free.

        Raises FullError.
        """
        with self._changed:
            if self._count >= self._limit:
                raise FullError(f"{self._count} calls wait already")
            self._count += 1
            if key and key in self._behind:
                self._behind[key].append(job)
                return
            if key:
                self._behind[key] = deque()
            self._ready.append((key, job))
            self._changed.notify()

    def __len__(self) -> int:
        return self._count

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._ready:
                    self._changed.wait()
                key, job = self._ready.popleft()
            job()
            del job  # what it holds must not live until the next one comes
            self._finish(key)

    def _finish(self, key: str) -> None:
        with self._changed:
            self._count -= 1
            if not key:
                return
            if behind := self._behind[key]:
                self._ready.append((key, behind.popleft()))
                self._changed.notify()
            else:
                del self._behind[key]
