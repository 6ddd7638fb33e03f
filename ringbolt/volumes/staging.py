"""The one mount of a volume that has a superblock of its own; publications are clones of it.

It lies below the kubelet's directory, so that it reaches the host and outlives the agent. Whoever
calls holds the volume's lock. Who uses it, mountinfo says.
"""

import errno
import os
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from ringbolt.linux.mount import MS_PRIVATE, MountPoint, mount_setattr, set_propagation
from ringbolt.linux.mount_api import FsContext, move_mount
from ringbolt.volumes import guard, standing, vault
from ringbolt.volumes.backend import Ask
from ringbolt.volumes.credentials import Credentials
from ringbolt.volumes.errors import ConflictError, MismatchError
from ringbolt.volumes.ground import Ground
from ringbolt.volumes.health import ailing
from ringbolt.volumes.mount_options import always
from ringbolt.volumes.mounts import Mounts, Root
from ringbolt.volumes.outcome import State
from ringbolt.volumes.paths import Spot
from ringbolt.volumes.records import Staged
from ringbolt.volumes.spec import Device, Encryption, FsType, Iscsi, Kind, Loop
from ringbolt.volumes.volume import Volume, VolumeId, parse_id

_STAYS = frozenset({errno.ENOTEMPTY, errno.EBUSY, errno.ENOENT})
_WENT_READ_ONLY = frozenset({"emergency_ro", "shutdown"})


class Staging:
    """Stages and unstages."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def ensure(self, ask: Ask, *, held: bool) -> tuple[bool, tuple[str, ...]]:
        """Have the volume staged; whether it was done now, and remarks.

        `held` keeps it until it is unstaged by name. Raises ConflictError, MismatchError and what
        the kind raises.
        """
        volume = ask.volume
        before, now = self._ground.records.staged(volume.id), self._record(ask, held=held)
        if before and before.held:
            now = replace(now, held=True)
        with self._spot(volume) as spot:
            found, remarks = standing.settle(spot, partial(self._holds, volume))
            if found.state is State.MOUNTED and self._is_sound(spot, found.top, ask):
                _check_alike(before, now, found.top)
                self._ground.records.put_staged(now)
                self._ground.quarantined.pop(volume.id, None)
                return False, remarks
            self._ground.records.put_staged(now)
            self._mount(ask, spot)
        self._ground.quarantined.pop(volume.id, None)
        return True, remarks

    def open(self, volume_id: VolumeId) -> int:
        """The root of the staged mount, O_PATH. Raises OSError."""
        with Spot.open(self._ground.places, self._ground.places.staging(volume_id)) as spot:
            return spot.fd()

    def point(self, volume_id: VolumeId) -> MountPoint | None:
        """The staged mount, if there is one."""
        points = Mounts.look().at(self._path(volume_id))
        return points[-1] if points else None

    def users(self, volume_id: VolumeId) -> tuple[MountPoint, ...]:
        """Its mounts below the kubelet's directory, publications and what was bound of them."""
        mounts = Mounts.look()
        path = self._path(volume_id)
        staged = mounts.at(path)
        if not staged:
            return ()
        top = staged[-1]
        inside = self._ground.places.kubelet_root.rstrip("/") + "/"
        shown = top.root.rstrip("/") + "/"
        return tuple(
            one
            for one in mounts.of(top.device)
            if one.target != path
            and one.target.startswith(inside)
            and (one.root == top.root or one.root.startswith(shown))
        )

    def shown_at(self, target: Path) -> VolumeId | None:
        """The staged volume whose superblock is mounted at a target."""
        mounts = Mounts.look()
        stagings = f"{self._ground.places.stagings}"
        staged = {one.device: one.target for one in mounts.below(stagings)}
        for point in reversed(mounts.at(self._ground.places.shown(target))):
            if (path := staged.get(point.device)) is not None:
                return parse_id(path[len(stagings) + 1 :].partition("/")[0])
        return None

    def remove(self, volume_id: VolumeId, volume: Volume | None) -> bool:
        """Unmount it and take everything back; False: it was not staged. Raises BusyError."""
        count = 0
        places = self._ground.places
        with (
            suppress(FileNotFoundError),
            Spot.open(places, places.staging(volume_id)) as spot,
        ):
            _lock(spot)
            count, lazily = standing.unmount_all(spot)
            if lazily:
                self._ground.quarantine(volume_id, "it hung and was only detached")
            guard.take_off(spot)
            self._remove_places(spot, volume_id)
        backend = self._ground.backends.get(volume.kind) if volume else None
        if volume is not None and backend is not None:
            backend.release(volume)
        self._ground.records.drop_staged(volume_id)
        self._ground.secrets.pop(volume_id, None)
        return count > 0

    def _mount(self, ask: Ask, spot: Spot) -> None:
        with ExitStack() as undo:
            undo.callback(self._forget, spot, ask.volume.id)
            guard.put_on(spot)
            tree = self._ground.backend(ask.volume.kind).open_tree(ask, undo)
            try:
                set_propagation(tree, MS_PRIVATE)
                mount_setattr(tree, always(ask.volume.block))
                attach(tree, spot)
            finally:
                os.close(tree)
            undo.pop_all()

    def _forget(self, spot: Spot, volume_id: VolumeId) -> None:
        """Of a mount that failed: nothing of it remains."""
        guard.take_off(spot)
        self._remove_places(spot, volume_id)
        self._ground.records.drop_staged(volume_id)

    def _remove_places(self, spot: Spot, volume_id: VolumeId) -> None:
        """The empty directories; what somebody put there while nothing was mounted stays."""
        try:
            spot.remove()
            with Spot.open(self._ground.places, self._folder(volume_id)) as folder:
                folder.remove()
        except OSError as error:
            if error.errno not in _STAYS:
                raise

    def _holds(self, volume: Volume, point: MountPoint, root: Root) -> bool:
        return self._ground.backend(volume.kind).holds(volume, point, root)

    def _is_sound(self, spot: Spot, point: MountPoint, ask: Ask) -> bool:
        """Whether it can be used; what cannot and is used by nobody is taken off.

        An error makes a file system read-only under all its users, which mountinfo tells (`rw`
        still, with `emergency_ro`); a new mount checks it.
        """
        failed = went_read_only(point) or (point.fstype == "overlay" and ailing(point) is not None)
        if ask.volume.readonly or ("rw" in point.super_options and not failed):
            return True
        used = self.users(ask.volume.id)
        if failed and used:
            raise MismatchError(
                f"{ask.volume.id} went read-only after errors, and {used[0].target} still uses "
                "it: stop its pods, then it is checked and mounted"
            )
        if used:
            _make_writable(spot, ask.volume.id)
            return True
        standing.unmount_all(spot)
        return False

    def _record(self, ask: Ask, *, held: bool) -> Staged:
        """Its secrets by a mark alone, where they are asked for only to make the one mount."""
        opens = ask.volume.kind is Kind.ISCSI or ask.volume.encryption is Encryption.LUKS
        marks = Credentials(self._ground.places.run_dir)
        mark = marks.mark(ask.secrets) if opens else ""
        return Staged(ask.volume, ask.options, held, time.time(), mark)

    def _spot(self, volume: Volume) -> Spot:
        places = self._ground.places
        return Spot.make(places, places.staging(volume.id), file=volume.block)

    def _path(self, volume_id: VolumeId) -> str:
        places = self._ground.places
        return f"{places.kubelet_root.rstrip('/')}/{places.staging(volume_id)}"

    def _folder(self, volume_id: VolumeId) -> str:
        return self._ground.places.staging(volume_id).rpartition("/")[0]


