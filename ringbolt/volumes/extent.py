"""How large volumes are, and how they become larger."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ringbolt.linux import block, btrfs
from ringbolt.linux.mount import MountPoint
from ringbolt.linux.statfs import FileSystem, statfs
from ringbolt.volumes import hanging
from ringbolt.volumes.backend import Ask, Growing
from ringbolt.volumes.errors import NotAvailableError, NotFoundError
from ringbolt.volumes.ground import Ground
from ringbolt.volumes.health import CURES, ailing
from ringbolt.volumes.mounts import Mounts
from ringbolt.volumes.outcome import Stats
from ringbolt.volumes.paths import Spot
from ringbolt.volumes.spec import Loop, Overlay, Subvolume, Tmpfs
from ringbolt.volumes.staging import Staging
from ringbolt.volumes.volume import Volume, VolumeId


class Extent:
    """Of the volumes of one room."""

    def __init__(self, ground: Ground, staging: Staging) -> None:
        self._ground = ground
        self._staging = staging

    def stats(self, target: Path) -> Stats:
        """Of what is mounted at a target. Raises NotFoundError, DeadlineError, OSError."""
        return self._stats(self._ground.places.relative(target), target)

    def staged_stats(self, volume_id: VolumeId) -> Stats:
        """Of a staged mount. Raises as `stats`."""
        relative = self._ground.places.staging(volume_id)
        return self._stats(relative, Path(self._ground.places.kubelet_root, relative))

    def _stats(self, relative: str, target: Path) -> Stats:
        try:
            with Spot.open(self._ground.places, relative) as spot:
                points = Mounts.look().at(spot.path)
                if not points:
                    raise NotFoundError(f"nothing is mounted at {target}")
                return _stats(spot, points[-1])
        except FileNotFoundError:
            raise NotFoundError(f"there is no {target}") from None

    def expand(self, ask: Ask, size: int) -> int:
        """Grow it; whoever calls holds the volume's lock."""
        backend = self._ground.backend(ask.volume.kind)
        if not isinstance(backend, Growing):
            raise NotAvailableError(f"{ask.volume.kind.value} volumes do not grow")
        with self.mounted(ask.volume) as fd:
            return backend.expand(ask, size, fd)

    @contextmanager
    def mounted(self, volume: Volume) -> Generator[int | None]:
        """The root of a mount of it, staged or, of kinds that are not, published."""
        relative = self.where(volume)
        if relative is None:
            yield None
            return
        with Spot.open(self._ground.places, relative) as spot:
            fd = spot.fd()
        try:
            yield fd
        finally:
            os.close(fd)

    def where(self, volume: Volume) -> str | None:
        """A place where it is mounted, relative to the kubelet's directory."""
        places = self._ground.places
        if self._staging.point(volume.id) is not None:
            return places.staging(volume.id)
        for record in self._ground.records.all_published():
            if record.volume.id == volume.id:
                target = record.publication.target
                if Mounts.look().at(places.shown(target)):
                    return places.relative(target)
        return None


def with_size(volume: Volume, size: int) -> Volume:
    """The volume as it would be asked for with that size, for the policy to judge."""
    spec = volume.spec
    if isinstance(spec, Tmpfs | Loop | Subvolume | Overlay):
        return replace(volume, spec=replace(spec, size=size))
    return volume


def _stats(spot: Spot, point: MountPoint) -> Stats:
    wrong = ailing(point)
    abnormal = f"{wrong[1]}: {CURES[wrong[0]]}" if wrong else ""
    if hanging.can_hang(point.fstype):
        return _of(hanging.read_statfs(spot), abnormal)
    fd = spot.fd()
    try:
        if Path(f"/proc/thread-self/fd/{fd}").is_block_device():
            with open(f"/proc/thread-self/fd/{fd}", "rb") as device:  # noqa: PTH123
                size = block.size(device.fileno())
            return Stats(size, size, 0, 0, 0, 0, abnormal)
        return _limited(_of(statfs(fd), abnormal), fd, point)
    finally:
        os.close(fd)


def _limited(whole: Stats, fd: int, point: MountPoint) -> Stats:
    """A btrfs tells of all that it has; a subvolume may have a part of it only."""
    if point.fstype != "btrfs":
        return whole
    root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    try:
        use = btrfs.read_use(btrfs.file_system_uuid(root), btrfs.subvolume_number(root))
    except FileNotFoundError:  # quotas are off
        return whole
    finally:
        os.close(root)
    if use.limit is None:
        return whole
    left = max(0, min(use.limit - use.referenced, whole.bytes_available))
    return replace(whole, bytes_total=use.limit, bytes_used=use.referenced, bytes_available=left)


def _of(found: FileSystem, abnormal: str) -> Stats:
    return Stats(
        found.size,
        found.size - found.free,
        found.available,
        found.inodes,
        found.inodes - found.inodes_free,
        found.inodes_free,
        abnormal,
    )
