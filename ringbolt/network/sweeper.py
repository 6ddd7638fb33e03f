"""Deletes the links that are marked as doomed, many at the price of one.

The kernel waits for a grace period of 10 to 30 ms for each deletion, alone or in a group, and keeps
everybody else from its links meanwhile. So nobody waits for it here: a group gathers until no call
has been made for a moment, though not for ever. The mark is the group in the kernel, not a list in
here: after a crash the next sweep takes along what was left.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Self

from ringbolt.linux.netlink import Socket
from ringbolt.network import wiring

QUIET_S = 0.03
LATEST_S = 1.0


class Sweeper:
    """Opens its socket in the namespace of the thread that makes it. Use it in `with`."""

    def __init__(self, *, coalesce: bool) -> None:
        self._node = Socket()
        self._coalesce = coalesce
        self._changed = threading.Condition()
        self._asked = False
        self._closing = False
        self._calls = 0
        self._begun = 0
        self._awaited = False
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def __enter__(self) -> Self:
        if self._coalesce:
            self._thread.start()
            self.sweep()
        return self

    def __exit__(self, *_: object) -> None:
        """Finish what is marked."""
        if self._coalesce:
            with self._changed:
                self._closing = True
                self._changed.notify()
            self._thread.join()
            self._delete()  # what was marked while the thread was at its last deletion
        self._node.close()

    def sweep(self) -> None:
        """Have the marked links deleted: soon by the thread, now without one. Raises no error."""
        if not self._coalesce:
            self._delete()
            return
        with self._changed:
            if not self._asked:
                self._asked = True
                self._changed.notify()

    @contextmanager
    def held_off(self) -> Generator[None]:
        """A call is being made, which the kernel shall not keep waiting."""
        with self._changed:
            self._calls += 1
            self._begun += 1
        try:
            yield
        finally:
            with self._changed:
                self._calls -= 1
                if self._awaited and not self._calls:
                    self._changed.notify()

    def _run(self) -> None:
        while not self._closing:
            with self._changed:
                self._changed.wait_for(lambda: self._asked or self._closing)
                self._await_quiet()
                self._asked = False
            self._delete()

    def _await_quiet(self) -> None:
        latest = monotonic() + LATEST_S
        while not self._closing and (left_s := latest - monotonic()) > 0:
            begun = self._begun
            if self._calls:
                self._awaited = True
                self._changed.wait_for(lambda: not self._calls or self._closing, left_s)
                self._awaited = False
                continue
            self._changed.wait_for(lambda: self._closing, min(QUIET_S, left_s))
            if begun == self._begun:
                return

    def _delete(self) -> None:
        # What could not be deleted keeps its mark: the next sweep tries again.
        with suppress(OSError):
            wiring.delete_doomed(self._node)
