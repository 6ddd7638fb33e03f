"""Volumes that are btrfs subvolumes of our own: limited by their qgroup, copied in no time.

They lie in one directory on a btrfs, one folder for each namespace; nothing else is ever deleted
there. A new one has its limit before it has its name. Quotas are switched on with the first limit
that is asked for, the kind that every kernel can mount again.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from ringbolt.linux import btrfs
from ringbolt.linux.mount import MountPoint
from ringbolt.linux.mount_users import find_part_showers
from ringbolt.linux.openat2 import mkdir_below, open_below
from ringbolt.linux.statfs import statfs
from ringbolt.volumes.backend import Ask
from ringbolt.volumes.errors import (
    BusyError,
    ConflictError,
    InvalidError,
    MismatchError,
    NotFoundError,
    RefusedError,
)
from ringbolt.volumes.mounts import Root
from ringbolt.volumes.outcome import Created, Snapshot
from ringbolt.volumes.publication import bind_below, root_below
from ringbolt.volumes.spec import Kind, Subvolume
from ringbolt.volumes.volume import Namespace, Volume, VolumeId, is_named

_UNFINISHED = ".new-"
"""No user's name begins with a dot."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


class SubvolumeBackend:
    """The kind `subvolume`; they lie in `folder`."""

    kind = Kind.SUBVOLUME
    staged = False
    options = frozenset[str]()

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def lacks(self) -> str:
        """A btrfs where they lie."""
        here = next(one for one in (self._folder, *self._folder.parents) if one.exists())
        found = statfs(str(here)).name
        return "" if found == "btrfs" else f"{self._folder} lies on {found}: mount a btrfs there"

    def validate(self, volume: Volume) -> None:
        """Raise InvalidError for what a subvolume cannot be."""
        if volume.block:
            raise InvalidError("a subvolume is no block device")

    def create(self, ask: Ask) -> Created:
        """Make it, with its limit."""
        volume, spec = ask.volume, _spec(ask.volume)
        with ExitStack() as opened:
            folder = self._open_folder(volume.namespace)
            opened.callback(os.close, folder)
            try:
                fd = self._open(volume)
            except NotFoundError:
                size = spec.size or ask.max_size
                return Created(volume.id, size, _make(folder, Subvolume(spec.name, size)))
            opened.callback(os.close, fd)
            return Created(volume.id, _check_size(volume.id, fd, spec.size), fresh=False)

    def open_tree(self, ask: Ask, undo: ExitStack) -> int:
        """A bind of it, or of what lies below."""
        del undo  # a detached mount goes with its descriptor
        fd = self._open(ask.volume)
        try:
            return bind_below(fd, ask.volume.subdir)
        finally:
            os.close(fd)

    def holds(self, volume: Volume, point: MountPoint, root: Root) -> bool:
        """By its root: no two subvolumes have one device number."""
        del point
        fd = self._open(volume)
        try:
            return root == root_below(fd, volume.subdir)
        finally:
            os.close(fd)

    def expand(self, ask: Ask, size: int, fd: int | None) -> int:
        """Raise its limit."""
        del fd  # mounted or not
        with ExitStack() as opened:
            own = self._open(ask.volume)
            opened.callback(os.close, own)
            now = _limit(own)
            if now is not None and now < size:
                _set_limit(own, size)
                return size
            return max(size, now or size)

    def snapshot(self, ask: Ask, name: str, fd: int | None, *, plain: bool) -> Snapshot:
        """Copy it, with its limit: one moment for all of its files, mounted or not."""
        del fd, plain
        volume = ask.volume
        copy = Volume(Subvolume(name), volume.namespace)
        with ExitStack() as opened:
            source, folder = self._open(volume), self._open_folder(volume.namespace)
            opened.callback(os.close, source)
            opened.callback(os.close, folder)
            limit = _limit(source)
            if not _make(folder, Subvolume(name, limit), source):
                raise ConflictError(f"there is a volume {copy.id}: delete it first")
        return Snapshot(copy.id, volume.id, limit)

    def volumes(self) -> Iterator[Volume]:
        """One for each that lies there."""
        for path in sorted(self._folder.glob("*/[!.]*")):
            if not is_named(path.parent.name, path.name):
                continue
            if path.stat(follow_symlinks=False).st_ino == btrfs.SUBVOLUME_INODE:
                yield Volume(Subvolume(path.name), Namespace(path.parent.name))

    def freeable(self, volume: Volume) -> int | None:
        """What it has for itself, which a btrfs counts where it limits any."""
        fd = self._open(volume)
        try:
            use = btrfs.read_use(btrfs.file_system_uuid(fd), btrfs.subvolume_number(fd))
        except FileNotFoundError:  # quotas are off
            return None
        finally:
            os.close(fd)
        return use.exclusive

    def release(self, volume: Volume) -> None:
        """Nothing is held."""

    def delete(self, volume: Volume) -> bool:
        """Take it out. Raises BusyError while any mount shows it or subvolumes lie in it."""
        name = _spec(volume).name
        try:
            os.close(self._open(volume))
        except NotFoundError:
            return False
        _require_unmounted(f"/{volume.namespace}/{name}", volume.id)
        folder = self._open_folder(volume.namespace)
        try:
            btrfs.destroy_subvolume(folder, name)
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                where = self._folder / volume.namespace / name
                raise BusyError(
                    f"{volume.id} has subvolumes in it: see `btrfs subvolume list -o {where}` and "
                    "delete them first"
                ) from error
            raise
        finally:
            os.close(folder)
        return True

    def _open(self, volume: Volume) -> int:
        """Raises NotFoundError, MismatchError: it is no subvolume."""
        folder, name = self._open_folder(volume.namespace), _spec(volume).name
        try:
            fd = open_below(folder, name, _DIRECTORY)
        except FileNotFoundError:
            raise NotFoundError(f"there is no subvolume {volume.namespace}/{name}") from None
        finally:
            os.close(folder)
        if os.fstat(fd).st_ino != btrfs.SUBVOLUME_INODE:
            os.close(fd)
            raise MismatchError(f"{self._folder / volume.namespace / name} is no subvolume")
        return fd

    def _open_folder(self, namespace: Namespace) -> int:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        root = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return mkdir_below(root, namespace, 0o700)
        finally:
            os.close(root)


