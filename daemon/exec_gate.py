"""A gate that one thread passes at a time, as long as each is quick.

Threads that compute at the same time hand Python's lock to and fro at each of their system calls,
forty times a call: eight calls at once take longer side by side than one after the other. So a
thread that serves a call keeps the others out of its way; but whoever has waited for `patience_s`
goes on beside it, and a thread that waits for another process stands aside. The gate saves time and
guards nothing: no one may rely on being alone.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager

PATIENCE_S = 0.02


class Gate:
    """Use `passed` around a call, and `aside` around what makes it wait."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._of_thread = threading.local()

    @contextmanager
    def passed(self) -> Generator[None]:
        """Keep others out, unless somebody else takes long to let this thread in."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def aside(self) -> Generator[None]:
        """Let others in meanwhile; nothing where this thread keeps nobody out."""
        if not self._holds():
            yield
            return
        self._leave()
        try:
            yield
        finally:
            self._enter()

    def _holds(self) -> bool:
        return getattr(self._of_thread, "holds", False)

    def _enter(self) -> None:
        self._of_thread.holds = self._lock.acquire(timeout=self._patience_s)

    def _leave(self) -> None:
        if self._holds():
            self._of_thread.holds = False
            self._lock.release()
