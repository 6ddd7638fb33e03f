"""One attachment is in one hand at a time: a call's, or that of whoever looks after it.

A call waits for its turn, which is a matter of milliseconds; who looks after pods passes over one
that is in a call's hand. Within this process: other processes are the leases' affair.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager

from ringbolt.network.attachment import Key


class Turns:
    """Who has which attachment in hand."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held = set[Key]()

    @contextmanager
    def of(self, key: Key) -> Generator[None]:
        """Wait until nobody has it in hand, and have it."""
        with self._changed:
            self._changed.wait_for(lambda: key not in self._held)
            self._held.add(key)
        try:
            yield
        finally:
            self._let_go(key)

    @contextmanager
    def if_free(self, key: Key) -> Generator[bool]:
        """Have it, or be told that somebody else does."""
        with self._changed:
            is_free = key not in self._held
            if is_free:
                self._held.add(key)
        try:
            yield is_free
        finally:
            if is_free:
                self._let_go(key)

    def _let_go(self, key: Key) -> None:
        with self._changed:
            self._held.discard(key)
            self._changed.notify_all()
