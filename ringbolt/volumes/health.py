"""What is wrong with volumes that are mounted, by what the kernel says of itself.

Reads mountinfo and sysfs alone, so that it answers whatever hangs. A call that is under way on a
volume explains what looks wrong, so its volume is passed over until it has ended.
"""

import enum
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ringbolt.linux import ext4
from ringbolt.linux.mount import MountPoint
from ringbolt.volumes.ground import Ground
from ringbolt.volumes.mounts import Mounts, is_gone
from ringbolt.volumes.records import Published
from ringbolt.volumes.spec import Kind
from ringbolt.volumes.standing import described
from ringbolt.volumes.volume import Tenant, VolumeId

SYS = Path("/sys")
_DELETED = " (deleted)"
_COUNTED = frozenset({"ext4", "overlay"})
_READ_ONLY = frozenset({"squashfs", "erofs"})


class Fault(enum.Enum):
    """What can be wrong."""

    READ_ONLY = "read-only"
    SHUT_DOWN = "shut-down"
    ERRORS = "errors"
    DEVICE_GONE = "device-gone"
    IMAGE_DELETED = "image-deleted"
    UNMOUNTED = "unmounted"
    STACKED = "stacked"
    FOREIGN = "foreign"
    SILENT = "silent"
    QUARANTINED = "quarantined"


CURES = {
    Fault.READ_ONLY: "stop its pods: the next that mounts it has it checked",
    Fault.SHUT_DOWN: "look at its disk, then stop its pods: the next that mounts it has it checked",
    Fault.ERRORS: "save what matters, then stop its pods: the next that mounts it has it checked",
    Fault.DEVICE_GONE: "end the pods that use it and bring the disk back",
    Fault.IMAGE_DELETED: "copy its files out while its pods run: with them it goes for ever",
    Fault.UNMOUNTED: "find out who did it; restart the pod to have it mounted",
    Fault.STACKED: "nothing: the next call on it takes the copies off",
    Fault.FOREIGN: "unmount what is not ours",
    Fault.SILENT: "see to its server or helper; restart the pod to have it mounted anew",
    Fault.QUARANTINED: "see to its server, disk or helper; a call on it that succeeds ends it",
}


@dataclass(frozen=True, slots=True)
class Ailment:
    """One thing that is wrong with a volume; `target` None: with all of it. `tenants`: whose."""

    volume_id: VolumeId
    fault: Fault
    what: str
    target: Path | None = None
    tenants: tuple[Tenant, ...] = ()

    @property
    def todo(self) -> str:
        """What to do about it."""
        return CURES[self.fault]


@dataclass(frozen=True, slots=True)
class Examined:
    """`in_flux`: a call under way hid something; look again once it has ended."""

    ailments: tuple[Ailment, ...]
    in_flux: bool


def ailing(point: MountPoint, sys: Path = SYS) -> tuple[Fault, str] | None:
    """What is wrong with the file system of a mount, the worst first; None: nothing is known."""
    if is_gone(point, str(sys)):
        return Fault.DEVICE_GONE, f"its disk {point.source} was taken out"
    device = _device_name(point, sys)
    counted = _counted(device, sys) if device and point.fstype in _COUNTED else ""
    if "shutdown" in point.super_options:
        return Fault.SHUT_DOWN, f"its file system was shut down{counted}"
    if "emergency_ro" in point.super_options:
        return Fault.READ_ONLY, f"its file system went read-only{counted}"
    readonly = point.fstype in _READ_ONLY  # whose image may be replaced by a new one
    if device and not readonly and (deleted := _deleted_image(device, sys)):
        return Fault.IMAGE_DELETED, f"its image {deleted} was deleted"
    if counted:
        return Fault.ERRORS, f"its file system is damaged{counted}"
    return None


def _device_name(point: MountPoint, sys: Path) -> str:
    """The kernel's name of the block device below a file system; empty: there is none."""
    major, minor = point.device
    with suppress(OSError):
        return (sys / "dev" / "block" / f"{major}:{minor}").readlink().name
    if point.fstype == "overlay":  # of ours: the disk of what is written follows
        return point.source.partition(":")[2]
    return Path(point.source).name if point.fstype == "btrfs" else ""


def _counted(device: str, sys: Path) -> str:
    try:
        found = ext4.read_errors(device, sys)
    except (OSError, ValueError):
        return ""
    if not found.total:
        return ""
    times = "error" if found.total == 1 else "errors"
    return f" after {found.total} {times}, the last in {found.cause or 'the kernel'}"


