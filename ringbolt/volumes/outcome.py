"""What the verbs answer, as frozen values."""

import enum
from dataclasses import dataclass
from pathlib import Path

from ringbolt.volumes.spec import Kind
from ringbolt.volumes.volume import Tenant, Volume, VolumeId


@dataclass(frozen=True, slots=True)
class Created:
    """`size` in bytes, None where the kind has none; `fresh`: made now."""

    volume_id: VolumeId
    size: int | None
    fresh: bool


@dataclass(frozen=True, slots=True)
class Staged:
    """A volume's one mount, `path`, which publications are clones of. `fresh`: made now."""

    volume_id: VolumeId
    path: Path
    fresh: bool


@dataclass(frozen=True, slots=True)
class Published:
    """`fresh`: mounted now. `remarks`: what was repaired or could not be had, for the log."""

    volume_id: VolumeId
    target: Path
    fresh: bool
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unpublished:
    """`volume_id` None: nothing of ours was known there. `unstaged`: it was the last user."""

    target: Path
    volume_id: VolumeId | None = None
    unmounted: int = 0
    unstaged: bool = False
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stats:
    """Of a mounted volume; bytes and inodes as statfs(2) counts them for an ordinary user."""

    bytes_total: int
    bytes_used: int
    bytes_available: int
    inodes_total: int
    inodes_used: int
    inodes_free: int
    abnormal: str = ""


@dataclass(frozen=True, slots=True)
class Deleted:
    """Data that is gone: `freed` are the bytes that came free with it, None: that is not known."""

    volume_id: VolumeId
    freed: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of a volume at one moment, a volume of its kind itself."""

    volume_id: VolumeId
    source: VolumeId
    size: int | None


class State(enum.Enum):
    """How a volume or publication stands by mountinfo."""

    MOUNTED = "mounted"
    MISSING = "missing"
    STACKED = "stacked"
    FOREIGN = "foreign"
    CORRUPT = "corrupt"


@dataclass(frozen=True, slots=True)
class PublicationStatus:
    """One place where a volume appears."""

    target: Path
    tenant: Tenant
    readonly: bool
    state: State
    since: float


@dataclass(frozen=True, slots=True)
class LockStatus:
    """Who holds a volume's lock, for how long: a hung call is seen here."""

    call: str
    age_s: float


@dataclass(frozen=True, slots=True)
class VolumeStatus:
    """A volume that is staged or published now, or that lies in our own directories."""

    volume_id: VolumeId
    kind: Kind
    volume: Volume | None
    staged: State | None
    publications: tuple[PublicationStatus, ...] = ()
    lock: LockStatus | None = None
    quarantined: str = ""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a look at everything found and put right; data is reported, never deleted."""

    guards: tuple[Path, ...] = ()
    dropped: tuple[Path, ...] = ()
    unstaged: tuple[VolumeId, ...] = ()
    orphans: tuple[Path, ...] = ()
    remarks: tuple[str, ...] = ()
