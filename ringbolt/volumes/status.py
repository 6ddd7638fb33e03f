"""What there is, for people: volumes that are mounted or remembered, where and for whom.

Looks and changes nothing; takes no lock, so a hung call does not hide the others.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from ringbolt.volumes.backend import Listing
from ringbolt.volumes.ground import Ground
from ringbolt.volumes.mounts import Mounts
from ringbolt.volumes.outcome import PublicationStatus, State, VolumeStatus
from ringbolt.volumes.records import Published
from ringbolt.volumes.spec import Kind
from ringbolt.volumes.staging import Staging
from ringbolt.volumes.volume import Volume, VolumeId


def list_volumes(ground: Ground, staging: Staging) -> tuple[VolumeStatus, ...]:
    """All of them, in the order of their ids. Raises OSError."""
    mounts = Mounts.look()
    found: dict[VolumeId, VolumeStatus] = {}
    for volume in _lying(ground):
        found[volume.id] = _status(ground, volume.id, volume)
    for volume_id in ground.records.all_staged():
        staged = ground.records.staged(volume_id)
        status = _status(ground, volume_id, staged.volume if staged else None)
        mounted = staging.point(volume_id) is not None
        found[volume_id] = replace(status, staged=State.MOUNTED if mounted else State.MISSING)
    for record in ground.records.all_published():
        volume_id = record.volume.id
        status = found.get(volume_id) or _status(ground, volume_id, record.volume)
        shown = (*status.publications, _publication(ground, record, mounts))
        found[volume_id] = replace(status, publications=shown)
    return tuple(found[volume_id] for volume_id in sorted(found))


def _lying(ground: Ground) -> Iterator[Volume]:
    """Those whose data lies in our own directories."""
    for backend in ground.backends.values():
        if isinstance(backend, Listing):
            with suppress(FileNotFoundError):
                yield from backend.volumes()


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


def _publication(ground: Ground, record: Published, mounts: Mounts) -> PublicationStatus:
    place = record.publication
    points = mounts.at(ground.places.shown(place.target))
    states = {0: State.MISSING, 1: State.MOUNTED}
    return PublicationStatus(
        place.target,
        place.tenant,
        place.readonly,
        states.get(len(points), State.STACKED),
        record.since,
    )
