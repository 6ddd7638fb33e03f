"""Plans a container's root file system: the host's programs, read-only, under a /dev of its own.

There are no images in the sandbox: whatever `image` says, a container sees this machine's /usr and
/etc, and the Python that runs the sandbox. Pure but for a look at what the host has.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ringbolt.linux.device_nodes import DeviceNode
from ringbolt.linux.mount import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_STRICTATIME
from ringbolt.sandbox.host_devices import PlannedNode
from ringbolt.sandbox.run_options import HostMount
from ringbolt.sandbox.steps import Step

_PROGRAMS = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "opt", "nix")
_STANDARD = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
_LINKS = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
_HIDDEN = (
    *("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"),
    *("/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
)
_FROZEN = (
    *("/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"),
)
_TTY_GROUP = 5
_RULES = (
    *("c *:* m", "b *:* m", "c 136:* rwm", "c 5:2 rwm"),
    *(f"c {major}:{minor} rwm" for major, minor in _STANDARD.values()),
)


@dataclass(frozen=True, slots=True)
class Content:
    """What is special about one container: nodes, mounts, and whether nodes can be made.

    `bound_nodes`: bind the host's nodes instead, as a user namespace cannot make any.
    """

    nodes: Sequence[PlannedNode] = ()
    mounts: Sequence[HostMount] = ()
    bound_nodes: bool = False
    privileged: bool = False


def plan_rootfs(content: Content) -> tuple[Step, ...]:
    """The steps from an empty directory to the container's root."""
    return (
        *_host_programs(),
        *_system(content),
        *_standard_devices(bound=content.bound_nodes),
        *_given_nodes(content),
        *(_mounted(mount) for mount in _by_depth(content.mounts)),
    )


def device_rules(nodes: Iterable[PlannedNode]) -> tuple[str, ...]:
    """The device cgroup's rules: the standard nodes, the given ones, and mknod of any.

    As runc: making a node is allowed, opening it is what the group decides.
    """
    return (*_RULES, *(node.rule for node in nodes if node.node.kind != "p"))


def search_path() -> str:
    """The PATH of a container; ends with the interpreter's place where that is not a usual one."""
    usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    own = f"{sys.base_prefix}/bin"
    return usual if own in usual.split(":") else f"{usual}:{own}"


def _host_programs() -> Iterator[Step]:
    shown = [f"/{name}" for name in _PROGRAMS]
    for path in shown:
        if os.path.islink(path):
            yield Step("link", path, os.readlink(path))
        elif os.path.isdir(path):
            yield Step("bind", path, path, readonly=True)
    prefix = str(Path(sys.base_prefix).resolve())
    if not any(prefix == path or prefix.startswith(f"{path}/") for path in shown):
        yield Step("bind", prefix, prefix, readonly=True)


def _system(content: Content) -> Iterator[Step]:
    safe = MS_NOSUID | MS_NODEV | MS_NOEXEC
    yield Step("fs", "/proc", "proc", flags=safe, fallback="/proc")
    yield Step("fs", "/sys", "sysfs", flags=safe, readonly=not content.privileged, fallback="/sys")
    if not content.privileged:
        yield from (Step("hide", path) for path in _HIDDEN)
        yield from (Step("freeze", path) for path in _FROZEN)
    yield Step("directory", "/tmp", flags=0o1777)
    yield Step("directory", "/var/tmp", flags=0o1777)
    yield Step("directory", "/run", flags=0o755)
    yield Step("directory", "/root", flags=0o700)


def _standard_devices(*, bound: bool) -> Iterator[Step]:
    # Not world-writable: there, opening another's node with O_CREAT fails (fs.protected_regular).
    yield Step("fs", "/dev", "tmpfs", "mode=755,size=65536k", MS_NOSUID | MS_STRICTATIME)
    for name, (major, minor) in _STANDARD.items():
        node = DeviceNode("c", major, minor, 0o666)
        yield _node_step(f"/dev/{name}", f"/dev/{name}", node, bound=bound)
    group = "" if bound else f",gid={_TTY_GROUP}"
    options = f"newinstance,ptmxmode=0666,mode=0620{group}"
    yield Step("fs", "/dev/pts", "devpts", options, MS_NOSUID | MS_NOEXEC)
    safe = MS_NOSUID | MS_NODEV | MS_NOEXEC
    yield Step("fs", "/dev/shm", "tmpfs", "mode=1777,size=65536k", safe)
    yield Step("fs", "/dev/mqueue", "mqueue", "", safe, fallback="/dev/shm")
    yield from (Step("link", f"/dev/{name}", target) for name, target in _LINKS.items())


def _given_nodes(content: Content) -> Iterator[Step]:
    for planned in content.nodes:
        bound = content.bound_nodes
        yield _node_step(planned.container_path, planned.host_path, planned.node, bound=bound)


def _node_step(path: str, host_path: str, node: DeviceNode, *, bound: bool) -> Step:
    return Step("bind", path, host_path) if bound else Step("node", path, node=node)


def _mounted(entry: HostMount) -> Step:
    return Step("bind", entry.container_path, entry.host_path, readonly=entry.readonly)


def _by_depth(mounts: Iterable[HostMount]) -> list[HostMount]:
    """Upper directories first, so that none covers another (containerd orderedMounts)."""
    return sorted(mounts, key=lambda mount: mount.container_path.rstrip("/").count("/"))
