"""What was heard of the hardware since the last look, gathered until it pauses.

A hint says where to look, never what is there.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass

from daemon.lean import structlog
from daemon.offload import in_thread
from ringbolt.devices.scan import UDEV_PATIENCE_S
from ringbolt.devices.tree import SysPath
from ringbolt.devices.uevents import Uevents

QUIET_S = 0.004
"""Hints have settled when none came for this long; a look at one device costs about as much."""
PATIENCE_S = 0.25
"""A storm that does not settle is looked at this often."""

DEAF_S = 30.0
"""Uevents that cannot be read (no descriptor is left) are tried again after this long."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Where:
    """Where to look: at everything, at the plain paths, at the nodes of `paths` and below."""

    full: bool
    plain: bool
    paths: frozenset[SysPath]


class Hints:
    """Where to look next; begins with everything."""

    def __init__(self) -> None:
        self._paths: set[SysPath] = set()
        self._full = True
        self._plain = True
        self._wake = asyncio.Event()
        self._deferred: dict[SysPath, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(
        self, paths: Iterable[SysPath] = (), *, plain: bool = False, full: bool = False
    ) -> None:
        """Look at `paths`, the plain paths, everything; with none of them, judge anew."""
        for path in paths:
            self._paths.add(path)
            self._deferred.pop(path, None)
        self._plain = self._plain or plain
        self._full = self._full or full
        self._wake.set()

    def defer(self, paths: Iterable[SysPath], delay_s: float) -> None:
        """Look at `paths` after `delay_s`, but for those that are added before."""
        due = asyncio.get_running_loop().time() + delay_s
        for path in paths:
            self._deferred.setdefault(path, due)
        self._set_timer()

    def _set_timer(self) -> None:
        if self._deferred and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(min(self._deferred.values()), self._add_due)

    def _add_due(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        if due := [path for path, at in self._deferred.items() if at <= now]:
            self.add(due)
        self._set_timer()

    def take(self) -> Where:
        """Where to look; forgets it."""
        taken = Where(self._full, self._full or self._plain, frozenset(self._paths))
        self._full, self._plain, self._paths = False, False, set()
        self._wake.clear()
        return taken

    async def settled(self, timeout_s: float) -> None:
        """Return when hints have come and paused, or when `timeout_s` passed without any."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            return
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and await self._woken_again():
            pass

    async def _woken_again(self) -> bool:
        self._wake.clear()
        try:
            async with asyncio.timeout(QUIET_S):
                return await self._wake.wait()
        except TimeoutError:
            return False


@contextlib.asynccontextmanager
async def hearing_uevents(hints: Hints) -> AsyncGenerator[None]:
    """Feed the kernel's and udev's events to `hints` while the context lasts.

    A kernel without uevents (gVisor, some sandboxes) or an image without libudev is no reason to
    stop: what plain paths and the regular look at everything find is served all the same.
    """
    with contextlib.ExitStack() as undo:
        try:
            # In a thread: to find libudev, ctypes runs ldconfig and reads what it prints.
            uevents = undo.enter_context(contextlib.closing(await in_thread(Uevents)))
        except (OSError, ImportError) as error:
            _log.warning("no uevents here: a new device is seen within a minute", error=str(error))
        else:
            _listen(uevents, hints, undo)
        yield


def _listen(uevents: Uevents, hints: Hints, undo: contextlib.ExitStack) -> None:
    loop = asyncio.get_running_loop()
    again: asyncio.TimerHandle | None = None

    def begin() -> None:
        for fd in uevents.filenos():
            loop.add_reader(fd, hear)

    def end() -> None:
        for fd in uevents.filenos():
            loop.remove_reader(fd)
        if again:
            again.cancel()

    def hear() -> None:
        nonlocal again
        try:
            heard = uevents.read()
        except OSError as error:
            # What was not read stays readable, and would be told again at once and for ever.
            _log.warning("uevents not read", error=str(error), again_in_s=DEAF_S)
            end()
            again = loop.call_later(DEAF_S, begin)
            hints.add(full=True)
            return
        if heard.overflow:
            _log.warning("uevents lost", action="looking at every device")
        if heard.paths or heard.overflow:
            hints.add(heard.paths, full=heard.overflow)
        hints.defer(heard.announced, UDEV_PATIENCE_S)

    begin()
    undo.callback(end)
