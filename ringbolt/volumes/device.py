"""Volumes on whole disks and partitions of the node, found by names that a reboot does not change.

A device is held alone while it is looked at and made ready, and kept open until it is mounted, so
its number can be no other's meanwhile; it is found again by its name once it is held. Whatever else
is using it is a refusal, and so is every doubt. The data is the node's: it is never deleted here.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from ringbolt.linux import block, btrfs
from ringbolt.linux.mount import MountPoint
from ringbolt.linux.mount_api import open_tree
from ringbolt.volumes.backend import Ask
from ringbolt.volumes.errors import (
    BusyError,
    ConflictError,
    InvalidError,
    MismatchError,
    NotAvailableError,
    NotFoundError,
    RefusedError,
    TryAgainError,
)
from ringbolt.volumes.filesystem import SAFE_OPTIONS, open_filesystem
from ringbolt.volumes.filesystem_check import CheckPolicy, check_filesystem
from ringbolt.volumes.format import Wanted, ensure_filesystem
from ringbolt.volumes.grow import grow_mounted, grow_unmounted, is_growable
from ringbolt.volumes.held import Held, hold, identify
from ringbolt.volumes.mounts import Mounts, Root
from ringbolt.volumes.outcome import Created
from ringbolt.volumes.spec import Device, DeviceKey, Encryption, FormatPolicy, FsType, Kind
from ringbolt.volumes.superblock import Superblock
from ringbolt.volumes.tombstones import Tombstones
from ringbolt.volumes.vault import require_possible
from ringbolt.volumes.volume import Volume

_SECTOR = 512
_SLACK = 1 << 20
"""What mkfs itself may leave unused at the end of a device."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A block device by today's node and number (`st_rdev`).

    `settled` once udev has looked at it: until then its names are not all there.
    """

    node: str
    number: int
    settled: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """What a name leads to; `close` are names that there are, where it leads nowhere."""

    candidates: tuple[Candidate, ...]
    close: tuple[str, ...] = ()


Finder = Callable[[DeviceKey, str], Found]
"""Looks at the machine as it is now. Raises InvalidError for what cannot name a device."""


class DeviceBackend:
    """The kind `device`."""

    kind = Kind.DEVICE
    staged = True
    options = SAFE_OPTIONS
    encryptions = frozenset({Encryption.FSCRYPT})

    def __init__(
        self, find: Finder | None, state_dir: Path, check: CheckPolicy = CheckPolicy.PREEN
    ) -> None:
        self._finder = find
        self._tombstones = Tombstones(state_dir / "volumes" / "formatting")
        self._check = check

    def lacks(self) -> str:
        """Every node has block devices; who looks for them is handed in."""
        return "" if self._finder else "devices are found by the agent alone: it must be running"

    def validate(self, volume: Volume) -> None:
        """Raise InvalidError for what a device cannot be."""
        if volume.block and (volume.subdir or volume.options):
            raise InvalidError("a block volume has neither a subdir nor mount options")
        require_possible(volume, _spec(volume).fs_type or FsType.EXT4)
        if volume.block and volume.readonly:
            raise InvalidError("a raw device cannot be given read-only: nothing would hold it")

    def create(self, ask: Ask) -> Created:
        """See that it is there; it is made ready when it is mounted, held alone."""
        one = self._find(_spec(ask.volume))
        sectors = Path(block.directory(one.number), "size").read_text(encoding="ascii")
        return Created(ask.volume.id, int(sectors) * _SECTOR, fresh=False)

    def open_tree(self, ask: Ask, undo: ExitStack) -> int:
        """Mount what is on it, made ready first; of a block volume a clone of its node."""
        del undo  # a detached mount goes with its descriptor
        volume, spec = ask.volume, _spec(ask.volume)
        one = self._find(spec)
        with ExitStack() as opened:
            ready = self._prepare(ask, one, opened)
            if ready is None:
                return _raw(one)
            superblock, device, grows = ready
            tree = open_filesystem(
                one.node, superblock.fs_type, ask.options, readonly=volume.readonly
            )
            opened.callback(os.close, tree)
            _require_mounted(tree, one, superblock)
            if grows and not volume.readonly:
                fill(tree, superblock.fs_type, block.size(device))
            return os.dup(tree)

    def expand(self, ask: Ask, size: int, fd: int | None) -> int:
        """Let the file system have all of a device that became larger by itself."""
        one = self._find(_spec(ask.volume))
        device = os.open(one.node, os.O_RDONLY | os.O_CLOEXEC)
        try:
            has = block.size(device)
        finally:
            os.close(device)
        if has < size:
            raise NotAvailableError(f"{one.node} has {has} bytes and gets no larger from here")
        if fd is not None and not ask.volume.block:
            found = next(iter(block.live_superblocks(one.number)), "")
            if found in {fs_type.value for fs_type in FsType}:
                fill(fd, FsType(found), has)
        return has

    def holds(self, volume: Volume, point: MountPoint, root: Root) -> bool:
        """By the number of what its name leads to now."""
        del root
        one = self._find(_spec(volume))
        if volume.block:
            return point.fstype == "devtmpfs" and point.root == f"/{block.name(one.number)}"
        if point.fstype == FsType.BTRFS.value:  # which numbers its superblocks by itself
            return os.path.realpath(point.source) == os.path.realpath(one.node)
        return point.device == (os.major(one.number), os.minor(one.number))

    def release(self, volume: Volume) -> None:
        """Nothing is held."""

    def delete(self, volume: Volume) -> bool:
        """Never: the device is the node's."""
        raise RefusedError(f"{_spec(volume).value} is a device of the node: wipe it there")

    def _find(self, spec: Device) -> Candidate:
        named = f"{spec.key.value} {spec.value!r}"
        assert self._finder, "lacks() said so"
        found = self._finder(spec.key, spec.value)
        if len(found.candidates) > 1:
            nodes = ", ".join(one.node for one in found.candidates)
            raise ConflictError(f"{named} is several devices, {nodes}: name one of them alone")
        if not found.candidates:
            hint = f"there are {', '.join(found.close)}" if found.close else "see `lsblk`"
            raise NotFoundError(f"no block device has {named}: {hint}")
        (one,) = found.candidates
        if not one.settled:
            raise TryAgainError(f"{one.node} has just come: udev has not looked at it yet")
        return one

    def _prepare(
        self, ask: Ask, one: Candidate, opened: ExitStack
    ) -> tuple[Superblock, int, bool] | None:
        """(what is on it, a descriptor that pins its number, whether it grows once it is mounted).

        None for a block volume.
        """
        volume, spec = ask.volume, _spec(ask.volume)
        _require_unused(one)
        try:
            with hold(one.node, expected=one.number, write=not volume.readonly) as held:
                if self._find(spec).number != one.number:
                    raise MismatchError(f"{spec.value} became another device just now: try again")
                _require_whole(held)
                device = os.open(f"/proc/self/fd/{held.fd}", os.O_RDONLY | os.O_CLOEXEC)
                opened.callback(os.close, device)
                if volume.block:
                    return None
                superblock, grows = self._make_ready(ask, held)
                if identify(device) != held.identity:
                    raise MismatchError(f"{one.node} is not what it was a moment ago: try again")
                return superblock, device, grows
        except BusyError:
            _require_unused(one)  # which says where it is mounted
            raise

    def _make_ready(self, ask: Ask, held: Held) -> tuple[Superblock, bool]:
        spec, readonly = _spec(ask.volume), ask.volume.readonly
        policy = FormatPolicy.NEVER if readonly else spec.format
        encryptable = ask.volume.encryption is Encryption.FSCRYPT
        wanted = Wanted(spec.fs_type, policy, encryptable)
        found = ensure_filesystem(held, wanted, self._tombstones, ask.deadline).superblock
        if readonly:
            return found, False
        check_filesystem(held, found, self._check, ask.deadline)
        if grow_unmounted(held, found, ask.deadline):
            return replace(found, size=held.size), False
        larger = held.size - found.size >= _SLACK
        return found, larger and is_growable(found.fs_type, held.size)


