"""Tells at once when a mounted volume goes wrong, and mounts again what somebody unmounted.

The kernel's events make a look due, and a timer does now and then. What is wrong, and whether it is
safe to mount again, is the room's to say. A look waits for no server; mounting again may wait, so
it has a thread of its own.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic

from daemon.lean import structlog
from daemon.volume_metrics import VolumeMetrics
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import VolumeError
from ringbolt.volumes.health import Ailment, Fault
from ringbolt.volumes.volume import VolumeId
from ringbolt.volumes.volumes import Volumes
from ringbolt.volumes.watch import VolumeWatch

PERIOD_S = 60.0
GATHER_S = 0.2
"""What comes in a storm is looked at together, and calls of ours have ended meanwhile."""
MOST_GATHER_S = 0.6
"""With very many volumes looks cost more, and are fewer in a storm."""
_AGAIN_S = 1.0
_LONGEST_S = 30.0
"""Between looks for the end of a call that hides something: from the one to the other."""

_ONCE_IN_S = 600.0
"""Who unmounts a volume twice means it."""
_PATIENCE_S = 20.0

_log = structlog.get_logger()

_Key = tuple[VolumeId, Fault, Path | None]


class VolumeHealth:
    """Of the volumes of one agent."""

    def __init__(self, room: Callable[[], Volumes], metrics: VolumeMetrics) -> None:
        self._room = room
        self._metrics = metrics
        self._asked = asyncio.Event()
        self._watch: VolumeWatch | None = None
        self._told: Mapping[_Key, Ailment] = {}
        self._restored: dict[Path, float] = {}
        self._again_s = _AGAIN_S
        self._due = 0.0

    async def run(self) -> None:
        """Look after them until cancelled."""
        try:
            self._watch = await asyncio.to_thread(self._open)
        except OSError as error:
            _log.warning("what happens to volumes is seen late", error=str(error))
        loop = asyncio.get_running_loop()
        if self._watch:
            loop.add_reader(self._watch.fileno(), self._hear)
        try:
            while True:
                self._asked.clear()
                began = monotonic()
                await asyncio.to_thread(self._look_if_due)
                took_s = monotonic() - began
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._due - monotonic()):
                        await self._asked.wait()
                await asyncio.sleep(max(GATHER_S, min(10 * took_s, MOST_GATHER_S)))
        finally:
            if self._watch:
                loop.remove_reader(self._watch.fileno())
                self._watch.close()

    def _hear(self) -> None:
        try:
            due = self._watch is None or self._watch.hear()
        except OSError as error:
            _log.warning("an event of volumes is unreadable", error=str(error))
            due = True
        if due:
            self._asked.set()

    # --- In a thread ---

    def _open(self) -> VolumeWatch:
        watch = self._room().watch()
        for lack in watch.lacks:
            _log.warning("this node lacks", lack=lack)
        return watch

    def _look_if_due(self) -> None:
        try:
            is_news = self._watch is None or self._watch.is_news()
        except OSError:
            is_news = True
        if is_news or monotonic() >= self._due:
            self._due = monotonic() + self._look()

    def _look(self) -> float:
        """How long the next look may wait."""
        try:
            if self._watch:
                self._watch.mark()
            found = self._room().examine()
        except (VolumeError, OSError) as error:
            _log.error("the volumes' health was not looked at", error=str(error))
            return PERIOD_S
        self._tell(found.ailments)
        if not found.in_flux:
            self._again_s = _AGAIN_S
            return PERIOD_S
        wait_s, self._again_s = self._again_s, min(2 * self._again_s, _LONGEST_S)
        return wait_s

    def _tell(self, ailments: tuple[Ailment, ...]) -> None:
        """Say what is wrong when it appears, and not again while it lasts."""
        now = {(one.volume_id, one.fault, one.target): one for one in ailments}
        fresh = [now[key] for key in now.keys() - self._told.keys()]
        for one in fresh:
            _log.error("volume ails", reason=one.what, to_do=one.todo, **_facts(one))
        for key in self._told.keys() - now.keys():
            _log.info("volume ails no more", was=self._told[key].what, **_facts(self._told[key]))
        self._metrics.examined(ailments, fresh)
        self._told = now
        for one in fresh:
            if one.fault is Fault.UNMOUNTED and one.target:
                threading.Thread(target=self._restore, args=(one, one.target), daemon=True).start()

    def _restore(self, one: Ailment, target: Path) -> None:
        last = self._restored.get(target)
        if last is not None and monotonic() - last < _ONCE_IN_S:
            _log.warning("volume stays unmounted", reason="it was unmounted again", **_facts(one))
            return
        try:
            done = self._room().restore(target, Deadline.after(_PATIENCE_S))
        except (VolumeError, OSError) as error:
            _log.warning("volume stays unmounted", reason=str(error), **_facts(one))
            return
        if done:
            self._restored[target] = monotonic()
            self._metrics.restored(one)
            _log.warning("volume mounted again", **_facts(one))


def _facts(one: Ailment) -> dict[str, object]:
    facts: dict[str, object] = {"volume_id": one.volume_id, "fault": one.fault.value}
    if one.target:
        facts["target"] = str(one.target)
    pods = [f"{each.namespace}/{each.pod or each.uid}" for each in one.tenants]
    return {**facts, "pods": pods} if pods else facts
