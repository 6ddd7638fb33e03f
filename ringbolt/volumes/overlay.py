"""Writable volumes above something read-only: a directory of the host, or an image.

What is written lies in memory, for one publication, or in an image file of our own; `delete` throws
that away, so the next mount begins anew, and nothing else does. All layers are detached mounts that
the overlay alone keeps alive: no path is named to it, and nothing has to be taken off but itself.
It is known again by its source: the volume's id, what it lies above, and which disk is written to,
whose errors an overlay does not tell of.
"""

import hashlib
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from ringbolt.linux import block
from ringbolt.linux.mount import MountPoint
from ringbolt.linux.mount_api import FsContext, open_tree
from ringbolt.volumes.backend import Ask
from ringbolt.volumes.errors import (
    InvalidError,
    NotAvailableError,
    NotFoundError,
    RefusedError,
)
from ringbolt.volumes.filesystem_check import CheckPolicy
from ringbolt.volumes.host_path import open_host_path
from ringbolt.volumes.image import Images, Pinned
from ringbolt.volumes.loop_image import LoopBackend
from ringbolt.volumes.mounts import Root
from ringbolt.volumes.outcome import Created
from ringbolt.volumes.spec import Kind, Loop, Overlay
from ringbolt.volumes.volume import Volume

_UPPER, _WORK = "upper", "work"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OFF = ("metacopy", "index")
"""What makes an upper layer depend on the very lower one or kernel that it was made with."""


class OverlayBackend:
    """The kind `overlay`; `roots` as the policy has them, images lie below `state_dir`."""

    kind = Kind.OVERLAY
    staged = True
    options = frozenset[str]()

    def __init__(
        self,
        roots: tuple[str, ...],
        run_dir: Path,
        state_dir: Path,
        check: CheckPolicy = CheckPolicy.PREEN,
    ) -> None:
        self._roots = roots
        self._images = Images(roots, run_dir)
        self._uppers = LoopBackend(state_dir, check, self.kind.value)

    def lacks(self) -> str:
        """Overlays whose layers are detached mounts, given by descriptor."""
        return self._lack

    def validate(self, volume: Volume) -> None:
        """Raise InvalidError for what an overlay cannot be."""
        if volume.block:
            raise InvalidError("an overlay volume is no block device")
        if _spec(volume).lower is None:
            raise InvalidError(f"{volume.id}: what lies below it is not known")

    def create(self, ask: Ask) -> Created:
        """See that what lies below is there; make the image for what is written."""
        spec = _spec(ask.volume)
        os.close(self._open_lower(spec))
        if spec.name is None:
            return Created(ask.volume.id, spec.size, fresh=False)
        try:
            made = self._uppers.create(_of_upper(ask, ask.max_size))
        except NotFoundError as error:
            raise InvalidError(f"{error}: a new one needs a size") from None
        return replace(made, volume_id=ask.volume.id)

    def open_tree(self, ask: Ask, undo: ExitStack) -> int:
        """Stack the layers."""
        with ExitStack() as opened:
            lower = self._lower(ask, opened)
            upper, work = self._upper(ask, lower, opened, undo)
            with FsContext.open("overlay") as context:
                context.set_string("source", f"{_source(ask.volume)}:{_disk(upper)}")
                for option in _OFF:
                    context.set_string(option, "off")
                context.set_fd("lowerdir+", lower)
                context.set_fd("upperdir", upper)
                context.set_fd("workdir", work)
                context.create()
                return context.mount()

    def holds(self, volume: Volume, point: MountPoint, root: Root) -> bool:
        """By its source."""
        del root
        return point.fstype == "overlay" and point.source.partition(":")[0] == _source(volume)

    def expand(self, ask: Ask, size: int, fd: int | None) -> int:
        """Give its image more room, which its file system has from the next mount on."""
        del fd  # shows nothing of the layers
        if _spec(ask.volume).name is None:
            raise NotAvailableError(f"{ask.volume.id} lies in memory and does not grow: mount anew")
        return self._uppers.expand(_of_upper(ask, None), size, None)

    def release(self, volume: Volume) -> None:
        """The layers went with it."""

    def delete(self, volume: Volume) -> bool:
        """Throw away what was written; what lies below stays."""
        if _spec(volume).name is None:
            return False
        return self._uppers.delete(_as_upper(volume, None))

    def volumes(self) -> Iterator[Volume]:
        """One for each image; above what it was, that is not remembered."""
        for namespace, name in self._uppers.names():
            yield Volume(Overlay(None, name), namespace)

    def freeable(self, volume: Volume) -> int | None:
        """What is written above."""
        return (
            None if _spec(volume).name is None else self._uppers.freeable(_as_upper(volume, None))
        )

    def reset(self, ask: Ask) -> None:
        """Have an empty image in the place of what was written, as large."""
        if _spec(ask.volume).name is None:
            raise NotFoundError(f"{ask.volume.id} lies in memory, and goes with its publication")
        self._uppers.renew(_of_upper(ask, None))

    @cached_property
    def _lack(self) -> str:
        """By trying it in memory: nothing is mounted anywhere."""
        try:
            with ExitStack() as opened, _memory(None, "probe", opened) as memory:
                for name in ("lower", _UPPER, _WORK):
                    os.mkdir(name, dir_fd=memory)
                with FsContext.open("overlay") as context:
                    for key, name in (
                        ("lowerdir+", "lower"),
                        ("upperdir", _UPPER),
                        ("workdir", _WORK),
                    ):
                        layer = os.open(name, _DIRECTORY, dir_fd=memory)
                        opened.callback(os.close, layer)
                        context.set_fd(key, layer)
                    context.create()
        except OSError as error:
            return f"overlays of detached layers, which take Linux 6.15: {error.strerror}"
        return ""

    def _open_lower(self, spec: Overlay) -> int:
        if spec.lower is None:
            raise InvalidError(f"what lies below {spec.name} is not known")
        fd = open_host_path(self._roots, spec.lower, os.O_RDONLY | os.O_NONBLOCK)
        mode = os.fstat(fd).st_mode
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            os.close(fd)
            raise RefusedError(f"{spec.lower} is neither a directory nor an image")
        return fd

    def _lower(self, ask: Ask, opened: ExitStack) -> int:
        """What lies below, open to be read."""
        spec = _spec(ask.volume)
        fd = self._open_lower(spec)
        opened.callback(os.close, fd)
        if spec.lower is not None and stat.S_ISREG(os.fstat(fd).st_mode):
            pinned = Pinned(spec.lower, spec.sha256)
            tree = self._images.open_tree(pinned, ask.volume.id, ask.deadline)
        else:
            tree = open_tree(fd, clone=True)
        opened.callback(os.close, tree)
        return _opened(tree, ".", opened)

    def _upper(self, ask: Ask, lower: int, opened: ExitStack, undo: ExitStack) -> tuple[int, int]:
        """(layer that is written to, the directory beside it that an overlay needs)."""
        spec = _spec(ask.volume)
        if spec.name is None:
            root = opened.enter_context(_memory(spec.size, ask.volume.id, opened))
        else:
            tree = self._uppers.open_tree(_of_upper(ask, None), undo)
            opened.callback(os.close, tree)
            root = _opened(tree, ".", opened)
        _ensure_upper(root, lower)
        return _opened(root, _UPPER, opened), _opened(root, _WORK, opened)


