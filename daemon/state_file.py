"""Small JSON files that outlive the process: written whole or not at all, read with distrust."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from daemon.lean import structlog

T = TypeVar("T")

_log = structlog.get_logger()


UNREADABLE = (OSError, ValueError, TypeError, KeyError, RecursionError)
"""What `load` raises for a file that cannot be read or makes no sense."""


def load(path: Path, parse: Callable[[object], T], default: T) -> T:
    """What `parse` makes of the file; `default` where there is none. Raises UNREADABLE."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return default


def read(path: Path, parse: Callable[[object], T], default: T) -> T:
    """As `load`, but a file that makes no sense is logged and `default` too."""
    try:
        return load(path, parse, default)
    except UNREADABLE as error:
        _log.warning("state file ignored", path=str(path), error=str(error))
        return default


def write(path: Path, content: object) -> None:
    """Replace the file by one rename after fsync, so that a power cut leaves the old or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as undo:
        fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        undo.callback(Path(temporary).unlink, missing_ok=True)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).rename(path)
        undo.pop_all()
