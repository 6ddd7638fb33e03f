"""Who takes the next call: one thread leads, takes calls and serves them, and others follow.

Threads that serve calls at the same time hand Python's lock to and fro at each of their system
calls, forty times a call: eight calls at once take longer side by side than one after the other. So
one thread goes from call to call, and nobody else is woken. Only when one call takes long, or says
that it waits for another process, the next thread leads, and the slow one goes on beside it.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic

PATIENCE_S = 0.02
"""Many times what a call takes: who has a call that hangs is left alone with it this soon."""


class Lead:
    """Of the threads that call `follow`. At rest it wakes nobody."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._changed = threading.Condition(threading.Lock())
        self._leader = 0
        self._since: float | None = None
        self._is_watched = False
        self._over = False

    def follow(self) -> bool:
        """Wait until this thread leads; False when there is nothing to lead any more."""
        with self._changed:
            while not self._over:
                if not self._leader or self._left_s() <= 0:
                    self._leader, self._since = threading.get_ident(), None
                    return True
                self._watch()
            return False

    def begin(self) -> None:
        """This thread, which leads, serves a call from now on."""
        with self._changed:
            self._since = monotonic()
            if not self._is_watched:
                self._changed.notify()

    def end(self) -> bool:
        """The call is served; whether this thread leads still."""
        with self._changed:
            if self._leader != threading.get_ident():
                return False
            self._since = None
            return True

    def leave(self) -> None:
        """If this thread leads, another one does from now."""
        with self._changed:
            if self._leader == threading.get_ident():
                self._leader, self._since = 0, None
                self._changed.notify()

    @contextmanager
    def aside(self) -> Generator[None]:
        """As `leave`, while another process is waited for; it does not lead again by itself."""
        self.leave()
        yield

    def finish(self) -> None:
        """There is nothing to lead any more."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _left_s(self) -> float:
        """How long the leader may still be at its call."""
        return 1.0 if self._since is None else self._since + self._patience_s - monotonic()

    def _watch(self) -> None:
        """Wait for a change; one of those who follow also for the leader to take too long."""
        if self._since is None or self._is_watched:
            self._changed.wait()
            return
        self._is_watched = True
        self._changed.wait(self._left_s())
        self._is_watched = False
