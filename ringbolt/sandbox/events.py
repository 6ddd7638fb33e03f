"""What an embedded kubelet went through, as a log that can be read, followed and waited for."""

import asyncio
import enum
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


class EventKind(enum.Enum):
    """What happened."""

    STARTED = "started"
    STOPPED = "stopped"
    REGISTERED = "registered"
    REFUSED = "refused"
    """A registration failed; `text` is what the plugin was told."""
    STREAM_OPENED = "stream-opened"
    LIST = "list"
    STREAM_ENDED = "stream-ended"
    DISCONNECTED = "disconnected"
    """The resource's endpoint is stopped and all its devices are unhealthy."""
    PREFERRED = "preferred"
    ALLOCATED = "allocated"
    PRE_STARTED = "pre-started"
    ADMITTED = "admitted"
    REJECTED = "rejected"
    REMOVED = "removed"
    CONFLICT = "conflict"
    """Two resources' answers for one container disagree; the first won."""
    VIOLATION = "violation"
    """A plugin broke the contract; `text` says how and what a kubelet makes of it."""
    FAULT = "fault"
    """The embedded kubelet itself failed."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry. `at_s` is time.monotonic(); `devices` maps id to health or to ""."""

    kind: EventKind
    at_s: float
    resource: str = ""
    pod: str = ""
    container: str = ""
    text: str = ""
    devices: Mapping[str, str] = field(default_factory=dict[str, str])

    def __str__(self) -> str:
        where = "/".join(word for word in (self.resource, self.pod, self.container) if word)
        counted = f"{len(self.devices)} devices" if self.devices else ""
        return " ".join(word for word in (self.kind.value, where, counted, self.text) if word)


class EventLog:
    """An append-only log with any number of followers."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._news = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """No event follows; `follow` ends after the last one."""
        self._closed = True
        self._news.set()

    def __len__(self) -> int:
        return len(self._events)

    def publish(
        self,
        kind: EventKind,
        text: str = "",
        *,
        resource: str = "",
        place: tuple[str, str] = ("", ""),
        devices: Mapping[str, str] | None = None,
    ) -> None:
        """Append an event of this moment; `place` is pod uid and container name."""
        pod, container = place
        at_s = time.monotonic()
        self._events.append(Event(kind, at_s, resource, pod, container, text, devices or {}))
        self._news.set()
        self._news = asyncio.Event()

    def since(self, mark: int = 0) -> tuple[Event, ...]:
        """The events from the one numbered `mark` on."""
        return tuple(self._events[mark:])

    def of(self, kind: EventKind, resource: str = "", mark: int = 0) -> tuple[Event, ...]:
        """The events of one kind, of one resource if it is given."""
        return tuple(
            event
            for event in self._events[mark:]
            if event.kind is kind and resource in ("", event.resource)
        )

    async def follow(self, mark: int = 0) -> AsyncIterator[Event]:
        """Every event from `mark` on, until the log is closed."""
        while mark < len(self._events) or not self._closed:
            news = self._news
            for event in self._events[mark:]:
                mark += 1
                yield event
            if mark == len(self._events):
                await news.wait()

    async def until(self, answer: Callable[[], T], timeout_s: float) -> T:
        """The first true value of `answer`, asked now and after every event.

        Raises TimeoutError with the last events in it.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not (found := answer()):
                    await self._news.wait()
                return found
        except TimeoutError:
            last = "".join(f"\n  {event}" for event in self._events[-12:])
            raise TimeoutError(f"not so within {timeout_s} s; the last events:{last}") from None
