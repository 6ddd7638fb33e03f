"""From the kubelet's run options to nodes and mounts of this machine, as containerd finds them.

Symlinks are followed when the container is made, directories are walked, and what is missing is
an error in containerd's words. What is done with the result is `rootfs`' business.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ringbolt.linux.device_nodes import DeviceNode, read_node
from ringbolt.sandbox import cdi
from ringbolt.sandbox.run_options import HostDevice, HostMount, RunOptions

_SKIPPED_DIRECTORIES = {"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"}
"""Left out of a directory of devices: containerd pkg/oci getDevices."""


class CreateError(Exception):
    """The container cannot be made; the message is what the kubelet's event would say."""


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """A node to appear in the container: `host_path` is the real node, `permissions` of "rwm"."""

    container_path: str
    host_path: str
    node: DeviceNode
    permissions: str

    @property
    def rule(self) -> str:
        """The device cgroup's rule for it."""
        return f"{self.node.kind} {self.node.major}:{self.node.minor} {self.permissions}"


@dataclass(frozen=True, slots=True)
class Findings:
    """What a container is to be given, found on this machine."""

    nodes: tuple[PlannedNode, ...] = ()
    mounts: tuple[HostMount, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    gids: tuple[int, ...] = ()


def find(
    options: RunOptions, cdi_directories: Iterable[Path], *, user: int, group: int
) -> Findings:
    """Look every answered device up. Raises CreateError in the words of containerd."""
    try:
        nodes = [node for entry in options.devices for node in _nodes(entry)]
    except OSError as error:
        raise CreateError(f"failed to generate spec: {_go_error(error)}") from error
    try:
        edits = cdi.resolve(options.cdi_devices, cdi_directories)
    except (cdi.CdiError, OSError) as error:
        raise CreateError(f"CDI device injection failed: {error}") from error
    nodes += [_cdi_node(node, user, group) for node in edits.nodes]
    mounts = [
        HostMount(host, container, readonly="ro" in flags)
        for host, container, flags in edits.mounts
    ]
    return Findings(
        nodes=tuple({node.container_path: node for node in nodes}.values()),
        mounts=(*options.mounts, *mounts),
        env=(*options.env.items(), *(_variable(line) for line in edits.env)),
        gids=edits.gids,
    )


def all_devices() -> tuple[PlannedNode, ...]:
    """What a privileged container gets: every node under /dev."""
    return tuple(_walk("/dev", "/dev", "rwm"))


def _nodes(entry: HostDevice) -> Iterator[PlannedNode]:
    path = _real(entry.host_path)
    if os.path.isdir(path):
        yield from _walk(path, entry.container_path, entry.permissions)
        return
    node = read_node(path)
    if node is None:
        raise OSError(0, "not a device node")
    yield PlannedNode(entry.container_path, path, node, entry.permissions)


def _real(path: str) -> str:
    os.lstat(path)
    return os.path.realpath(path, strict=True) if os.path.islink(path) else path


def _walk(directory: str, container: str, permissions: str) -> Iterator[PlannedNode]:
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        below = f"{container}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in _SKIPPED_DIRECTORIES:
                yield from _walk(entry.path, below, permissions)
        elif entry.name != "console":
            node = read_node(entry.path)
            if node is not None and node.kind != "p":
                yield PlannedNode(below, entry.path, node, permissions)


def _cdi_node(found: cdi.CdiNode, user: int, group: int) -> PlannedNode:
    """A CDI node belongs to the container's user unless its file says otherwise (Apply)."""
    node = found.node if found.owned else found.node._replace(uid=user, gid=group)
    return PlannedNode(found.container_path, found.host_path, node, found.permissions)


def _variable(line: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    return name, value


def _go_error(error: OSError) -> str:
    """`lstat /dev/x: no such file or directory`: the errno in Go's words."""
    reason = (error.strerror or "").lower()
    return f"lstat {error.filename}: {reason}" if error.filename else reason
