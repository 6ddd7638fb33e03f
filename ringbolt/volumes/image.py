"""Read-only volumes of file system images, squashfs or erofs, that lie below the host's roots.

With a sum the image is that content or it is not mounted: it is read over one descriptor under a
lease, so nobody wrote to it between the check and the mount. Each is known again by its source or
its loop device's name, which hold the volume's id and which state of the file it was. The images
are the operator's: none is deleted here.
"""

import errno
import os
import stat
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ringbolt.linux import lease, loop
from ringbolt.linux.mount import MountPoint
from ringbolt.linux.mount_api import FsContext
from ringbolt.volumes.backend import Ask
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import (
    BusyError,
    InvalidError,
    MismatchError,
    NotAvailableError,
    NotFoundError,
    RefusedError,
)
from ringbolt.volumes.host_path import open_host_path
from ringbolt.volumes.mounts import Root
from ringbolt.volumes.outcome import Created
from ringbolt.volumes.spec import Image, Kind
from ringbolt.volumes.verified import Stamp, Verified
from ringbolt.volumes.volume import Volume

_MAGIC = {"squashfs": (0, b"hsqs"), "erofs": (1024, b"\xe2\xe1\xf5\xe0")}
_NO_FILES = frozenset({errno.ENOTBLK, errno.EINVAL, errno.EOPNOTSUPP})
_INODE_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Pinned:
    """Which image: its path on the host, and the sha256 that it must have, if any."""

    path: str
    sha256: str | None


