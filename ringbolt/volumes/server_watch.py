"""Waits for servers to come and go, by the kernel's notices: nothing is asked again and again."""

import os
import select
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from ringbolt.linux.inotify import IN_DELETE, IN_MOVED_TO, Inotify
from ringbolt.volumes.servers import Servers, open_process


class ServerWatch:
    """Of one run directory; servers that another process starts are seen too. Close it."""

    def __init__(self, run_dir: Path) -> None:
        self._servers = Servers(run_dir)
        folder = run_dir / "volumes" / "servers"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._undo = ExitStack()
        self._notices = Inotify()
        self._undo.callback(self._notices.close)
        self._notices.add_watch(str(folder), IN_MOVED_TO | IN_DELETE)
        self._ends: dict[tuple[int, int], int] = {}
        self._look()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._ends.values():
            os.close(fd)
        self._undo.close()

    def wait(self, timeout_s: float | None = None) -> None:
        """Until a server ends, or one is started or forgotten; or the time is over.

        What happened since this was made or last waited ends it at once, so whoever looks for the
        dead and then waits misses none.
        """
        if self._look():
            return
        poll = select.poll()
        poll.register(self._notices.fileno(), select.POLLIN)
        for fd in self._ends.values():
            poll.register(fd, select.POLLIN)
        poll.poll(None if timeout_s is None else timeout_s * 1000)
        self._notices.read()
        self._look()

    def _look(self) -> bool:
        """Hold just those open that run; whether one ended."""
        running = {one for _, server in self._servers.all() for one in server.running()}
        ended = self._ends.keys() - running
        for gone in ended:
            os.close(self._ends.pop(gone))
        for one in running - self._ends.keys():
            if (fd := open_process(*one)) is not None:
                self._ends[one] = fd
        return bool(ended)
