"""From a path or a volume to all that is behind it: mounts, device, image, pod, rule, users.

Looks and changes nothing. A path is followed by hand, and not into what could hang.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ringbolt.linux.mount import MountPoint
from ringbolt.linux.mount_users import FileUser, Shower, find_file_users, find_showers
from ringbolt.volumes import guard, hanging
from ringbolt.volumes.errors import InvalidError, VolumeError
from ringbolt.volumes.ground import Ground
from ringbolt.volumes.health import SYS
from ringbolt.volumes.inspection import Inspected, Inspection
from ringbolt.volumes.mount_options import DECIDED, shown_as
from ringbolt.volumes.mounts import Mounts
from ringbolt.volumes.paths import Spot
from ringbolt.volumes.policy import Judged, judge, permit
from ringbolt.volumes.records import Published
from ringbolt.volumes.spec import Kind
from ringbolt.volumes.volume import VolumeId

_MOST_LINKS = 40


@dataclass(frozen=True, slots=True)
class Place:
    """A place where a volume should appear.

    `wanted` and `has` are the mount's flags, `wanted` None where policy gives it no more. `points`
    lie on each other. `guarded` None: that cannot be told.
    """

    target: str
    published: Published | None
    points: tuple[MountPoint, ...]
    guarded: bool | None
    wanted: tuple[str, ...] | None
    has: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Traced:
    """All that is behind one volume. `backing`: the file behind its loop device."""

    inspected: Inspected
    backing: str
    places: tuple[Place, ...]
    rules: tuple[Judged, ...]
    showers: tuple[Shower, ...]
    users: tuple[FileUser, ...]


@dataclass(frozen=True, slots=True)
class PathTrace:
    """What a path is. `point` is the mount that it lies on, `role` what it is of the volume's."""

    path: str
    resolved: str
    point: MountPoint | None
    stacked: int
    backing: str
    volume_id: VolumeId | None
    role: str


def trace_volume(ground: Ground, one: Inspected) -> Traced:
    """Follow a volume. Raises OSError."""
    mounts = Mounts.look()
    places = tuple(_places(ground, mounts, one))
    point = next((each.points[-1] for each in places if each.points), None)
    showers = find_showers(point.device) if point else ()
    if point and not _is_own(ground, one):
        showers = ()  # the host's file system is everybody's
    ids = {each.mount_id for shower in showers for each in shower.points}
    users = find_file_users(ids) if ids else ()
    return Traced(
        one, backing_of(point) if point else "", places, _rules(ground, one), showers, users
    )


def trace_path(ground: Ground, inspection: Inspection, path: str) -> PathTrace:
    """Follow a path, which need not exist. Raises OSError."""
    mounts = Mounts.look()
    resolved = resolve(mounts, path)
    point = covering(mounts, resolved)
    stacked = len(mounts.at(point.target)) if point else 0
    volume_id, role = _whose(ground, inspection, point, resolved)
    return PathTrace(
        path, resolved, point, stacked, backing_of(point) if point else "", volume_id, role
    )


def covering(mounts: Mounts, path: str) -> MountPoint | None:
    """The mount that a resolved path lies on."""
    for current in (path, *map(str, Path(path).parents)):
        if points := mounts.at(current):
            return points[-1]
    return None


def resolve(mounts: Mounts, path: str) -> str:
    """Follow symbolic links, but none that lies on a mount that could hang."""
    left = [one for one in os.path.abspath(path).split("/") if one][::-1]  # noqa: PTH100
    current, links = "/", 0
    while left:
        name = left.pop()
        step = current.rstrip("/") + "/" + name
        if name == "..":
            current = str(Path(current).parent)
            continue
        point = covering(mounts, current)
        target = ""
        if not point or not hanging.can_hang(point.fstype):
            with suppress(OSError):
                target = os.readlink(step)  # noqa: PTH115
        if not target or links >= _MOST_LINKS:
            current = step
            continue
        links += 1
        left += [one for one in target.split("/") if one not in {"", "."}][::-1]
        current = "/" if target.startswith("/") else current
    return current


def backing_of(point: MountPoint) -> str:
    """The file behind a mount's loop device; empty: it has none."""
    with suppress(OSError):
        name = Path(point.source).name
        path = SYS / "class" / "block" / name / "loop" / "backing_file"
        return path.read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n")
    return ""


def _places(ground: Ground, mounts: Mounts, one: Inspected) -> Iterator[Place]:
    volume_id = one.status.volume_id
    if one.status.staged is not None:
        path = str(ground.places.stagings / volume_id / "mount")
        points = mounts.at(path)
        relative = ground.places.staging(volume_id)
        yield Place(path, None, points, _guarded(ground, relative), None, _flags(points))
    for status in one.status.publications:
        record = ground.records.published(status.target)
        relative = ground.places.relative(status.target)
        points = mounts.at(ground.places.shown(status.target))
        guarded, wanted = _guarded(ground, relative), _wanted(ground, record)
        yield Place(str(status.target), record, points, guarded, wanted, _flags(points))


def _flags(points: tuple[MountPoint, ...]) -> tuple[str, ...]:
    return tuple(sorted(points[-1].options & DECIDED)) if points else ()


def _guarded(ground: Ground, relative: str) -> bool | None:
    with suppress(OSError), Spot.open(ground.places, relative) as spot:
        return guard.is_on(spot)
    return None


def _wanted(ground: Ground, record: Published | None) -> tuple[str, ...] | None:
    if record is None:
        return None
    volume, tenant = record.volume, record.publication.tenant
    with suppress(VolumeError):
        options = ground.backend(volume.kind).options
        attributes = permit(ground.policy, volume, tenant, options).attributes
        readonly = {"ro"} if record.publication.readonly or volume.readonly else set[str]()
        return tuple(sorted(shown_as(attributes) | readonly))
    return None


def _rules(ground: Ground, one: Inspected) -> tuple[Judged, ...]:
    volume, backend = one.status.volume, ground.backends.get(one.status.kind)
    if volume is None or backend is None:
        return ()
    tenants = [each.tenant for each in one.status.publications]
    if not tenants:
        return ()
    with suppress(InvalidError):
        return judge(ground.policy, volume, tenants[0], backend.options)
    return ()


def _is_own(ground: Ground, one: Inspected) -> bool:
    backend = ground.backends.get(one.status.kind)
    is_memory = one.status.kind is Kind.TMPFS
    return one.status.staged is not None or is_memory or backend is None


def _whose(
    ground: Ground, inspection: Inspection, point: MountPoint | None, path: str
) -> tuple[VolumeId | None, str]:
    stagings = str(ground.places.stagings)
    for one in inspection.volumes:
        volume_id = one.status.volume_id
        if _within(path, f"{stagings}/{volume_id}"):
            return volume_id, "where it is staged"
        for place in one.status.publications:
            if _within(path, ground.places.shown(place.target)):
                return volume_id, f"where {place.tenant.namespace}/{place.tenant.pod} has it"
        volume = one.status.volume
        if volume and one.name:
            data = ground.places.data(volume.kind.value, volume.namespace)
            if any(_within(path, f"{data}/{one.name}{end}") for end in ("", ".img")):
                return volume_id, "its data"
    if point:
        staged = {each.device: each.target for each in Mounts.look().below(stagings)}
        if (target := staged.get(point.device)) is not None:
            name = target[len(stagings) + 1 :].partition("/")[0]
            return VolumeId(name), "a further mount of it"
    return None, ""


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