class Images:
    """Images as detached mounts, for whoever needs one as it is or as a layer."""

    def __init__(self, roots: tuple[str, ...], run_dir: Path) -> None:
        self._roots = roots
        self._sources = run_dir / "volumes" / "sources"
        self._verified = Verified(run_dir / "volumes" / "verified")

    def open(self, path: str) -> int:
        """The file, to be read. Raises NotFoundError, RefusedError."""
        fd = open_host_path(self._roots, path, os.O_RDONLY | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise RefusedError(f"{path} is no regular file: name a squashfs or erofs image")
        return fd

    def open_tree(self, pinned: Pinned, name: str, deadline: Deadline) -> int:
        """A detached read-only mount, whose source or loop device is called `name@state`.

        Raises MismatchError, BusyError, NotAvailableError, DeadlineError, OSError.
        """
        with ExitStack() as opened:
            fd = self.open(pinned.path)
            opened.callback(os.close, fd)
            with _unwritten(fd, pinned.path) as check:
                self._require(pinned, fd, deadline)
                tree = self._mount(fd, f"{name}@{Stamp.of(fd).short}", pinned.path)
                try:
                    check()
                except MismatchError:
                    os.close(tree)
                    raise
        return tree

    def name_of(self, point: MountPoint) -> str:
        """What a mount of ours was called; empty where it was not us."""
        if point.source.startswith(f"{self._sources}/"):
            return point.source.rpartition("/")[2]
        with suppress(OSError):
            if point.source.startswith("/dev/loop"):
                fd = os.open(point.source, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    return loop.status(fd).name
                finally:
                    os.close(fd)
        return ""

    def _require(self, pinned: Pinned, fd: int, deadline: Deadline) -> None:
        if pinned.sha256 is None:
            return
        found = self._verified.digest(fd, pinned.path, deadline)
        if found != pinned.sha256:
            raise MismatchError(
                f"{pinned.path} has the sha256 {found}, not {pinned.sha256}: it is not mounted. "
                "Bring the right image, or ask for this one"
            )

    def _mount(self, fd: int, name: str, path: str) -> int:
        fs_type = _type_of(fd, path)
        if fs_type == "erofs":
            try:
                return self._mount_file(fd, name)
            except OSError as error:
                if error.errno not in _NO_FILES:  # of a kernel before 6.12, or of files there
                    raise
        setup = loop.Setup(
            loop.LO_FLAGS_READ_ONLY | loop.LO_FLAGS_AUTOCLEAR | loop.LO_FLAGS_DIRECT_IO, name=name
        )
        bound = loop.attach_free(fd, setup)
        try:
            return _mounted(fs_type, loop.device_path(bound.number))
        finally:
            os.close(bound.fd)

    def _mount_file(self, fd: int, name: str) -> int:
        """Through a link to our descriptor, which lends the mount its name in mountinfo."""
        self._sources.mkdir(parents=True, exist_ok=True, mode=0o700)
        link = self._sources / name
        link.unlink(missing_ok=True)
        link.symlink_to(f"/proc/self/fd/{fd}")
        try:
            return _mounted("erofs", str(link))
        finally:
            link.unlink()


class ImageBackend:
    """The kind `image`; `roots` as the policy has them."""

    kind = Kind.IMAGE
    staged = True
    options = frozenset[str]()

    def __init__(self, roots: tuple[str, ...], run_dir: Path) -> None:
        self._images = Images(roots, run_dir)

    def lacks(self) -> str:
        """The kernel's file systems for images, either of them."""
        return lacking()

    def validate(self, volume: Volume) -> None:
        """Raise InvalidError for what a read-only image cannot be."""
        if volume.block:
            raise InvalidError("an image volume is no block device")

    def create(self, ask: Ask) -> Created:
        """See that it is there."""
        fd = self._images.open(_spec(ask.volume).path)
        try:
            return Created(ask.volume.id, os.fstat(fd).st_size, fresh=False)
        finally:
            os.close(fd)

    def open_tree(self, ask: Ask, undo: ExitStack) -> int:
        """Mount it, its content checked where it is pinned."""
        del undo  # a detached mount, and a loop device with it, goes with its descriptor
        spec = _spec(ask.volume)
        return self._images.open_tree(Pinned(spec.path, spec.sha256), ask.volume.id, ask.deadline)

    def holds(self, volume: Volume, point: MountPoint, root: Root) -> bool:
        """By the name that it was given; a pinned image may since lie elsewhere, but not change."""
        del root
        name, _, state = self._images.name_of(point).partition("@")
        if name != volume.id:
            return False
        spec = _spec(volume)
        try:
            fd = self._images.open(spec.path)
        except NotFoundError:
            return spec.sha256 is not None
        try:
            now = Stamp.of(fd).short
        finally:
            os.close(fd)
        replaced = now[:_INODE_DIGITS] != state[:_INODE_DIGITS]
        return state == now or (replaced and spec.sha256 is not None)

    def release(self, volume: Volume) -> None:
        """The kernel took it back."""

    def delete(self, volume: Volume) -> bool:
        """Never: it is the operator's."""
        raise RefusedError(f"{_spec(volume).path} is the host's: delete it there")


def lacking() -> str:
    """What this node lacks for images; empty if nothing."""
    with suppress(OSError):
        known = Path("/proc/filesystems").read_text(encoding="ascii")
        if not any(f"\t{name}\n" in known for name in _MAGIC):
            return "its kernel has neither squashfs nor erofs: load or install a module of them"
    return ""


@contextmanager
def _unwritten(fd: int, path: str) -> Generator[Callable[[], None]]:
    try:
        with lease.reading(fd) as holds:
            before = Stamp.of(fd)

            def check() -> None:
                if not holds() or Stamp.of(fd) != before:
                    raise MismatchError(f"{path} was changed while it was mounted: try again")

            yield check
    except BlockingIOError:
        text = f"{path} is open for writing in some process (`fuser -v {path}`): let it finish"
        raise BusyError(text) from None


def _type_of(fd: int, path: str) -> str:
    found = [
        name
        for name, (offset, magic) in _MAGIC.items()
        if os.pread(fd, len(magic), offset) == magic
    ]
    if len(found) != 1:
        raise MismatchError(f"{path} is neither a squashfs nor an erofs image")
    return found[0]


def _mounted(fs_type: str, source: str) -> int:
    try:
        context = FsContext.open(fs_type)
    except OSError as error:
        if error.errno == errno.ENODEV:
            text = f"this node's kernel has no {fs_type}: load or install its module"
            raise NotAvailableError(text) from error
        raise
    with context:
        context.set_string("source", source)
        context.set_flag("ro")
        context.create()
        return context.mount()


def _spec(volume: Volume) -> Image:
    if not isinstance(volume.spec, Image):
        raise RefusedError(f"{volume.kind.value} is not image")
    return volume.spec
