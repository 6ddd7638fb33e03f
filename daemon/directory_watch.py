"""One inotify descriptor for every directory the agent cares about, present or not yet.

A subscriber names a directory; it is told the path of each entry that appears, vanishes, is written
or moves there. Where the directory is missing, its nearest existing ancestor is watched until it
appears. It never says what happened: whoever is told looks for itself.

Where the kernel's inotify limits are used up, that is logged and nobody is told: whoever subscribes
looks now and then by itself as well.
"""

import asyncio
import contextlib
import errno
from collections.abc import Callable
from pathlib import Path

from asyncinotify import Event, Inotify, Mask, Watch

from daemon.lean import structlog

OnChange = Callable[[Path], None]
Unsubscribe = Callable[[], None]

_MASK = (
    Mask.CREATE
    | Mask.DELETE
    | Mask.MOVED_FROM
    | Mask.MOVED_TO
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
)
_LIMITS = {
    errno.EMFILE: "fs.inotify.max_user_instances",
    errno.ENFILE: "fs.file-max",
    errno.ENOSPC: "fs.inotify.max_user_watches",
}
_GONE = Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.IGNORED | Mask.UNMOUNT

_log = structlog.get_logger()


class DirectoryWatch:
    """Owner of the inotify descriptor. `run` must be running for callbacks to come."""

    def __init__(self) -> None:
        self._inotify = _open()
        self._subscribers: dict[Path, list[OnChange]] = {}
        self._armed: dict[Path, Watch] = {}
        self._written: set[Path] = set()

    def subscribe(
        self, directory: Path, on_change: OnChange, *, writes: bool = False
    ) -> Unsubscribe:
        """Call `on_change(path)` for each change in `directory`, until the answer is called.

        `writes`: also when a file there was written and closed. Not for /dev, where every
        redirection to /dev/null would be told.
        """
        callbacks = self._subscribers.setdefault(directory, [])
        callbacks.append(on_change)
        if writes and directory not in self._written:
            self._written.add(directory)
            self._disarm(directory)
        self._arm(directory)

        def unsubscribe() -> None:
            callbacks.remove(on_change)
            if not callbacks and self._subscribers.get(directory) is callbacks:
                del self._subscribers[directory]
                self._disarm_unused()

        return unsubscribe

    async def run(self) -> None:
        """Deliver changes until cancelled."""
        if self._inotify is None:
            await asyncio.get_running_loop().create_future()
            return
        with contextlib.ExitStack() as undo:
            undo.callback(self._close)
            while True:
                self._deliver(await self._inotify.get())

    def _close(self) -> None:
        """From now on nobody is told anything; to unsubscribe is as good as before."""
        if self._inotify:
            self._inotify.close()
        self._inotify = None
        self._armed.clear()

    def _deliver(self, event: Event) -> None:
        if event.watch is None:  # the queue overflowed: anything may have changed
            self._tell_all()
            return
        directory = Path(event.watch.path)
        if event.mask & _GONE:
            if self._armed.get(directory) is event.watch:
                del self._armed[directory]
        elif directory in self._subscribers:
            path = directory / event.name if event.name else directory
            self._tell(directory, path)
        self._rearm_below(directory)

    def _rearm_below(self, directory: Path) -> None:
        """Arm the directories that `directory` stood in for, or that went with it."""
        for wanted in [path for path in self._subscribers if path not in self._armed]:
            if wanted.is_relative_to(directory):
                self._arm(wanted)
                if wanted in self._armed:
                    self._tell(wanted, wanted)
        self._disarm_unused()

    def _arm(self, directory: Path) -> None:
        for candidate in (directory, *directory.parents):
            if candidate in self._armed or self._inotify is None:
                return
            try:
                self._armed[candidate] = self._inotify.add_watch(candidate, self._mask(candidate))
            except OSError as error:
                if error.errno in _LIMITS:
                    _warn_of_limit(error)
                    return
                continue  # it is missing, no directory, or does not answer
            if candidate != directory and directory.is_dir():
                self._arm(directory)  # it appeared while its ancestor was being armed
            return

    def _disarm(self, directory: Path) -> None:
        armed = self._armed.pop(directory, None)
        if armed and self._inotify:
            try:
                self._inotify.rm_watch(armed)
            except OSError as error:
                if error.errno != errno.EINVAL:  # the directory went, and its watch with it
                    raise

    def _mask(self, directory: Path) -> Mask:
        return _MASK | Mask.CLOSE_WRITE if directory in self._written else _MASK

    def _disarm_unused(self) -> None:
        needed = {self._stand_in(wanted) for wanted in self._subscribers}
        for directory in [path for path in self._armed if path not in needed]:
            self._disarm(directory)

    def _stand_in(self, directory: Path) -> Path | None:
        return next((p for p in (directory, *directory.parents) if p in self._armed), None)

    def _tell(self, directory: Path, path: Path) -> None:
        for on_change in tuple(self._subscribers.get(directory, ())):
            on_change(path)

    def _tell_all(self) -> None:
        for directory in tuple(self._subscribers):
            self._tell(directory, directory)


def _open() -> Inotify | None:
    try:
        return Inotify()
    except OSError as error:
        _warn_of_limit(error)
        return None


def _warn_of_limit(error: OSError) -> None:
    limit = _LIMITS.get(error.errno or 0, "")
    _log.warning("changes of directories are seen late", error=error.strerror, limit=limit)
