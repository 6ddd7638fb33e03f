"""What `ringbolt install` put on this node and where, kept so that the agent can put it back.

One file in the state directory. `uninstall` removes it before anything else; whoever puts back
holds the directory while it does, so the two never cross.
"""

import base64
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon import cni_install

NAME = "installed.json"
_MODE = 0o600


@dataclass(frozen=True, slots=True)
class InstalledFile:
    """A file as it was installed."""

    path: Path
    content: bytes
    mode: int


def keep(state_dir: Path, files: tuple[InstalledFile, ...]) -> None:
    """Put down what is going to be installed. Raises OSError."""
    wire = [
        {
            "path": str(one.path),
            "mode": one.mode,
            "content": base64.b64encode(one.content).decode("ascii"),
        }
        for one in files
    ]
    cni_install.place(state_dir / NAME, json.dumps(wire).encode(), _MODE)


def forget(state_dir: Path) -> None:
    """Put back nothing any more. Raises OSError."""
    cni_install.remove(state_dir / NAME)


@contextmanager
def installed(state_dir: Path) -> Generator[tuple[InstalledFile, ...]]:
    """What is installed, which nobody uninstalls within; () where nothing is.

    Raises OSError, ValueError for a file that is damaged.
    """
    if not (state_dir / NAME).exists():
        yield ()
        return
    with cni_install.alone_in(state_dir):
        try:
            wire: list[Mapping[str, Any]] = json.loads((state_dir / NAME).read_bytes())
        except FileNotFoundError:
            wire = []
        yield tuple(map(_read, wire))


def _read(wire: Mapping[str, Any]) -> InstalledFile:
    return InstalledFile(Path(wire["path"]), base64.b64decode(wire["content"]), wire["mode"])
