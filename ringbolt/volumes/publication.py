"""A volume shown at a target: a detached mount, complete, put there by descriptor.

Whoever calls holds the target's and the volume's lock. What is there already is compared with what
is wanted: the same is left as it is, a copy of it taken off, the dead replaced, all else refused.
"""

import os
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import partial

from ringbolt.linux.mount import (
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    MS_PRIVATE,
    MountPoint,
    mount_setattr,
    set_propagation,
)
from ringbolt.linux.mount_api import open_tree
from ringbolt.linux.openat2 import open_below
from ringbolt.linux.statx import statx
from ringbolt.volumes import guard, standing, vault
from ringbolt.volumes.backend import Ask, Encrypting
from ringbolt.volumes.errors import ConflictError, InvalidError, NotFoundError
from ringbolt.volumes.ground import Ground
from ringbolt.volumes.group_mapping import GroupMappings
from ringbolt.volumes.mount_options import DECIDED, always, shown_as
from ringbolt.volumes.mounts import Root
from ringbolt.volumes.outcome import State
from ringbolt.volumes.paths import Spot
from ringbolt.volumes.records import Published
from ringbolt.volumes.spec import REMOTE
from ringbolt.volumes.staging import Staging, attach
from ringbolt.volumes.volume import Publication, Volume

_ATIME = 0x70
"""MOUNT_ATTR__ATIME: the access time modes are one field, cleared as a whole."""


class Publisher:
    """Publishes, one volume at one target at a time."""

    def __init__(self, ground: Ground, staging: Staging) -> None:
        self._ground = ground
        self._staging = staging
        self._groups = GroupMappings()

    def close(self) -> None:
        """Let go of what is kept for the next time."""
        self._groups.close()

    def ensure(
        self, ask: Ask, attributes: int, publication: Publication
    ) -> tuple[bool, tuple[str, ...]]:
        """Have the volume at the target; whether it was mounted now, and remarks."""
        places = self._ground.places
        relative = places.relative(publication.target)
        attributes |= MOUNT_ATTR_RDONLY if publication.readonly or ask.volume.readonly else 0
        with (
            self._source(ask) as source,
            Spot.make(places, relative, file=ask.volume.block) as spot,
            ExitStack() as undo,
        ):
            found, remarks = standing.settle(spot, self._right(ask.volume, source))
            if found.state is State.MOUNTED:
                before = self._ground.records.published(publication.target)
                self._check_flags(found.top, attributes, ask.volume, before)
                if before is None:
                    self._remember(ask.volume, publication)
                return False, remarks
            self._remember(ask.volume, publication)
            undo.callback(self._ground.records.drop_published, publication.target)
            tree = self._tree(ask, source, undo)
            undo.callback(os.close, tree)
            self._dress(tree, ask, attributes, publication)
            undo.callback(guard.take_off, spot)
            if not guard.put_on(spot):
                remarks = (*remarks, f"{spot.path} cannot be guarded: its file system cannot")
            attach(tree, spot)
            undo.pop_all()
            os.close(tree)
        return True, remarks

    def _tree(self, ask: Ask, source: int | None, undo: ExitStack) -> int:
        if source is not None:
            return open_tree(source, clone=True)
        return self._ground.backend(ask.volume.kind).open_tree(ask, undo)

    def _dress(self, tree: int, ask: Ask, attributes: int, publication: Publication) -> None:
        """All that the mount shall be, before anybody sees it."""
        set_propagation(tree, MS_PRIVATE)
        writable = not attributes & MOUNT_ATTR_RDONLY
        ours = not ask.volume.block and ask.volume.kind not in REMOTE
        if publication.fs_group is not None and writable and ours:
            self._groups.give(tree, publication.fs_group, ask.volume, ask.deadline)
        cleared = _ATIME if attributes & (MOUNT_ATTR_NOATIME | MOUNT_ATTR_STRICTATIME) else 0
        # What a host's directory is mounted with binds here too; our own staging does not.
        if self._ground.backend(ask.volume.kind).staged:
            cleared |= always(ask.volume.block) & ~attributes
        mount_setattr(tree, attributes, clear=cleared)

    @contextmanager
    def _source(self, ask: Ask) -> Generator[int | None]:
        """What is cloned of a staged volume: its root or what `subdir` leads to."""
        volume = ask.volume
        backend = self._ground.backend(volume.kind)
        if not backend.staged:
            yield None
            return
        with ExitStack() as opened:
            root = self._staging.open(volume.id)
            opened.callback(os.close, root)
            if isinstance(backend, Encrypting) and not volume.block:
                root = vault.enter(root, volume, ask.secrets)
                opened.callback(os.close, root)
            source = below(root, volume.subdir)
            opened.callback(os.close, source)
            yield source

    def _right(self, volume: Volume, source: int | None) -> standing.Right:
        if source is None:
            return partial(self._ground.backend(volume.kind).holds, volume)
        wanted = statx(source)  # of what is cached: a server need not be asked
        staged = self._staging.point(volume.id)

        def is_clone(point: MountPoint, root: Root) -> bool:
            same = root == Root(os.makedev(*wanted.device), wanted.inode)
            return same and staged is not None and point.device == staged.device

        return is_clone

    def _check_flags(
        self, point: MountPoint, attributes: int, volume: Volume, before: Published | None
    ) -> None:
        wanted, has = shown_as(attributes), point.options & DECIDED
        if not self._ground.backend(volume.kind).staged:
            # A host's directory may lie on a mount that has more of them.
            had = {"ro"} if before and before.publication.readonly else set[str]()
            has &= wanted | had
        if wanted != has:
            raise ConflictError(
                f"{point.target} is mounted {','.join(sorted(has)) or 'rw'} already, "
                f"not {','.join(sorted(wanted)) or 'rw'}: unpublish it first"
            )

    def _remember(self, volume: Volume, publication: Publication) -> None:
        self._ground.records.put_published(Published(volume, publication, time.time()))


def below(root: int, subdir: str) -> int:
    """What `subdir` of a volume leads to, through no symbolic link; a new descriptor, O_PATH.

    Raises NotFoundError, InvalidError: it leads elsewhere.
    """
    if not subdir:
        return os.dup(root)
    try:
        return open_below(root, subdir)
    except FileNotFoundError:
        raise NotFoundError(f"the volume has no directory {subdir}: make it first") from None
    except OSError as error:
        raise InvalidError(f"subdir {subdir}: {os.strerror(error.errno or 0)}") from None


def bind_below(root: int, subdir: str) -> int:
    """The descriptor of a detached bind of what `subdir` leads to. Raises as `below`, OSError."""
    source = below(root, subdir)
    try:
        return open_tree(source, clone=True)
    finally:
        os.close(source)


def root_below(root: int, subdir: str) -> Root:
    """What `subdir` leads to, as the root of a mount of it shows. Raises as `below`."""
    source = below(root, subdir)
    try:
        found = os.fstat(source)
    finally:
        os.close(source)
    return Root(found.st_dev, found.st_ino)
