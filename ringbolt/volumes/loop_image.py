"""Volumes in image files: a file system in a file of our own, by a loop device.

A loop device belongs to a file, not to a path: one is found again by the file's device and inode,
so a file never has two. It clears itself when its last user goes (LO_FLAGS_AUTOCLEAR), whoever was
killed. Its sectors are 512 bytes, always: a file system made on others does not mount.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from ringbolt.linux import loop
from ringbolt.linux.mount import MountPoint
from ringbolt.linux.mount_api import open_tree
from ringbolt.volumes import backing_file
from ringbolt.volumes.backend import Ask
from ringbolt.volumes.backing_file import BackingFiles
from ringbolt.volumes.content import find_filesystem
from ringbolt.volumes.copying import at_rest, copy_bytes, make_own, share_blocks
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import (
    BusyError,
    ConflictError,
    InvalidError,
    MismatchError,
    NotFoundError,
    RefusedError,
)
from ringbolt.volumes.filesystem import SAFE_OPTIONS, open_filesystem
from ringbolt.volumes.filesystem_check import CheckPolicy, check_filesystem
from ringbolt.volumes.format import Wanted, ensure_filesystem
from ringbolt.volumes.grow import grow_mounted, grow_unmounted, is_growable, require_growable
from ringbolt.volumes.held import Held, identify
from ringbolt.volumes.mounts import Root
from ringbolt.volumes.outcome import Created, Snapshot
from ringbolt.volumes.spec import Encryption, FsType, Kind, Loop
from ringbolt.volumes.superblock import Superblock
from ringbolt.volumes.tombstones import Tombstones
from ringbolt.volumes.vault import require_possible
from ringbolt.volumes.volume import Namespace, Volume

_SECTOR = 512
_WORTHWHILE = 1 << 20
"""What mkfs itself may leave unused."""
_CONTROL = Path(loop.CONTROL)


class LoopBackend:
    """The kind `loop`; images lie in `folder` of those below `state_dir`."""

    kind = Kind.LOOP
    staged = True
    options = SAFE_OPTIONS
    encryptions = frozenset({Encryption.FSCRYPT})

    def __init__(
        self,
        state_dir: Path,
        check: CheckPolicy = CheckPolicy.PREEN,
        folder: str = Kind.LOOP.value,
    ) -> None:
        self._files = BackingFiles(state_dir, folder)
        self._tombstones = Tombstones(state_dir / "volumes" / "formatting")
        self._check = check

    def lacks(self) -> str:
        """The kernel's loop driver."""
        return "" if _CONTROL.exists() else f"{_CONTROL} is missing: load the kernel module loop"

    def validate(self, volume: Volume) -> None:
        """Raise InvalidError for what an image file cannot be."""
        require_possible(volume, _spec(volume).fs_type)
        if volume.block and (volume.subdir or volume.options):
            raise InvalidError("a block volume has neither a subdir nor mount options")

    def create(self, ask: Ask) -> Created:
        """Make the image with its file system, complete before it has a name."""
        volume, spec = ask.volume, _spec(ask.volume)
        try:
            fd = self._open(volume)
        except NotFoundError:
            if spec.size is None:
                raise
            size = spec.size - spec.size % _SECTOR
            finish = partial(self._finish, volume, ask.deadline)
            fresh = self._files.make(volume.namespace, spec.name, size, finish)
            return Created(volume.id, size, fresh)
        try:
            return Created(volume.id, _check_size(volume, fd), fresh=False)
        finally:
            os.close(fd)

    def open_tree(self, ask: Ask, undo: ExitStack) -> int:
        """Mount what is in the image, checked first where it is in nobody's use."""
        volume, spec = ask.volume, _spec(ask.volume)
        with ExitStack() as opened:
            image = self._open(volume)
            opened.callback(os.close, image)
            bound, grows = _find(image), False
            if bound is None:
                grows = not volume.block and self._prepare(ask, image)
                number, fd = self._bind(volume, image)
            else:
                number, fd = bound, loop.open_loop(bound)
            opened.callback(os.close, fd)
            device = loop.device_path(number)
            if volume.block:
                if bound is None:
                    undo.callback(loop.detach, device)
                return open_tree(device, clone=True)
            tree = open_filesystem(device, spec.fs_type, ask.options, readonly=volume.readonly)
            if grows:
                undo.callback(os.close, tree)
                _fill(tree, spec.fs_type, os.fstat(image).st_size)
            return tree

    def expand(self, ask: Ask, size: int, fd: int | None) -> int:
        """The file, its loop device, and the file system: now if it is mounted, or with that."""
        volume, spec = ask.volume, _spec(ask.volume)
        with ExitStack() as opened:
            image = self._open(volume)
            opened.callback(os.close, image)
            wanted = -(-size // _SECTOR) * _SECTOR
            if not volume.block and wanted > os.fstat(image).st_size:
                require_growable(spec.fs_type, wanted)
            backing_file.grow(image, wanted, preallocate=spec.preallocate)
            has = os.fstat(image).st_size
            if (number := _find(image)) is not None:
                device = loop.open_loop(number)
                opened.callback(os.close, device)
                loop.update_capacity(device)
            if fd is not None and not volume.block and self._has_room(volume, image):
                _fill(fd, spec.fs_type, has)
        return has

    def snapshot(self, ask: Ask, name: str, fd: int | None, *, plain: bool) -> Snapshot:
        """Copy the image, its file system at rest. A plain copy takes too long for that."""
        volume, copy = ask.volume, replace(ask.volume, spec=replace(_spec(ask.volume), name=name))
        with ExitStack() as opened:
            image = self._open(volume)
            opened.callback(os.close, image)
            if _find(image) is not None and (fd is None or volume.block or plain):
                why = "for as long as a plain copy takes" if plain else "from here"
                text = f"{volume.id} is in use, and cannot be brought to rest {why}: end that first"
                raise BusyError(text)

            def finish(target: int) -> None:
                if plain:
                    copy_bytes(image, target, ask.deadline)
                else:
                    with at_rest(fd, image):
                        share_blocks(image, target)
                make_own(target, copy.id, ask.deadline)

            if not self._files.make(volume.namespace, name, 0, finish):
                raise ConflictError(f"there is a volume {copy.id}: delete it first")
            return Snapshot(copy.id, volume.id, os.fstat(image).st_size)

    def holds(self, volume: Volume, point: MountPoint, root: Root) -> bool:
        """By the file behind its loop device."""
        del root
        device = f"/dev{point.root}" if volume.block else point.source
        number = device.removeprefix("/dev/loop")
        if not number.isdecimal():
            return False
        try:
            image = self._open(volume, os.O_RDONLY)
        except NotFoundError:
            return False
        try:
            return _find(image) == int(number)
        finally:
            os.close(image)

    def release(self, volume: Volume) -> None:
        """A raw device does not clear itself: a mount of its node does not hold it."""
        if not volume.block:
            return
        try:
            image = self._open(volume, os.O_RDONLY)
        except NotFoundError:
            return
        try:
            number = _find(image)
        finally:
            os.close(image)
        if number is not None:
            loop.detach(loop.device_path(number))

    def delete(self, volume: Volume) -> bool:
        """Delete the image. Raises BusyError while a loop device has it."""
        spec = _spec(volume)
        try:
            self._require_free(volume)
        except NotFoundError:
            return False
        return self._files.delete(volume.namespace, spec.name)

    def renew(self, ask: Ask) -> None:
        """Have a new file system in a new image of its size take its place, all at once."""
        volume = ask.volume
        size = self._require_free(volume)
        finish = partial(self._finish, volume, ask.deadline)
        self._files.replace(volume.namespace, _spec(volume).name, size, finish)

    def volumes(self) -> Iterator[Volume]:
        """One for each image."""
        for namespace, name in self.names():
            yield Volume(Loop(name), namespace)

    def names(self) -> Iterator[tuple[Namespace, str]]:
        """The same, by what tells them apart."""
        return self._files.names()

    def freeable(self, volume: Volume) -> int | None:
        """What its image has of the disk for itself."""
        image = self._open(volume, os.O_RDONLY)
        try:
            return backing_file.own_bytes(image)
        finally:
            os.close(image)

    def _require_free(self, volume: Volume) -> int:
        """The size of an image that no loop device has. Raises BusyError, NotFoundError."""
        image = self._open(volume, os.O_RDONLY)
        try:
            if (number := _find(image)) is not None:
                raise BusyError(
                    f"{volume.id} is in use by {loop.device_path(number)}: see `lsblk`, and "
                    "other mount namespaces"
                )
            return os.fstat(image).st_size
        finally:
            os.close(image)

    def _open(self, volume: Volume, flags: int = os.O_RDWR) -> int:
        return self._files.open(volume.namespace, _spec(volume).name, flags)

    def _finish(self, volume: Volume, deadline: Deadline, fd: int) -> None:
        spec = _spec(volume)
        if spec.preallocate:
            backing_file.allocate(fd, os.fstat(fd).st_size)
        if not volume.block:
            self._ensure_filesystem(volume, fd, deadline)

    def _prepare(self, ask: Ask, image: int) -> bool:
        """Have it checked and of the file's size; whether it can grow only once it is mounted."""
        held, found = self._ensure_filesystem(ask.volume, image, ask.deadline)
        if ask.volume.readonly:
            return False
        check_filesystem(held, found, self._check, ask.deadline)
        if grow_unmounted(held, found, ask.deadline):
            return False
        return held.size - found.size >= _WORTHWHILE and is_growable(found.fs_type, held.size)

    def _has_room(self, volume: Volume, image: int) -> bool:
        """Whether the file is larger than its file system."""
        found = find_filesystem(self._held(volume, image))
        return found is None or os.fstat(image).st_size - found.size >= _WORTHWHILE

    def _ensure_filesystem(
        self, volume: Volume, fd: int, deadline: Deadline
    ) -> tuple[Held, Superblock]:
        spec, held = _spec(volume), self._held(volume, fd)
        encryptable = volume.encryption is Encryption.FSCRYPT
        wanted = Wanted(spec.fs_type, spec.format, encryptable=encryptable)
        return held, ensure_filesystem(held, wanted, self._tombstones, deadline).superblock

    def _held(self, volume: Volume, fd: int) -> Held:
        name = str(self._files.path(volume.namespace, _spec(volume).name))
        return Held(fd, name, identify(fd), is_block=False)

    def _bind(self, volume: Volume, image: int) -> tuple[int, int]:
        flags = loop.LO_FLAGS_DIRECT_IO | (0 if volume.block else loop.LO_FLAGS_AUTOCLEAR)
        name = str(self._files.path(volume.namespace, _spec(volume).name))
        # Where the file system below cannot do direct I/O the kernel goes through its cache.
        return loop.attach_free(image, loop.Setup(flags, block_size=_SECTOR, name=name))


def _fill(mounted: int, fs_type: FsType, size: int) -> None:
    """Let a mounted file system have all that its file has."""
    root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mounted)
    try:
        grow_mounted(root, fs_type, size)
    finally:
        os.close(root)


def _find(image: int) -> int | None:
    """The loop device of a file. Raises ConflictError where it shows another part of it."""
    found = os.fstat(image)
    for status in loop.find_by_backing(found.st_dev, found.st_ino):
        if status.offset or status.size_limit:
            raise ConflictError(
                f"{loop.device_path(status.number)} shows a part of the image: detach it, "
                f"`losetup -d {loop.device_path(status.number)}`"
            )
        return status.number
    return None


def _check_size(volume: Volume, fd: int) -> int:
    has, wanted = os.fstat(fd).st_size, _spec(volume).size
    if wanted is not None and has < wanted - wanted % _SECTOR:
        raise MismatchError(
            f"{volume.id} has {has} bytes, fewer than the {wanted} asked for: expand it, or ask "
            "for what it has"
        )
    return has


def _spec(volume: Volume) -> Loop:
    if not isinstance(volume.spec, Loop):
        raise RefusedError(f"{volume.kind.value} is not loop")
    return volume.spec
