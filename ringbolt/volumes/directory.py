"""Volumes that are directories of the host, below the roots that its operator names.

A publication is a bind of the directory, looked up below its root with no symbolic link on the
way. The data is the operator's: it is never deleted here.
"""

import os
from contextlib import ExitStack

from ringbolt.linux.mount import MountPoint
from ringbolt.linux.openat2 import mkdir_below
from ringbolt.volumes.backend import Ask
from ringbolt.volumes.errors import InvalidError, NotFoundError, RefusedError
from ringbolt.volumes.host_path import open_host_path, split_host_path
from ringbolt.volumes.mounts import Root
from ringbolt.volumes.outcome import Created
from ringbolt.volumes.publication import bind_below, root_below
from ringbolt.volumes.spec import Directory, Kind
from ringbolt.volumes.volume import Volume


class DirectoryBackend:
    """The kind `dir`; `roots` as the policy has them."""

    kind = Kind.DIRECTORY
    staged = False
    options = frozenset[str]()

    def __init__(self, roots: tuple[str, ...]) -> None:
        self._roots = roots

    def lacks(self) -> str:
        """Every node has directories."""
        return ""

    def validate(self, volume: Volume) -> None:
        """Raise InvalidError for what a directory cannot be."""
        if volume.block:
            raise InvalidError("a dir volume is no block device")

    def create(self, ask: Ask) -> Created:
        """Make it where the volume asks for that. Raises NotFoundError."""
        spec = _spec(ask.volume)
        try:
            os.close(self._open(spec))
        except NotFoundError as error:
            if not spec.create:
                raise NotFoundError(f"{error}: make it, or ask to create") from None
            self._make(spec)
            return Created(ask.volume.id, None, fresh=True)
        return Created(ask.volume.id, None, fresh=False)

    def open_tree(self, ask: Ask, undo: ExitStack) -> int:
        """A bind of it, or of what lies below."""
        del undo  # a detached mount goes with its descriptor
        directory = self._open(_spec(ask.volume))
        try:
            return bind_below(directory, ask.volume.subdir)
        finally:
            os.close(directory)

    def holds(self, volume: Volume, point: MountPoint, root: Root) -> bool:
        """By what the path leads to now."""
        del point
        directory = self._open(_spec(volume))
        try:
            return root == root_below(directory, volume.subdir)
        finally:
            os.close(directory)

    def release(self, volume: Volume) -> None:
        """Nothing is held."""

    def delete(self, volume: Volume) -> bool:
        """Never: it is the operator's."""
        raise RefusedError(f"{_spec(volume).path} is the host's: delete it there")

    def _open(self, spec: Directory) -> int:
        return open_host_path(self._roots, spec.path, os.O_PATH | os.O_DIRECTORY)

    def _make(self, spec: Directory) -> None:
        root, relative = split_host_path(self._roots, spec.path)
        held = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.close(mkdir_below(held, relative))
        finally:
            os.close(held)


def _spec(volume: Volume) -> Directory:
    if not isinstance(volume.spec, Directory):
        raise RefusedError(f"{volume.kind.value} is not dir")
    return volume.spec
