"""What is remembered of live mounts: which volume, for whom, how. Hints: the kernel decides.

One small JSON file each below the run directory, so they die with the reboot as mounts do; written
aside and renamed, so each is there whole or not at all. Secrets never enter.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ringbolt.volumes import spec as specs
from ringbolt.volumes.errors import InvalidError
from ringbolt.volumes.volume import Namespace, Publication, Tenant, Volume, VolumeId, parse_id

_SPECS: dict[str, type[specs.Spec]] = {
    one.kind.value: one
    for one in (
        specs.Tmpfs,
        specs.Directory,
        specs.Loop,
        specs.Subvolume,
        specs.Device,
        specs.Image,
        specs.Overlay,
        specs.Nfs,
        specs.Cifs,
        specs.Iscsi,
        specs.Fuse,
    )
}
_ENUMS = {"fs_type": specs.FsType, "format": specs.FormatPolicy, "key": specs.DeviceKey}


@dataclass(frozen=True, slots=True)
class Published:
    """A publication as it was made; `since` by the wall clock."""

    volume: Volume
    publication: Publication
    since: float


@dataclass(frozen=True, slots=True)
class Staged:
    """A staged volume; `options` are its superblock's. `held`: until `unstage`, users or none.

    `mark` tells by which secrets it was opened, and nothing of them (`credentials`).
    """

    volume: Volume
    options: tuple[str, ...]
    held: bool
    since: float
    mark: str = ""


class Records:
    """The files of live mounts. Safe to be used by any thread that holds the volume's lock."""

    def __init__(self, run_dir: Path, *, make: bool = True) -> None:
        """`make` the folders where they are missing; whoever only looks does without."""
        self._published = run_dir / "volumes" / "published"
        self._staged = run_dir / "volumes" / "staged"
        for folder in (self._published, self._staged) if make else ():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put_published(self, record: Published) -> None:
        """Remember a publication, in place of what was remembered at its target."""
        place = record.publication
        text = {
            "volume": _of_volume(record.volume),
            "target": str(place.target),
            "tenant": [
                place.tenant.namespace,
                place.tenant.pod,
                place.tenant.uid,
                place.tenant.service_account,
            ],
            "readonly": place.readonly,
            "fs_group": place.fs_group,
            "since": record.since,
        }
        _write(self._published / _key(str(place.target)), text)

    def published(self, target: Path) -> Published | None:
        """What is remembered at a target; what cannot be read is as good as lost."""
        return _read_published(self._published / _key(str(target)))

    def drop_published(self, target: Path) -> None:
        """Forget it."""
        (self._published / _key(str(target))).unlink(missing_ok=True)

    def all_published(self) -> Iterator[Published]:
        """Every publication that is remembered."""
        for path in sorted(self._published.glob("*.json")):
            if record := _read_published(path):
                yield record

    def put_staged(self, record: Staged) -> None:
        """Remember that a volume is staged, or is being."""
        text = {
            "volume": _of_volume(record.volume),
            "options": list(record.options),
            "held": record.held,
            "since": record.since,
            "mark": record.mark,
        }
        _write(self._staged / f"{record.volume.id}.json", text)

    def staged(self, volume_id: VolumeId) -> Staged | None:
        """What is remembered of a staged volume."""
        return _read_staged(self._staged / f"{volume_id}.json")

    def drop_staged(self, volume_id: VolumeId) -> None:
        """Forget it."""
        (self._staged / f"{volume_id}.json").unlink(missing_ok=True)

    def all_staged(self) -> Iterator[VolumeId]:
        """Every volume that is remembered as staged."""
        for path in sorted(self._staged.glob("*.json")):
            with suppress(InvalidError):
                yield parse_id(path.name.removesuffix(".json"))

    def stamp(self) -> tuple[int, ...]:
        """Changes when a record comes, goes or is written anew."""
        folders = (self._published, self._staged)
        return tuple(one.stat().st_mtime_ns for one in folders if one.exists())

    def sweep(self) -> None:
        """Remove what can be read no more and what a killed process left half written.

        Calls are under way meanwhile: what is being written, or cannot be looked at, is left.
        """
        for folder in (self._published, self._staged):
            read = _read_published if folder == self._published else _read_staged
            for path in folder.iterdir():
                with suppress(OSError):
                    if _is_left(path) if path.suffix != ".json" else _is_broken(path, read):
                        path.unlink()


def _is_left(aside: Path) -> bool:
    """Whether the process that wrote it is gone: its number is the suffix."""
    return not Path("/proc", aside.suffix[1:]).exists()


def _is_broken(path: Path, read: Callable[[Path], object]) -> bool:
    """Raises OSError where that cannot be told."""
    path.read_bytes()
    return read(path) is None


def _key(target: str) -> str:
    return hashlib.sha256(target.encode("utf-8", "surrogateescape")).hexdigest()[:40] + ".json"


def _write(path: Path, text: dict[str, Any]) -> None:
    aside = path.with_suffix(f".{os.getpid()}")
    flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(aside, flags, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(json.dumps(text, ensure_ascii=False))  # json.dump takes twice as long
        aside.rename(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def _read(path: Path) -> dict[str, Any]:
    """Of what cannot be read, nothing."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _read_published(path: Path) -> Published | None:
    found = _read(path)
    try:
        return Published(
            _to_volume(found["volume"]),
            Publication(
                Path(found["target"]),
                Tenant(*found["tenant"]),
                bool(found["readonly"]),
                found["fs_group"],
            ),
            float(found["since"]),
        )
    except (KeyError, TypeError, ValueError, InvalidError):
        return None


def _read_staged(path: Path) -> Staged | None:
    found = _read(path)
    try:
        return Staged(
            _to_volume(found["volume"]),
            tuple(found["options"]),
            bool(found["held"]),
            float(found["since"]),
            str(found.get("mark", "")),
        )
    except (KeyError, TypeError, ValueError, InvalidError):
        return None


def _of_volume(volume: Volume) -> dict[str, Any]:
    spec = volume.spec
    fields = {name: getattr(spec, name) for name in type(spec).__slots__}
    for name in _ENUMS.keys() & fields.keys():
        fields[name] = fields[name] and fields[name].value
    return {
        "kind": volume.kind.value,
        "spec": fields,
        "namespace": volume.namespace,
        "subdir": volume.subdir,
        "options": list(volume.options),
        "encryption": volume.encryption.value,
        "readonly": volume.readonly,
        "block": volume.block,
        "instance": volume.instance,
        "credential": volume.credential,
    }


def _to_volume(found: dict[str, Any]) -> Volume:
    fields: dict[str, Any] = dict(found["spec"])
    for name in _ENUMS.keys() & fields.keys():
        fields[name] = fields[name] and _ENUMS[name](fields[name])
    return Volume(
        _SPECS[found["kind"]](**fields),
        Namespace(found["namespace"]),
        found["subdir"],
        tuple(found["options"]),
        specs.Encryption(found["encryption"]),
        bool(found["readonly"]),
        bool(found["block"]),
        found["instance"],
        found.get("credential", ""),
    )
