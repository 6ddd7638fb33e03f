"""CDI files: owner and mode of injected nodes, for runtimes with the Container Device Interface.

One file per resource in the runtime's directory for generated files (CDI SPEC.md 1.1.0), rewritten
whenever a node's number or owner changes: the runtime reads it at every container start, so a
restart gets today's node. A host path is always the real node, since the runtime lstat()s it, and
type and number are left out, so that they are the node's own. A failed write raises: an answer that
names a file which is not there would fail later, and further away from its reason.

Only files that begin with "ringbolt_" are touched.
"""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringbolt.devices import placement
from ringbolt.devices.device import Device, DeviceId
from ringbolt.devices.placement import cdi_kind, cdi_name, variant_paths
from ringbolt.devices.qualifiers import Qualifiers, qualify
from ringbolt.devices.resource import Container, Resource, ResourceName
from ringbolt.devices.tree import Tree

DEFAULT_DIRECTORY = Path("/var/run/cdi")

_PREFIX = "ringbolt_"
_LONGEST_NAME = 200
_PERMISSION_BITS = 0o7777


@dataclass(frozen=True, slots=True)
class HostNode:
    """A device node of the host: `below` is its path under the member's, "" for the member itself.

    `path` is no symlink.
    """

    below: str
    path: str
    mode: int
    uid: int
    gid: int


Found = Mapping[str, tuple[HostNode, ...]]
"""By a member's `dev_node`: the node, those in the folder that it is, or nothing."""


def find_nodes(devices: Iterable[Device], companions: Sequence[str] = ()) -> Found:
    """What stands at the members' paths now. Blocks on the file system; never raises."""
    paths = {member.dev_node for device in devices for member in device.members}
    return {path: tuple(_nodes_at(path)) for path in (*paths, *companions)}


def spec(
    resource: Resource,
    devices: Sequence[Device],
    variants: Mapping[DeviceId, int],
    found: Found,
    qualifiers: Qualifiers,
    *,
    tree: Tree | None = None,
) -> dict[str, Any] | None:
    """The file's content, each device in as many variants as `placement.variants` says.

    A device without a node is left out, and so its container does not start; None where none is
    left, since CDI wants at least one. Pure.
    """
    entries: list[dict[str, Any]] = []
    for device in sorted(devices, key=lambda device: device.id):
        numbers = range(variants.get(device.id, 0))
        places = variant_paths(resource, device, numbers, qualifiers, tree)
        for variant, paths in enumerate(places):
            nodes = list(_device_nodes(resource.container, device, paths, found))
            if nodes:
                edits = {"deviceNodes": [*nodes, *_companions(resource, found)]}
                entries.append({"name": cdi_name(device.id, variant), "containerEdits": edits})
    if not entries:
        return None
    kind = cdi_kind(resource.name)
    return {"cdiVersion": _version(kind, entries), "kind": kind, "devices": entries}


def write(
    directory: Path,
    resource: Resource,
    devices: Sequence[Device],
    qualifiers: Qualifiers | None = None,
    tree: Tree | None = None,
) -> bool:
    """Bring the resource's file up to date; whether it changed. Raises OSError.

    `qualifiers` and `tree` are those that answers are planned with (`injection.plan`).
    """
    names = qualifiers or qualify([resource])[resource.name]
    variants = placement.variants(resource, devices, names, tree)
    content = spec(
        resource, devices, variants, find_nodes(devices, resource.companions), names, tree=tree
    )
    path = directory / file_name(resource.name)
    if content is None:
        return _remove(path)
    text = json.dumps(content) + "\n"
    if _read(path) == text:
        return False
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    _replace(path, text)
    return True


def prune(directory: Path, wanted: Iterable[ResourceName]) -> frozenset[Path]:
    """Remove our files of other resources and of interrupted writes; which. Raises OSError."""
    names = {file_name(name) for name in wanted}
    stale: set[Path] = set()
    with contextlib.suppress(FileNotFoundError):
        for path in directory.iterdir():
            if path.name.lstrip(".").startswith(_PREFIX) and path.name not in names:
                path.unlink(missing_ok=True)
                stale.add(path)
    return frozenset(stale)


def file_name(name: ResourceName) -> str:
    """The name of a resource's file."""
    text = name.replace("/", "_")
    if len(text) > _LONGEST_NAME:
        text = f"{text[:_LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"{_PREFIX}{text}.json"


def _nodes_at(path: str) -> Iterator[HostNode]:
    real = path
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            real = os.path.realpath(path, strict=True)
            status = os.lstat(real)
    except OSError:
        return
    if not stat.S_ISDIR(status.st_mode):
        yield from _host_node("", real, status)
        return
    for folder, _, names in sorted(os.walk(real)):
        for name in sorted(names):
            inside = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):
                below = str(inside.relative_to(real))
                yield from _host_node(below, str(inside), inside.lstat())


def _host_node(below: str, path: str, status: os.stat_result) -> Iterator[HostNode]:
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        mode = status.st_mode & _PERMISSION_BITS
        yield HostNode(below, path, mode, status.st_uid, status.st_gid)


def _device_nodes(
    container: Container, device: Device, paths: Sequence[str], found: Found
) -> Iterator[dict[str, Any]]:
    for member, place in zip(device.members, paths, strict=True):
        for node in found.get(member.dev_node, ()):
            path = f"{place}/{node.below}" if node.below else place
            yield _device_node(container, path, node)


def _companions(resource: Resource, found: Found) -> Iterator[dict[str, Any]]:
    for path in resource.companions:
        for node in found.get(path, ()):
            place = f"{path}/{node.below}" if node.below else path
            yield _device_node(resource.container, place, node)


def _device_node(container: Container, path: str, node: HostNode) -> dict[str, Any]:
    """One deviceNodes entry. What is not configured is the host's, not the runtime's choice."""
    host = {} if node.path == path else {"hostPath": node.path}
    return {
        "path": path,
        **host,
        "permissions": container.permissions,
        "fileMode": node.mode if container.mode is None else container.mode,
        "uid": node.uid if container.uid is None else container.uid,
        "gid": node.gid if container.gid is None else container.gid,
    }


def _version(kind: str, entries: Sequence[Mapping[str, Any]]) -> str:
    """The lowest version that knows every field in use: older runtimes refuse a higher one."""
    if "." in kind.rpartition("/")[2]:
        return "0.6.0"
    nodes = (node for entry in entries for node in entry["containerEdits"]["deviceNodes"])
    if any("hostPath" in node for node in nodes):
        return "0.5.0"
    return "0.5.0" if any(entry["name"][0].isdigit() for entry in entries) else "0.3.0"


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _replace(path: Path, text: str) -> None:
    """Write in one step, under a name that the runtime does not read until it is whole."""
    temporary = path.with_name(f".{path.stem}.new")
    try:
        temporary.write_text(text)
        temporary.chmod(0o644)
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
