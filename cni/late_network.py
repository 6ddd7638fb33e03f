"""The network room, opened by the first who needs it.

A node whose pods get their network from elsewhere has no leases, no thread and no table of ours,
and a VERSION costs nothing.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Generic, TypeVar

from cni.door import Network
from ringbolt.network.attachment import Attach, Attached, Collected, Detach, Key
from ringbolt.network.errors import NotAvailableError
from ringbolt.network.settings import Settings

Room = TypeVar("Room", bound=Network)


class LateNetwork(Generic[Room]):
    """Opens the room when it is first called, and tries again after that failed.

    `open_network` raises NetworkError or OSError.
    """

    def __init__(self, open_network: Callable[[], AbstractContextManager[Room]]) -> None:
        self._open = open_network
        self._lock = threading.Lock()
        self._opened: Room | None = None
        self._undo = ExitStack()

    def add(self, attach: Attach) -> Attached:
        """As the room's."""
        return self.room().add(attach)

    def delete(self, detach: Detach) -> None:
        """As the room's."""
        self.room().delete(detach)

    def check(self, attach: Attach, attached: Attached) -> None:
        """As the room's."""
        self.room().check(attach, attached)

    def collect(self, settings: Settings, valid: frozenset[Key] | None) -> Collected:
        """As the room's."""
        return self.room().collect(settings, valid)

    def status(self, settings: Settings) -> None:
        """As the room's."""
        self.room().status(settings)

    def close(self) -> None:
        """Close the room if it was opened."""
        with self._lock:
            self._opened = None
            self._undo.close()

    def room(self) -> Room:
        """The room, opened now if it was not. Raises NetworkError."""
        with self._lock:
            if self._opened is None:
                self._opened = self._enter()
            return self._opened

    def _enter(self) -> Room:
        try:
            return self._undo.enter_context(self._open())
        except OSError as error:
            message = f"networks cannot be served on this node: {error}"
            raise NotAvailableError(message) from error