def _make(folder: int, spec: Subvolume, source: int | None = None) -> bool:
    """Make it aside, with its limit, and give it its name; False: there is one."""
    aside = f"{_UNFINISHED}{spec.name}"
    with suppress(FileNotFoundError):
        btrfs.destroy_subvolume(folder, aside)  # of a process that was killed
    if source is None:
        btrfs.create_subvolume(folder, aside)
    else:
        btrfs.create_snapshot(source, folder, aside)
    with ExitStack() as undo:
        undo.callback(btrfs.destroy_subvolume, folder, aside)
        if spec.size is not None:
            fd = open_below(folder, aside, _DIRECTORY)
            try:
                _set_limit(fd, spec.size)
            finally:
                os.close(fd)
        try:
            open_there = open_below(folder, spec.name)
        except FileNotFoundError:
            os.rename(aside, spec.name, src_dir_fd=folder, dst_dir_fd=folder)
            undo.pop_all()
            return True
        os.close(open_there)
    return False


def _set_limit(fd: int, size: int) -> None:
    number = btrfs.subvolume_number(fd)
    try:
        btrfs.set_limit(fd, number, size)
    except OSError as error:
        if error.errno != errno.ENOTCONN:  # quotas are off
            raise
        btrfs.enable_quota(fd)
        btrfs.set_limit(fd, number, size)


def _limit(fd: int) -> int | None:
    with suppress(FileNotFoundError):  # quotas are off
        return btrfs.read_use(btrfs.file_system_uuid(fd), btrfs.subvolume_number(fd)).limit
    return None


def _check_size(volume_id: VolumeId, fd: int, wanted: int | None) -> int | None:
    has = _limit(fd)
    if wanted is not None and has is not None and has < wanted:
        raise MismatchError(
            f"{volume_id} may have {has} bytes, fewer than the {wanted} asked for: expand it, or "
            "ask for what it has"
        )
    if wanted is not None and has is None:
        _set_limit(fd, wanted)
        return wanted
    return has


def _require_unmounted(tail: str, volume_id: VolumeId) -> None:
    """Deleting one takes it from under its mounts, which mountinfo tells by where they lead.

    A pod's own mount lives on when somebody unmounts the host's.
    """
    for shower in find_part_showers("btrfs", tail):
        raise BusyError(
            f"{volume_id} is mounted at {shower.points[0].target}, as {shower.command or '?'} (pid "
            f"{shower.pid}) sees it: unmount it first"
        )


def _spec(volume: Volume) -> Subvolume:
    if not isinstance(volume.spec, Subvolume):
        raise RefusedError(f"{volume.kind.value} is not subvolume")
    return volume.spec
