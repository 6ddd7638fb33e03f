"""One call at a time on a volume and on a target, in this process and beside it.

A lock knows who holds it and since when, so a hung call is seen and blocks its own volume only.
Between processes it is flock(2) on a file in the run directory; the kernel lets go of it whatever
becomes of the process, and the last holder removes the file.
"""

import errno
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import TryAgainError
from ringbolt.volumes.outcome import LockStatus

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_PAUSE_S = 0.02
"""Between tries for what another process holds: flock(2) knows no deadline."""


class Locks:
    """The locks of one run directory."""

    def __init__(self, run_dir: Path, *, make: bool = True) -> None:
        """`make` the folder where it is missing; whoever only looks does without."""
        self._folder = run_dir / "volumes" / "locks"
        if make:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._free = threading.Condition()
        self._held: dict[str, tuple[str, float]] = {}

    @contextmanager
    def hold(self, what: str, call: str, deadline: Deadline) -> Generator[None]:
        """Be alone with `what` in the block; `call` is told to those who wait.

        Raises TryAgainError once the deadline is over.
        """
        self._take(what, call, deadline)
        try:
            with self._alone_on_node(what, call, deadline):
                yield
        finally:
            with self._free:
                del self._held[what]
                self._free.notify_all()

    def status(self, what: str) -> LockStatus | None:
        """Who holds it, and for how long: in this process or in another."""
        if held := self._held.get(what):
            return LockStatus(held[0], time.monotonic() - held[1])
        with suppress(OSError):
            fd = os.open(self._path(what), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                return _read_holder(fd)
            finally:
                os.close(fd)
        return None

    def sweep(self) -> None:
        """Remove the files of processes that were killed."""
        for path in self._folder.iterdir():
            with suppress(OSError):
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    os.close(fd)

    def _take(self, what: str, call: str, deadline: Deadline) -> None:
        with self._free:
            while held := self._held.get(what):
                if not self._free.wait(deadline.left_s()) and what in self._held:
                    age = time.monotonic() - held[1]
                    raise TryAgainError(f"{what}: {held[0]} has been at it for {age:.0f} s")
            self._held[what] = (call, time.monotonic())

    @contextmanager
    def _alone_on_node(self, what: str, call: str, deadline: Deadline) -> Generator[None]:
        try:
            fd = self._lock_file(what, deadline)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            # A volume must come off a node whose disk is full; the agent alone serves calls.
            yield
            return
        try:
            with suppress(OSError):  # what is told of it is worth no failure
                os.truncate(fd, 0)
                os.write(fd, call.encode("utf-8", "surrogateescape"))
            yield
        finally:
            with suppress(FileNotFoundError):
                self._path(what).unlink()
            os.close(fd)

    def _lock_file(self, what: str, deadline: Deadline) -> int:
        path = self._path(what)
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is(path, fd):
                    return fd
            except BlockingIOError:
                pass
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
            if deadline.left_s() == 0:
                raise TryAgainError(f"{what}: another process is at it; see `fuser {path}`")
            time.sleep(_PAUSE_S)

    def _path(self, what: str) -> Path:
        return self._folder / hashlib.sha256(what.encode()).hexdigest()[:40]


def _read_holder(fd: int) -> LockStatus | None:
    """What a holder wrote; what nobody holds was left by one that was killed."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        call = os.read(fd, 4096).decode("utf-8", "replace")
        return LockStatus(call, max(0.0, time.time() - os.fstat(fd).st_mtime))
    return None


def _is(path: Path, fd: int) -> bool:
    """Whether the path still leads to the file: its last holder may have removed it."""
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(fd))
    except FileNotFoundError:
        return False