def _deleted_image(device: str, sys: Path) -> str:
    with suppress(OSError):
        path = sys / "class" / "block" / device / "loop" / "backing_file"
        text = path.read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n")
        if text.endswith(_DELETED):
            return text.removesuffix(_DELETED)
    return ""


class Examination:
    """One look at all volumes that are remembered as mounted; make a new one for each."""

    def __init__(self, ground: Ground, sys: Path = SYS) -> None:
        self._ground = ground
        self._sys = sys
        self._mounts = Mounts.look()
        self._published: dict[VolumeId, list[Published]] = {}
        self._in_flux = False

    def run(self) -> Examined:
        """All that is wrong. Raises OSError."""
        for record in self._ground.records.all_published():
            self._published.setdefault(record.volume.id, []).append(record)
        found: list[Ailment] = []
        for volume_id in self._ground.records.all_staged():
            found += self._staged(volume_id)
        for volume_id, records in self._published.items():
            for record in records:
                found += self._shown(volume_id, record)
        for volume_id, why in dict(self._ground.quarantined).items():
            found.append(self._of_all(volume_id, Fault.QUARANTINED, why))
        return Examined(tuple(found), self._in_flux)

    def _of_all(self, volume_id: VolumeId, fault: Fault, what: str) -> Ailment:
        tenants = (one.publication.tenant for one in self._published.get(volume_id, ()))
        return Ailment(volume_id, fault, what, tenants=tuple(dict.fromkeys(tenants)))

    def _staged(self, volume_id: VolumeId) -> Iterator[Ailment]:
        path = str(self._ground.places.stagings / volume_id / "mount")
        record = self._ground.records.staged(volume_id)
        points = self._mounts.at(path) or self._again(path, volume_id)
        if points is None or record is None:
            return
        if not points:
            if self._ground.records.staged(volume_id):
                what = f"somebody unmounted {path}"
                yield self._of_all(volume_id, Fault.UNMOUNTED, what)
            return
        top = points[-1]
        if wrong := ailing(top, self._sys):
            yield self._of_all(volume_id, *wrong)
        elif not record.volume.readonly and "rw" not in top.super_options:
            yield self._of_all(volume_id, Fault.READ_ONLY, "its file system went read-only")

    def _shown(self, volume_id: VolumeId, record: Published) -> Iterator[Ailment]:
        target, tenant = record.publication.target, record.publication.tenant
        path = self._ground.places.shown(target)
        points = self._mounts.at(path) or self._again(path, volume_id, str(target))
        if points is not None and (wrong := self._wrong(record, target, points)):
            yield Ailment(volume_id, *wrong, target, (tenant,))

    def _wrong(
        self, record: Published, target: Path, points: tuple[MountPoint, ...]
    ) -> tuple[Fault, str] | None:
        if len(points) == 0:
            if self._ground.records.published(target):
                return Fault.UNMOUNTED, f"somebody unmounted {target}"
            return None
        if self._is_foreign(record, points[-1]):
            return Fault.FOREIGN, f"{described(points)} is mounted at {target}"
        if len(points) > 1:
            return Fault.STACKED, f"{len(points)} mounts lie on each other at {target}"
        if self._is_staged(record):
            return None  # its one file system is looked at once
        wrong = ailing(points[-1], self._sys)
        # What a host's file system counted long ago is the host's affair.
        return None if wrong and wrong[0] is Fault.ERRORS else wrong

    def _again(self, path: str, *locked: str) -> tuple[MountPoint, ...] | None:
        """What is mounted there now that the record was read; None: a call explains it."""
        if any(self._ground.locks.status(one) for one in locked):
            self._in_flux = True
            return None
        return Mounts.look().at(path)

    def _is_staged(self, record: Published) -> bool:
        backend = self._ground.backends.get(record.volume.kind)
        return backend is not None and backend.staged

    def _is_foreign(self, record: Published, point: MountPoint) -> bool:
        if record.volume.block:
            return False
        if not self._is_staged(record):
            return record.volume.kind is Kind.TMPFS and point.fstype != "tmpfs"
        staged = self._mounts.at(str(self._ground.places.stagings / record.volume.id / "mount"))
        return any(one.device != point.device for one in staged[-1:])