@contextmanager
def _memory(size: int | None, name: str, opened: ExitStack) -> Generator[int]:
    """The root of a detached tmpfs, to be read."""
    with FsContext.open("tmpfs") as context:
        context.set_string("source", name)
        if size is not None:
            context.set_string("size", str(size))
        context.create()
        tree = context.mount()
    opened.callback(os.close, tree)
    yield _opened(tree, ".", opened)


def _opened(at: int, name: str, opened: ExitStack) -> int:
    fd = os.open(name, _DIRECTORY, dir_fd=at)
    opened.callback(os.close, fd)
    return fd


def _ensure_upper(root: int, lower: int) -> None:
    """The two directories; the root of what is written to looks as that of what lies below.

    The layer has its name once it looks so.
    """
    names = os.listdir(root)  # by descriptor
    if _WORK not in names:
        os.mkdir(_WORK, 0o700, dir_fd=root)
    if _UPPER in names:
        return
    aside = f".{_UPPER}"
    if aside not in names:
        os.mkdir(aside, 0o700, dir_fd=root)
    found = os.fstat(lower)
    os.chown(aside, found.st_uid, found.st_gid, dir_fd=root, follow_symlinks=False)
    os.chmod(aside, stat.S_IMODE(found.st_mode), dir_fd=root)
    os.rename(aside, _UPPER, src_dir_fd=root, dst_dir_fd=root)


def _disk(upper: int) -> str:
    """The kernel's name of the disk below; empty: memory."""
    device = os.fstat(upper).st_dev
    return block.name(device) if os.major(device) else ""


def _source(volume: Volume) -> str:
    spec = _spec(volume)
    lower = f"{spec.lower or ''}\0{spec.sha256 or ''}".encode("utf-8", "surrogateescape")
    return f"{volume.id}@{hashlib.sha256(lower).hexdigest()[:12]}"


def _of_upper(ask: Ask, most: int | None) -> Ask:
    return Ask(_as_upper(ask.volume, most), ask.deadline)


def _as_upper(volume: Volume, size: int | None) -> Volume:
    spec = _spec(volume)
    assert spec.name is not None
    return Volume(Loop(spec.name, spec.size or size), volume.namespace)


def _spec(volume: Volume) -> Overlay:
    if not isinstance(volume.spec, Overlay):
        raise RefusedError(f"{volume.kind.value} is not overlay")
    return volume.spec
