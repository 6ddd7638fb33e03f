"""A reader of CDI specification files: the names a container was given become edits of it.

Follows the container-device-interface library 1.1: a file with an unknown field or a version too
low for what it uses does not count, and device nodes are looked up with lstat, so that a symlink
as hostPath fails as it does in containerd.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from ringbolt.linux.device_nodes import DeviceNode, read_node

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_SPEC_FIELDS = {"cdiVersion", "kind", "annotations", "devices", "containerEdits"}
_DEVICE_FIELDS = {"name", "annotations", "containerEdits"}
_EDIT_FIELDS = {"env", "deviceNodes", "mounts", "hooks", "additionalGids"}
_NODE_FIELDS = {
    *("path", "hostPath", "type", "major", "minor", "fileMode", "permissions", "uid", "gid"),
}
_MOUNT_FIELDS = {"hostPath", "containerPath", "type", "options"}
_SINCE = {"annotations": (0, 6), "hostPath": (0, 5), "type": (0, 4), "additionalGids": (0, 7)}
_LATEST = (1, 1, 0)


class CdiError(ValueError):
    """A name that no file serves, or a device that is not there; the library's words."""


@dataclass(frozen=True, slots=True)
class CdiNode:
    """A device node to be made: the node itself, where, from which host path, with which rights."""

    container_path: str
    host_path: str
    node: DeviceNode
    permissions: str
    owned: bool
    """Whether the file says who owns it; otherwise it belongs to the container's user."""


@dataclass(frozen=True, slots=True)
class Edits:
    """What the devices change in a container."""

    env: tuple[str, ...] = ()
    nodes: tuple[CdiNode, ...] = ()
    mounts: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    gids: tuple[int, ...] = ()


_Edit = Mapping[str, Any]


def resolve(names: Sequence[str], directories: Iterable[Path]) -> Edits:
    """The edits of qualified device names, in their order. Raises CdiError, OSError.

    A later directory's file wins over an earlier one's with the same name, as in the library. The
    edits of a file as a whole are applied once, after those of the first of its devices.
    """
    if not names:
        return Edits()
    specs, broken = _read_all(directories)
    if missing := [name for name in names if name not in specs]:
        reasons = f" ({'; '.join(broken)})" if broken else ""
        raise CdiError(f"unresolvable CDI devices {', '.join(missing)}{reasons}")
    edits = list[_Edit]()
    for name in names:
        own, whole = specs[name]
        edits += [own] if any(whole is seen for seen in edits) else [own, whole]
    return Edits(
        env=tuple(line for edit in edits for line in edit.get("env", ())),
        nodes=tuple(_node(node) for edit in edits for node in edit.get("deviceNodes", ())),
        mounts=tuple(
            (mount["hostPath"], mount["containerPath"], tuple(mount.get("options", ())))
            for edit in edits
            for mount in edit.get("mounts", ())
        ),
        gids=tuple(gid for edit in edits for gid in edit.get("additionalGids", ())),
    )


def problem_with(spec: object) -> str:
    """Why the library would reject this specification; "" where it would not."""
    if not isinstance(spec, dict):
        return "not a mapping"
    whole = cast("dict[str, Any]", spec)
    version = str(whole.get("cdiVersion", ""))
    if not _VERSION.fullmatch(version) or _parts(version) > _LATEST:
        return f"invalid or unknown cdiVersion {version!r}"
    parts = list(_parts_of(whole))
    for known, part in parts:
        if unknown := part.keys() - known:
            return f"unknown field {min(unknown)!r}"
    needed = max((_SINCE[key] for _, part in parts for key in part if key in _SINCE), default=(0,))
    for device in whole.get("devices", ()):
        if str(device.get("name", ""))[:1].isdigit():
            needed = max(needed, (0, 5))
    if "." in str(whole.get("kind", "")).partition("/")[2]:
        needed = max(needed, (0, 6))
    if _parts(version) < needed:
        return f"the spec version {version} is too low for the fields it uses"
    return "" if whole.get("devices") else "invalid spec, no devices"


def _parts_of(whole: _Edit) -> Iterable[tuple[set[str], _Edit]]:
    """Every mapping of a specification with the fields it may have."""
    yield _SPEC_FIELDS, whole
    devices: list[_Edit] = [d for d in whole.get("devices", ()) if isinstance(d, dict)]
    for device in devices:
        yield _DEVICE_FIELDS, device
    for holder in (whole, *devices):
        edits: _Edit = holder.get("containerEdits", {})
        yield _EDIT_FIELDS, edits
        nodes: list[_Edit] = edits.get("deviceNodes", [])
        for node in nodes:
            # A node's "type" is as old as CDI itself; only a mount's is newer.
            yield _NODE_FIELDS - {"type"}, {key: node[key] for key in node if key != "type"}
        mounts: list[_Edit] = edits.get("mounts", [])
        for mount in mounts:
            yield _MOUNT_FIELDS, {key: mount[key] for key in mount if key != "hostPath"}


def _read_all(
    directories: Iterable[Path],
) -> tuple[dict[str, tuple[_Edit, _Edit]], list[str]]:
    """The devices of every valid file, and what is wrong with the others."""
    specs, broken = dict[str, tuple[_Edit, _Edit]](), list[str]()
    for directory in directories:
        for path in sorted(directory.glob("*")):
            if path.suffix in {".json", ".yaml"}:
                try:
                    specs.update(_read(path))
                except CdiError as error:
                    broken.append(str(error))
    return specs, broken


def _read(path: Path) -> dict[str, tuple[_Edit, _Edit]]:
    text = path.read_text(encoding="utf-8")
    try:
        spec = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise CdiError(f"failed to load CDI Spec {path}: {error}") from error
    if problem := problem_with(spec):
        raise CdiError(f"failed to load CDI Spec {path}: {problem}")
    whole: _Edit = spec.get("containerEdits", {})
    return {
        f"{spec['kind']}={device['name']}": (device.get("containerEdits", {}), whole)
        for device in spec["devices"]
    }


def _node(entry: _Edit) -> CdiNode:
    """A node, with what the file leaves out taken from the host (fillMissingInfo)."""
    path = str(entry["path"])
    host = str(entry.get("hostPath", path))
    try:
        found = read_node(host)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise CdiError(f'failed to stat CDI host device "{host}": {reason}') from error
    if found is None:
        raise CdiError(f'failed to stat CDI host device "{host}": not a device node')
    kind = entry.get("type", found.kind)
    if kind.replace("u", "c") != found.kind:
        raise CdiError(
            f'CDI device ("{path}", "{host}"), host type mismatch ({kind}, {found.kind})'
        )
    node = DeviceNode(
        found.kind,
        entry.get("major") or found.major,
        entry["minor"] if entry.get("major") else found.minor,
        entry.get("fileMode", found.mode),
        entry.get("uid", 0),
        entry.get("gid", 0),
    )
    owned = "uid" in entry or "gid" in entry
    return CdiNode(path, host, node, entry.get("permissions") or "rwm", owned)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