def _raw(one: Candidate) -> int:
    """A clone of the node's own mount, by a descriptor whose number was looked at."""
    node = os.open(one.node, os.O_PATH | os.O_CLOEXEC)
    try:
        if os.fstat(node).st_rdev != one.number:
            raise MismatchError(f"{one.node} became another device just now: try again")
        return open_tree(node, clone=True)
    finally:
        os.close(node)


def _require_whole(held: Held) -> None:
    if parts := block.partitions(held.identity.device):
        raise MismatchError(
            f"{held.name} has partitions, {', '.join(parts)}: name one of them by its partuuid"
        )


def _require_unused(one: Candidate) -> None:
    """Raise BusyError where it is mounted or given out raw, by whatever name."""
    number, name = (os.major(one.number), os.minor(one.number)), block.name(one.number)
    mounts = Mounts.look()
    used = [*mounts.of(number)]
    for line in mounts.text.splitlines():
        root, target = line.split(" ")[3:5]
        if " - devtmpfs " in line and root == f"/{name}":
            raise BusyError(f"{one.node} is given out raw at {target}: unpublish that first")
    if used:
        raise BusyError(f"{one.node} is mounted at {used[0].target}: unmount that first")
    if live := block.live_superblocks(one.number):
        raise BusyError(
            f"{one.node} is still in use by {live[0]} though nothing shows it here: a process or "
            "another mount namespace holds it, see `lsof` and `findmnt -N`"
        )


def _require_mounted(tree: int, one: Candidate, found: Superblock) -> None:
    """That what was mounted is the device that was held. Raises MismatchError."""
    if found.fs_type is not FsType.BTRFS:
        right = os.fstat(tree).st_dev == one.number
    else:
        root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree)
        try:
            right = btrfs.file_system_uuid(root) == found.uuid
        finally:
            os.close(root)
        right = right and block.has_superblock(one.number, found.fs_type.value)
    if not right:
        raise MismatchError(f"{one.node} became another device while it was mounted: try again")


def fill(mounted: int, fs_type: FsType, size: int) -> None:
    """Let a mounted file system have all `size` bytes of its device. Raises as `grow_mounted`."""
    root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mounted)
    try:
        grow_mounted(root, fs_type, size)
    finally:
        os.close(root)


def _spec(volume: Volume) -> Device:
    if not isinstance(volume.spec, Device):
        raise RefusedError(f"{volume.kind.value} is not device")
    return volume.spec
