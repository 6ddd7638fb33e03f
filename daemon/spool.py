"""The spool: DELs that launchers wrote down while the agent was away; the frame is the file.

Names are the launcher's: `<hash of the container's id>-<hash of the rest>.frame`, both FNV-1a of 64
bits. Whatever else lies there is a write that was cut off.
"""

import os
from dataclasses import replace
from pathlib import Path
from time import time, time_ns

from daemon import frame

SUFFIX = ".frame"
_CUT_OFF_AFTER_S = 60.0
_TICK_NS = 100_000_000
"""More than the coarsest clock that file systems take their times from (10 ms)."""
_BASIS, _PRIME, _BITS = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1


def fnv1a(data: bytes) -> int:
    """The FNV-1a hash of 64 bits."""
    value = _BASIS
    for byte in data:
        value = (value ^ byte) * _PRIME & _BITS
    return value


def container_key(container_id: str) -> str:
    """What the names of a container's frames begin with."""
    return f"{fnv1a(os.fsencode(container_id)):016x}"


def key_of(path: Path) -> str:
    """The container's key in a frame's name."""
    return path.name.partition("-")[0]


class Spool:
    """The frames below `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._empty_at_ns = -1

    def prepare(self) -> None:
        """Make the directory, root's alone, and drop what was never finished."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        for path in self.directory.iterdir():
            if path.suffix != SUFFIX and _age_s(path) > _CUT_OFF_AFTER_S:
                path.unlink(missing_ok=True)

    def pending(self, key: str = "") -> list[Path]:
        """The frames that wait, oldest first; those of one container's key, or all."""
        prefix = f"{key}-" if key else ""
        paths = [self.directory / name for name in self._frames() if name.startswith(prefix)]
        return sorted(paths, key=_age_s, reverse=True)

    def _frames(self) -> list[str]:
        """The names of all frames; asked before each ADD, so an empty directory is read once.

        Its time tells of whatever is put into it, but for what came in the same tick of the clock
        as the change before.
        """
        try:
            changed_ns = os.stat(self.directory).st_mtime_ns  # noqa: PTH116
            if changed_ns == self._empty_at_ns:
                return []
            names = os.listdir(self.directory)  # noqa: PTH208
        except FileNotFoundError:
            return []
        found = [one for one in names if one.endswith(SUFFIX) and not one.startswith(".")]
        is_settled = time_ns() - changed_ns > _TICK_NS
        self._empty_at_ns = changed_ns if is_settled and not found else -1
        return found


def read_frame(path: Path) -> frame.Call | None:
    """The call that a file holds; None if it is gone. Raises FrameError, OSError."""
    try:
        if path.stat().st_size > frame.HEADER.size + frame.BODY_MAX:
            raise frame.FrameError(f"{path} is larger than any frame")
        age_s = _age_s(path)
        return replace(frame.parse_call(path.read_bytes()), age_s=max(0.0, age_s))
    except FileNotFoundError:
        return None


def _age_s(path: Path) -> float:
    try:
        return time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
