"""The configuration file over the agent's life: read at start, read again when it changes.

A file that is wrong is refused with all its errors and the last good configuration stays. The
directory is watched rather than the file: editors and ConfigMap mounts replace it by a rename.
"""

import asyncio
import functools
from pathlib import Path

from daemon import config
from daemon.config import Config
from daemon.directory_watch import DirectoryWatch
from daemon.lean import structlog
from daemon.offload import in_thread
from daemon.problem import ConfigError, Problem

SETTLE_S = 0.1
"""Writers that truncate first are given this long to finish."""

_log = structlog.get_logger()


class ConfigFile:
    """Owner of the configuration in force."""

    def __init__(self, path: Path, watch: DirectoryWatch) -> None:
        self._path = path
        self._changed = asyncio.Event()
        for directory in {path.parent, path} if path.is_dir() else {path.parent}:
            watch.subscribe(directory, lambda _path: self._changed.set(), writes=True)
        self._current: Config | None = None
        self._refused: tuple[Problem, ...] = ()

    def nudge(self) -> None:
        """Read again, although no change was seen (SIGHUP)."""
        self._changed.set()

    def first(self) -> Config:
        """The configuration at start. Raises ConfigError: there is no last good one yet."""
        self._current = config.load(self._path)
        _warn(self._current.warnings)
        return self._current

    async def next(self) -> Config:
        """The next configuration that is good and differs from the one in force."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(SETTLE_S)
            self._changed.clear()
            try:
                new = await in_thread(functools.partial(config.load, self._path))
            except ConfigError as error:
                self._refuse(error.problems)
                continue
            self._refused = ()
            if new != self._current and not self._emptied(new):
                self._current = new
                _warn(new.warnings)
                return new

    def _refuse(self, problems: tuple[Problem, ...]) -> None:
        """Log the problems, but not again at every stir of the directory."""
        if problems != self._refused:
            for problem in problems:
                _log.error("configuration refused", problem=str(problem))
        self._refused = problems

    def _emptied(self, new: Config) -> bool:
        """Whether the file lost all it said: a full disk and a slow writer leave such files."""
        if new.resources or not self._current or not self._current.resources:
            return False
        try:
            files = self._path.glob("*.yaml") if self._path.is_dir() else [self._path]
            blank = not any(file.read_bytes().strip() for file in files)
        except OSError:
            blank = True
        if blank:
            advice = "to serve nothing write `resources: []`"
            _log.error("configuration refused: empty", path=str(self._path), advice=advice)
        return blank


def _warn(warnings: tuple[Problem, ...]) -> None:
    for warning in warnings:
        _log.warning("configuration", problem=str(warning))
