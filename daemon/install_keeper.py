"""Puts back what `ringbolt install` installed, when somebody removes or alters it.

Directory watches tell; a file that is as it was installed is left alone, so our own writes end it.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from daemon import cni_conflist, cni_install, installation
from daemon.directory_watch import DirectoryWatch, Unsubscribe
from daemon.lean import structlog

GATHER_S = 0.5
"""An upgrade writes several files: it is over by then."""
PERIOD_S = 60.0

_log = structlog.get_logger()


class InstallKeeper:
    """For what is recorded in `state_dir`."""

    def __init__(self, state_dir: Path, watch: DirectoryWatch) -> None:
        self._state_dir = state_dir
        self._watch = watch
        self._watched: dict[Path, Unsubscribe] = {}
        self._asked = asyncio.Event()
        self._told = ""

    async def run(self) -> None:
        """Keep it until cancelled."""
        while True:
            self._asked.clear()
            await self._look()
            with suppress(TimeoutError):
                async with asyncio.timeout(PERIOD_S):
                    await self._asked.wait()
            await asyncio.sleep(GATHER_S)

    async def _look(self) -> None:
        lack = ""
        try:
            folders, lack = await asyncio.to_thread(self._put_back)
            self._follow({self._state_dir, *folders})
        except (OSError, ValueError, KeyError, TypeError) as error:
            lack = f"what was installed cannot be put back: {error}"
        if lack and lack != self._told:
            _log.warning("runtimes do not use what was installed", lack=lack)
        self._told = lack

    def _put_back(self) -> tuple[frozenset[Path], str]:
        """The folders of what is installed, and what keeps runtimes from using it."""
        lack = ""
        with installation.installed(self._state_dir) as files:
            for one in files:
                if cni_install.place(one.path, one.content, one.mode):
                    _log.warning("put back", path=str(one.path), reason="removed or altered")
                    if one.path.name == cni_conflist.NAME:
                        cni_install.announce(one.path)
                if one.path.name == cni_conflist.NAME:
                    lack = _foreign(one.path.parent)
        return frozenset(one.path.parent for one in files), lack

    def _follow(self, folders: Iterable[Path]) -> None:
        wanted = set(folders)
        for folder in self._watched.keys() - wanted:
            self._watched.pop(folder)()
        for folder in wanted - self._watched.keys():
            self._watched[folder] = self._watch.subscribe(folder, self._hint, writes=True)
            self._asked.set()  # what changed before it was watched

    def _hint(self, _changed: Path) -> None:
        self._asked.set()


def _foreign(folder: Path) -> str:
    names = [path.name for path in folder.iterdir() if not path.is_dir()]
    if first := cni_conflist.preferred(names):
        return f"{folder / first[0]} comes before {cni_conflist.NAME}; move it away"
    return ""
