"""What there is, for people: volumes that are mounted or remembered, where and for whom.

Looks and changes nothing; takes no lock, so a hung call does not hide the others.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ringbolt.linux.mount import MountPoint
from ringbolt.volumes.errors import DeadlineError, InvalidError
from ringbolt.volumes.ground import Ground
from ringbolt.volumes.lasting import lying
from ringbolt.volumes.mounts import Mounts
from ringbolt.volumes.outcome import PublicationStatus, State, VolumeStatus
from ringbolt.volumes.paths import Spot
from ringbolt.volumes.records import Published
from ringbolt.volumes.spec import Kind
from ringbolt.volumes.standing import read_root
from ringbolt.volumes.volume import Volume, VolumeId, parse_id


def list_volumes(ground: Ground, *, probe: bool = False) -> tuple[VolumeStatus, ...]:
    """All of them, in the order of their ids; `probe`: see whether they answer. Raises OSError."""
    mounts = Mounts.look()
    found: dict[VolumeId, VolumeStatus] = {}
    for volume in lying(ground):
        found[volume.id] = _status(ground, volume.id, volume)
    for volume_id in ground.records.all_staged():
        staged = ground.records.staged(volume_id)
        status = _status(ground, volume_id, staged.volume if staged else None)
        points = mounts.at(str(ground.places.stagings / volume_id / "mount"))
        found[volume_id] = replace(status, staged=_state(points))
    for record in ground.records.all_published():
        volume_id = record.volume.id
        status = found.get(volume_id) or _status(ground, volume_id, record.volume)
        shown = (*status.publications, _publication(ground, record, mounts, probe=probe))
        found[volume_id] = replace(status, publications=shown)
    for volume_id in ground.quarantined.keys() - found.keys():
        with suppress(InvalidError):  # of a target, where no volume was known
            found[volume_id] = _status(ground, parse_id(volume_id), None)
    return tuple(found[volume_id] for volume_id in sorted(found))


def _status(ground: Ground, volume_id: VolumeId, volume: Volume | None) -> VolumeStatus:
    return VolumeStatus(
        volume_id,
        Kind(volume_id.partition(".")[0]),
        volume,
        None,
        (),
        ground.locks.status(volume_id),
        ground.quarantined.get(volume_id, ""),
    )


def _publication(
    ground: Ground, record: Published, mounts: Mounts, *, probe: bool
) -> PublicationStatus:
    place = record.publication
    points = mounts.at(ground.places.shown(place.target))
    state = _state(points)
    if points and probe and not _answers(ground, place.target, points[-1]):
        state = State.CORRUPT
    return PublicationStatus(place.target, place.tenant, place.readonly, state, record.since)


def _state(points: tuple[MountPoint, ...]) -> State:
    return {0: State.MISSING, 1: State.MOUNTED}.get(len(points), State.STACKED)


def _answers(ground: Ground, target: Path, point: MountPoint) -> bool:
    try:
        with Spot.open(ground.places, ground.places.relative(target)) as spot:
            read_root(spot, point)
    except (OSError, DeadlineError):
        return False
    return True
