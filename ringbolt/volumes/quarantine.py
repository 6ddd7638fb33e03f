"""Volumes that the kernel may still be busy with, and why, for every process of this node to see.

One small file each in the run directory: what a reboot ends, ends with them. A disk that is full
keeps them in memory alone.
"""

import hashlib
import json
import os
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ringbolt.volumes.volume import VolumeId


class Quarantine(MutableMapping[VolumeId, str]):
    """Why, by volume."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / "volumes" / "quarantined"
        self._here: dict[VolumeId, str] = {}

    def __getitem__(self, volume_id: VolumeId) -> str:
        return self._here.get(volume_id) or _read(self._path(volume_id))[1]

    def __setitem__(self, volume_id: VolumeId, why: str) -> None:
        self._here[volume_id] = why
        path = self._path(volume_id)
        aside = path.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            aside.write_text(json.dumps([volume_id, why]), encoding="ascii")
            aside.rename(path)

    def __delitem__(self, volume_id: VolumeId) -> None:
        known = volume_id in self
        self._here.pop(volume_id, None)
        with suppress(FileNotFoundError):
            self._path(volume_id).unlink()
        if not known:
            raise KeyError(volume_id)

    def __iter__(self) -> Iterator[VolumeId]:
        found = dict.fromkeys(self._here)
        for path in self._folder.glob("*.json"):
            with suppress(KeyError):
                found[_read(path)[0]] = None
        return iter(tuple(found))

    def __len__(self) -> int:
        return len(tuple(iter(self)))

    def _path(self, volume_id: VolumeId) -> Path:
        return self._folder / f"{hashlib.sha256(volume_id.encode()).hexdigest()[:40]}.json"


def _read(path: Path) -> tuple[VolumeId, str]:
    """Raises KeyError for what is not there, or cannot be read."""
    try:
        found: Any = json.loads(path.read_text(encoding="ascii"))
        volume_id, why = found
    except (OSError, ValueError, TypeError):
        raise KeyError(path.name) from None
    return VolumeId(str(volume_id)), str(why)
