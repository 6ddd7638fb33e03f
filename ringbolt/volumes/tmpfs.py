"""Volumes in memory: a tmpfs of its own for each publication, gone with it.

The superblock's source is the volume's id, so it is known again by mountinfo alone.
"""

from contextlib import ExitStack

from ringbolt.linux.mount import MountPoint
from ringbolt.linux.mount_api import FsContext
from ringbolt.linux.statfs import statfs
from ringbolt.volumes.backend import Ask
from ringbolt.volumes.errors import InvalidError, NotFoundError, RefusedError
from ringbolt.volumes.mounts import Root
from ringbolt.volumes.outcome import Created
from ringbolt.volumes.spec import Kind, Tmpfs
from ringbolt.volumes.volume import Volume


class TmpfsBackend:
    """The kind `tmpfs`."""

    kind = Kind.TMPFS
    staged = False
    options = frozenset({"huge"})

    def lacks(self) -> str:
        """Every kernel has it."""
        return ""

    def validate(self, volume: Volume) -> None:
        """Raise InvalidError for what memory has not."""
        if volume.subdir:
            raise InvalidError("a tmpfs volume is empty when it is mounted: it has no subdir")
        if volume.block:
            raise InvalidError("a tmpfs volume is no block device")

    def create(self, ask: Ask) -> Created:
        """Nothing lies anywhere before it is mounted."""
        return Created(ask.volume.id, _spec(ask.volume).size, fresh=False)

    def open_tree(self, ask: Ask, undo: ExitStack) -> int:
        """A new one."""
        del undo  # a detached mount goes with its descriptor
        spec = _spec(ask.volume)
        with FsContext.open("tmpfs") as context:
            context.set_string("source", ask.volume.id)
            context.set_string("mode", f"{spec.mode:o}")
            if spec.size is not None:
                context.set_string("size", str(spec.size))
            if spec.inodes is not None:
                context.set_string("nr_inodes", str(spec.inodes))
            if spec.noswap:
                context.set_flag("noswap")
            for option in ask.options:
                name, _, value = option.partition("=")
                context.set_string(name, value)
            context.create()
            return context.mount()

    def holds(self, volume: Volume, point: MountPoint, root: Root) -> bool:
        """By its source."""
        del root
        return point.fstype == "tmpfs" and point.source == volume.id

    def expand(self, ask: Ask, size: int, fd: int | None) -> int:
        """Reconfigure it. Raises NotFoundError where it is not mounted."""
        if fd is None:
            raise NotFoundError(f"{ask.volume.id} is not mounted: it has no size of its own")
        now = statfs(fd).size
        if size <= now:
            return now
        with FsContext.pick(fd) as context:
            context.set_string("size", str(size))
            context.reconfigure()
        return statfs(fd).size

    def release(self, volume: Volume) -> None:
        """The kernel took it back."""

    def delete(self, volume: Volume) -> bool:
        """There is no data without a mount."""
        del volume
        return False


def _spec(volume: Volume) -> Tmpfs:
    if not isinstance(volume.spec, Tmpfs):
        raise RefusedError(f"{volume.kind.value} is not tmpfs")
    return volume.spec
