"""The steps that build a container's root file system: plain values that cross a pipe as JSON.

`rootfs` plans them, `container_init` applies them in the container's own mount namespace. Nothing
here may import more than the floor: it is read at every container start.
"""

import os
from typing import Any, NamedTuple

from ringbolt.linux import mount
from ringbolt.linux.device_nodes import DeviceNode, make_node

OPERATIONS = ("fs", "bind", "node", "link", "directory", "hide", "freeze")


class Step(NamedTuple):
    """One operation at `path`, which is inside the new root and begins with "/".

    fs: mount a new `source` (its type) with `options`; `fallback` is bound from the host where a
    user namespace may not mount it. bind: show the host's `source`. node: make `node`. link: a
    symlink to `source`. directory: make one. hide: make unreadable. freeze: make read-only.
    `optional` forgives that the path to hide or freeze is not there.
    """

    operation: str
    path: str
    source: str = ""
    options: str = ""
    flags: int = 0
    readonly: bool = False
    node: DeviceNode | None = None
    fallback: str = ""

    @classmethod
    def from_json(cls, value: list[Any]) -> "Step":
        """The step that `json.dumps` made a list of."""
        step = cls(*value)
        return step if step.node is None else step._replace(node=DeviceNode(*step.node))

    def apply(self, root: str) -> None:
        """Do it. Raises OSError."""
        getattr(self, f"_{self.operation}")(root + self.path)

    def _fs(self, target: str) -> None:
        _make_directory(target)
        try:
            mount.mount(self.source, target, self.source, self.flags, self.options)
        except OSError:
            # A user namespace may mount these only where nothing of the parent's is covered.
            if not self.fallback:
                raise
            mount.bind(self.fallback, target, recursive=True)
        if self.readonly:
            mount.mount_setattr(target, mount.MOUNT_ATTR_RDONLY, recursive=True)

    def _bind(self, target: str) -> None:
        if os.path.isdir(self.source):
            _make_directory(target)
        else:
            _make_file(target)
        mount.bind(self.source, target, recursive=True)
        if self.readonly:
            mount.mount_setattr(target, mount.MOUNT_ATTR_RDONLY, recursive=True)

    def _node(self, target: str) -> None:
        assert self.node is not None
        _make_directory(os.path.dirname(target))
        if os.path.lexists(target):
            os.unlink(target)
        make_node(target, self.node)

    def _link(self, target: str) -> None:
        _make_directory(os.path.dirname(target))
        os.symlink(self.source, target)

    def _directory(self, target: str) -> None:
        _make_directory(target)
        os.chmod(target, self.flags)

    def _hide(self, target: str) -> None:
        if os.path.isdir(target):
            mount.mount("tmpfs", target, "tmpfs", mount.MS_RDONLY, "size=0k")
        elif os.path.exists(target):
            mount.bind("/dev/null", target)

    def _freeze(self, target: str) -> None:
        if os.path.exists(target):
            mount.bind(target, target, recursive=True)
            mount.mount_setattr(target, mount.MOUNT_ATTR_RDONLY, recursive=True)


def _make_directory(path: str) -> None:
    os.makedirs(path, mode=0o755, exist_ok=True)


def _make_file(path: str) -> None:
    _make_directory(os.path.dirname(path))
    if not os.path.lexists(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
