"""Files whose content was summed up: what the sum was, for as long as a file is the same.

The sum is taken over one descriptor. What is remembered dies with the reboot, and holds for one
state of one inode; a file that was just changed is not remembered, since clocks are coarse.
"""

import hashlib
import json
import os
import time
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Self

from ringbolt.volumes.deadline import Deadline

_PIECE = 1 << 20
_SETTLED_S = 2.0
"""How long a file must have been left alone to be remembered."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """One state of one file; times in nanoseconds."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, fd: int) -> Self:
        """As it is now."""
        found = os.fstat(fd)
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    @property
    def short(self) -> str:
        """Of 8 digits for the inode and 7 for its content; another name or mode is no change."""
        text = f"{self.device} {self.inode} {self.size} {self.modified}"
        digest = hashlib.sha256(text.encode()).hexdigest()
        return f"{self.inode & 0xFFFFFFFF:08x}{digest[:7]}"


class Verified:
    """What is remembered in `folder`, one small file for each path that was summed up."""

    def __init__(self, folder: Path, settled_s: float = _SETTLED_S) -> None:
        self._folder = folder
        self._settled_ns = int(settled_s * 1e9)

    def digest(self, fd: int, path: str, deadline: Deadline) -> str:
        """The sha256 of an open file, in digits. Raises DeadlineError, OSError."""
        stamp = Stamp.of(fd)
        note = self._folder / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:40]}.json"
        if known := _recall(note, stamp):
            return known
        digest = _sum(fd, path, deadline)
        if stamp == Stamp.of(fd) and time.time_ns() - stamp.changed >= self._settled_ns:
            self._remember(note, stamp, digest)
        return digest

    def _remember(self, note: Path, stamp: Stamp, digest: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = note.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps([astuple(stamp), digest]), encoding="ascii")
        aside.rename(note)


def _recall(note: Path, stamp: Stamp) -> str:
    """Empty where it was another state, or where nothing can be read."""
    with suppress(OSError, ValueError, TypeError):
        found: Any = json.loads(note.read_text(encoding="ascii"))
        known, digest = found
        if known == list(astuple(stamp)) and isinstance(digest, str):
            return digest
    return ""


def _sum(fd: int, path: str, deadline: Deadline) -> str:
    sha256 = hashlib.sha256()
    offset = 0
    while piece := os.pread(fd, _PIECE, offset):
        deadline.check(f"summing up {path}")
        sha256.update(piece)
        offset += len(piece)
    return sha256.hexdigest()
