"""Deletes the links that are marked as doomed, many at the price of one.

The kernel waits for a grace period of 10 to 30 ms for each deletion, alone or in a group. So
nobody waits for it here: while one deletion runs, the next group gathers. The mark is the group in
the kernel, not a list in here: after a crash the next sweep takes along what was left.
"""

import threading
from contextlib import suppress
from typing import Self

from ringbolt.linux.netlink import Socket
from ringbolt.network import wiring


class Sweeper:
    """Opens its socket in the namespace of the thread that makes it. Use it in `with`."""

    def __init__(self, *, coalesce: bool) -> None:
        self._node = Socket()
        self._coalesce = coalesce
        self._asked = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def __enter__(self) -> Self:
        if self._coalesce:
            self._thread.start()
            self.sweep()
        return self

    def __exit__(self, *_: object) -> None:
        """Finish what is marked."""
        self._closing = True
        if self._coalesce:
            self._asked.set()
            self._thread.join()
            self._delete()  # what was marked while the thread was at its last deletion
        self._node.close()

    def sweep(self) -> None:
        """Have the marked links deleted: soon by the thread, now without one. Raises no error."""
        if self._coalesce:
            self._asked.set()
        else:
            self._delete()

    def _run(self) -> None:
        while not self._closing:
            self._asked.wait()
            self._asked.clear()
            self._delete()

    def _delete(self) -> None:
        # What could not be deleted keeps its mark: the next sweep tries again.
        with suppress(OSError):
            wiring.delete_doomed(self._node)
