"""What a killed agent, a reboot or a hand left, brought to the state that it should have.

For the start, beside calls that come already: each volume is looked at alone. Mounts decide, then
records; what is half done is finished or taken back. Data is never deleted, only told of.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from ringbolt.volumes import guard
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import InvalidError, VolumeError
from ringbolt.volumes.ground import Ground
from ringbolt.volumes.mounts import Mounts
from ringbolt.volumes.outcome import Reconciled
from ringbolt.volumes.paths import Spot
from ringbolt.volumes.records import Published
from ringbolt.volumes.staging import Staging
from ringbolt.volumes.volume import VolumeId, parse_id

_TARGETS = "pods/*/volumes/*~*/*"
_BLOCK_TARGETS = "plugins/kubernetes.io/csi/volumeDevices/publish/*/*"
_KUBELETS_OWN, _CSI = "kubernetes.io~", "kubernetes.io~csi"

_PATIENCE_S = 2.0


class Reconciliation:
    """One look at everything; make a new one for each."""

    def __init__(self, ground: Ground, staging: Staging) -> None:
        self._ground = ground
        self._staging = staging
        self._guards: list[Path] = []
        self._dropped: list[Path] = []
        self._unstaged: list[VolumeId] = []
        self._orphans: list[Path] = []
        self._remarks: list[str] = []

    def run(self) -> Reconciled:
        """Put everything right that is in nobody's use; what was found. Raises OSError."""
        self._ground.locks.sweep()
        self._ground.records.sweep()
        for record in tuple(self._ground.records.all_published()):
            self._told(partial(self._publication, record))
        for volume_id in sorted(set(self._staged())):
            self._told(partial(self._stage, volume_id))
        self._sweep_targets()
        return Reconciled(
            tuple(self._guards),
            tuple(self._dropped),
            tuple(self._unstaged),
            tuple(self._orphans),
            tuple(self._remarks),
        )

    def _told(self, step: Callable[[], None]) -> None:
        """One volume's trouble is told of and keeps no other from being looked at."""
        try:
            step()
        except (VolumeError, OSError) as error:
            self._remarks.append(str(error))

    def _publication(self, record: Published) -> None:
        """Drop a record whose mount is gone, and the guard under it."""
        target, deadline = record.publication.target, Deadline.after(_PATIENCE_S)
        with (
            self._ground.locks.hold(str(target), "reconcile", deadline),
            self._ground.alone(record.volume.id, "reconcile", deadline),
        ):
            if self._ground.records.published(target) is None or self._is_mounted(target):
                return
            with (
                suppress(FileNotFoundError),
                Spot.open(self._ground.places, self._ground.places.relative(target)) as spot,
            ):
                self._unguard(spot)
            backend = self._ground.backends.get(record.volume.kind)
            if backend and not backend.staged:
                backend.release(record.volume)
            self._ground.records.drop_published(target)
            self._dropped.append(target)

    def _stage(self, volume_id: VolumeId) -> None:
        """Unstage what nobody uses; a mount by its name alone is asked for is kept."""
        with self._ground.alone(volume_id, "reconcile", Deadline.after(_PATIENCE_S)):
            record = self._ground.records.staged(volume_id)
            mounted = self._staging.point(volume_id) is not None
            if self._staging.users(volume_id) or (record and record.held and mounted):
                return
            self._staging.remove(volume_id, record.volume if record else None)
            self._unstaged.append(volume_id)

    def _staged(self) -> Iterator[VolumeId]:
        yield from self._ground.records.all_staged()
        with suppress(FileNotFoundError):
            for name in os.listdir(self._ground.places.stagings):  # noqa: PTH208
                with suppress(InvalidError):
                    yield parse_id(name)

    def _sweep_targets(self) -> None:
        """Guards of a boot ago, and mounts that nothing is remembered of."""
        root = Path(self._ground.places.kubelet_root)
        mounts = Mounts.look()
        mounted = {one.target for one in mounts.below(str(root))}
        ours = {one.device for one in mounts.below(str(self._ground.places.stagings))}
        for path in _targets(root):
            if str(path) not in mounted:
                self._told(partial(self._left, path))
            elif mounts.at(str(path))[-1].device in ours and not self._is_known(path):
                self._orphans.append(path)

    def _left(self, path: Path) -> None:
        """A target without a mount: it must be the kubelet's to remove."""
        places, deadline = self._ground.places, Deadline.after(_PATIENCE_S)
        with (
            self._ground.locks.hold(str(places.plain(path)), "reconcile", deadline),
            suppress(FileNotFoundError),
            Spot.open(places, places.relative(path)) as spot,
        ):
            if not self._is_mounted(path):
                self._unguard(spot)

    def _unguard(self, spot: Spot) -> None:
        if guard.take_off(spot):
            self._guards.append(Path(spot.path))

    def _is_mounted(self, target: Path) -> bool:
        return bool(Mounts.look().at(self._ground.places.shown(target)))

    def _is_known(self, path: Path) -> bool:
        return self._ground.records.published(self._ground.places.plain(path)) is not None


def _targets(root: Path) -> Iterator[Path]:
    """Where kubelets want volumes of drivers, one deeper for CSI; what is theirs is passed over.

    Only folders are read: looking at a mount could hang.
    """
    for path in root.glob(_TARGETS):
        driver = path.parent.name
        if driver == _CSI:
            yield path / "mount"
        elif not driver.startswith(_KUBELETS_OWN):
            yield path
    yield from root.glob(_BLOCK_TARGETS)
