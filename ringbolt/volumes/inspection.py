"""A look at all volumes of a node, for people: as values, changing nothing, and never hanging.

Works beside an agent and without one. What depends on a server is asked in killable children, all
at once.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ringbolt.volumes.errors import InvalidError, VolumeError
from ringbolt.volumes.extent import Extent
from ringbolt.volumes.ground import Ground, table_of
from ringbolt.volumes.health import Ailment, Examination, Fault
from ringbolt.volumes.kinds import all_kinds
from ringbolt.volumes.locks import Locks
from ringbolt.volumes.mounts import Mounts
from ringbolt.volumes.outcome import State, Stats, VolumeStatus
from ringbolt.volumes.quarantine import Quarantine
from ringbolt.volumes.records import Records
from ringbolt.volumes.setting import Setting
from ringbolt.volumes.spec import Kind, identity_of, is_ephemeral, size_of
from ringbolt.volumes.staging import Staging
from ringbolt.volumes.status import list_volumes
from ringbolt.volumes.volume import Volume, parse_id

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Inspected:
    """One volume. `stats` None: it is not mounted, or does not answer."""

    status: VolumeStatus
    stats: Stats | None = None
    device: str = ""
    ailments: tuple[Ailment, ...] = ()

    @property
    def name(self) -> str:
        """What its user calls it."""
        return name_of(self.status.volume) if self.status.volume else ""

    @property
    def size(self) -> int | None:
        """Bytes that it has, or that were asked for."""
        if self.stats:
            return self.stats.bytes_total
        return size_of(self.status.volume.spec) if self.status.volume else None


@dataclass(frozen=True, slots=True)
class KindStatus:
    """What this node can of a kind: `lack` says what it needs. `allowed`: a rule gives it."""

    kind: Kind
    lack: str
    allowed: bool


@dataclass(frozen=True, slots=True)
class Inspection:
    """Of one node. `orphans` are mounts of ours that nothing is remembered of."""

    volumes: tuple[Inspected, ...]
    orphans: tuple[Path, ...]
    kinds: tuple[KindStatus, ...]


def name_of(volume: Volume) -> str:
    """A volume's name in its namespace, or what it is made of."""
    if is_ephemeral(volume.spec):
        return volume.instance.partition("/")[2] or volume.instance
    name = getattr(volume.spec, "name", None)
    return str(name) if name else " ".join(identity_of(volume.spec))


def ground_to_look(setting: Setting) -> Ground:
    """What a look stands on; makes nothing."""
    places = setting.places
    records = Records(places.run_dir, make=False)
    locks = Locks(places.run_dir, make=False)
    quarantine = Quarantine(places.run_dir)
    kinds = table_of(all_kinds(setting))
    return Ground(places, records, locks, setting.policy, kinds, quarantine)


def inspect(ground: Ground) -> Inspection:
    """Look at everything. Raises OSError."""
    staging = Staging(ground)
    statuses = list_volumes(ground)
    ailments = Examination(ground).run().ailments

    def look(one: VolumeStatus) -> Inspected:
        return _inspected(ground, staging, one, ailments)

    with ThreadPoolExecutor(_AT_ONCE, "look") as pool:
        volumes = tuple(pool.map(look, statuses))
    return Inspection(volumes, tuple(_orphans(ground)), tuple(_kinds(ground)))


def _inspected(
    ground: Ground, staging: Staging, status: VolumeStatus, ailments: tuple[Ailment, ...]
) -> Inspected:
    volume_id = status.volume_id
    found = [one for one in ailments if one.volume_id == volume_id]
    stats: Stats | None = None
    point = staging.point(volume_id)
    if point or any(one.state is State.MOUNTED for one in status.publications):
        try:
            stats = _stats(ground, staging, status)
        except (VolumeError, OSError) as error:
            found.append(Ailment(volume_id, Fault.SILENT, f"it does not answer: {error}"))
    device = point.source if point else ""
    return Inspected(status, stats, device, tuple(found))


def _stats(ground: Ground, staging: Staging, status: VolumeStatus) -> Stats | None:
    extent = Extent(ground, staging)
    for one in status.publications:
        if one.state in {State.MOUNTED, State.STACKED}:
            return extent.stats(one.target)
    return extent.staged_stats(status.volume_id)


def _orphans(ground: Ground) -> Iterator[Path]:
    """Staged mounts that nothing is remembered of, and their clones at targets."""
    mounts = Mounts.look()
    root, stagings = ground.places.kubelet_root, str(ground.places.stagings)
    ours = {one.device for one in mounts.below(stagings)}
    for point in mounts.below(root):
        path = Path(point.target)
        if path.is_relative_to(stagings):
            if not _is_staged(ground, path.relative_to(stagings).parts[0]):
                yield path
        elif point.device in ours and not _is_published(ground, path):
            yield path


def _is_staged(ground: Ground, name: str) -> bool:
    with suppress(InvalidError):
        return ground.records.staged(parse_id(name)) is not None
    return False


def _is_published(ground: Ground, path: Path) -> bool:
    """Or lies in the folder of something that is: a kubelet binds parts of volumes (subPath)."""
    if "volume-subpaths" in path.parts:
        return True
    with suppress(InvalidError):
        return ground.records.published(ground.places.plain(path)) is not None
    return False


def _kinds(ground: Ground) -> Iterator[KindStatus]:
    allowed = {kind for rule in ground.policy.rules for kind in rule.kinds}
    for kind in Kind:
        backend = ground.backends.get(kind)
        lack = backend.lacks() if backend else "it is not built in"
        yield KindStatus(kind, lack, kind in allowed)
