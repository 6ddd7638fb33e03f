"""The spool: DELs that launchers wrote down while the agent was away; the frame is the file.

Names are the launcher's: `<hash of the container's id>-<hash of the rest>.frame`, both FNV-1a of 64
bits. Whatever else lies there is a write that was cut off.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from time import time

from daemon import frame

SUFFIX = ".frame"
_CUT_OFF_AFTER_S = 60.0
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


@dataclass(frozen=True, slots=True)
class Spool:
    """The frames below `directory`."""

    directory: Path

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
        try:
            names = os.listdir(self.directory)  # noqa: PTH208  # asked before each ADD
        except FileNotFoundError:
            return []
        found = [name for name in names if name.endswith(SUFFIX) and name.startswith(prefix)]
        paths = [self.directory / name for name in found if not name.startswith(".")]
        return sorted(paths, key=_age_s, reverse=True)


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