def _make_writable(spot: Spot, volume_id: VolumeId) -> None:
    """Of what is mounted for pods that only read, which go on only reading."""
    root = spot.fd()
    try:
        with FsContext.pick(root) as context:
            context.set_flag("rw")
            context.reconfigure()
    except OSError as error:
        text = f"{volume_id} is mounted read-only and does not become writable: {error.strerror}"
        raise ConflictError(text) from error
    finally:
        os.close(root)


def _lock(spot: Spot) -> None:
    """Take an encrypted volume's key from the kernel, even if its file system lives on unseen."""
    points = Mounts.look().at(spot.path)
    if points and points[-1].fstype == FsType.EXT4.value and points[-1].root == "/":
        root = spot.fd()
        try:
            vault.lock(root)
        finally:
            os.close(root)


def went_read_only(point: MountPoint) -> bool:
    """Whether an error stopped all writing; mountinfo says `rw` still."""
    return bool(_WENT_READ_ONLY & point.super_options)


def attach(tree: int, spot: Spot) -> None:
    """Put a detached mount onto a place. Raises OSError."""
    target = spot.fd()
    try:
        move_mount(tree, target)
    finally:
        os.close(target)


def _check_alike(before: Staged | None, now: Staged, point: MountPoint) -> None:
    """One superblock has one set of options: whoever comes later gets those or nothing.

    And only with the secret that it was opened with.
    """
    volume_id, spec = now.volume.id, now.volume.spec
    wanted = spec.fs_type if isinstance(spec, Loop | Device | Iscsi) else None
    if wanted and not now.volume.block and wanted.value != point.fstype:
        raise MismatchError(f"{volume_id} holds {point.fstype}, not {wanted.value}: ask for that")
    if before and before.mark and before.mark != now.mark:
        raise MismatchError(
            f"{volume_id} is mounted for another pod, which had another secret: name the same"
        )
    if before and (before.options, before.volume.block) != (now.options, now.volume.block):
        raise ConflictError(
            f"{volume_id} is mounted with the options {','.join(before.options) or '(none)'} "
            "for another pod: ask for the same"
        )
