"""Durable notes of devices whose formatting was begun: what makes an interrupted one known again.

A note is written before the first byte of a file system and removed after the last. A device that
has one, by its lasting identity, was proved blank by us and nothing was mounted from it since.
"""

import contextlib
import hashlib
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from ringbolt.volumes.held import Identity
from ringbolt.volumes.spec import FsType


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What was being made: the file system's UUID was chosen before it was made."""

    fs_type: FsType
    uuid: uuid.UUID


class Tombstones:
    """Those in `directory`, one file each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find(self, identity: Identity) -> Tombstone | None:
        """The note of this device. One that cannot be read tells nothing. Raises OSError."""
        if not identity.lasting:
            return None
        try:
            note = json.loads(self._file(identity).read_bytes())
            known = note["device"] == identity.lasting
            return Tombstone(FsType(note["fsType"]), uuid.UUID(note["uuid"])) if known else None
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            return None

    def begin(self, identity: Identity, tombstone: Tombstone) -> None:
        """Note it, on disk when this returns; without a lasting identity there is no note."""
        if not identity.lasting:
            return
        note = {
            "device": identity.lasting,
            "fsType": tombstone.fs_type.value,
            "uuid": str(tombstone.uuid),
        }
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self._file(identity)
        new = file.with_suffix(".new")
        with new.open("w", encoding="utf-8") as stream:
            json.dump(note, stream)
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(file)
        self._sync()

    def finish(self, identity: Identity) -> None:
        """Remove the note; content where there is none."""
        if not identity.lasting:
            return
        with contextlib.suppress(FileNotFoundError):
            self._file(identity).unlink()
            self._sync()

    def _file(self, identity: Identity) -> Path:
        digest = hashlib.sha256(identity.lasting.encode("utf-8", "replace")).hexdigest()
        return self._directory / f"{digest[:40]}.json"

    def _sync(self) -> None:
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
