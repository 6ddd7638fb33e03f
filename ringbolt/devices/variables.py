"""What the variables of templates are worth for one device: its names, properties, attributes.

Devices describe themselves, and not all of them kindly: a serial number may hold slashes, control
characters or bytes that are no UTF-8. Nothing of that may choose a folder or break the wire.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from ringbolt.devices import template
from ringbolt.devices.device import Device, Member
from ringbolt.devices.qualifiers import part_of
from ringbolt.devices.tree import Tree

parse = functools.lru_cache(maxsize=4096)(template.parse)
"""`template.parse`, remembered: the same few texts are rendered at every request."""


def values(
    device: Device, member: Member | None, tree: Tree | None, *, path: bool
) -> dict[str, str | template.Lookup]:
    """The variables that need no request; with `path`, values are parts of paths.

    `{serial}` is udev's short serial number, else the sysfs attribute `serial`. Without `tree`
    every attribute is empty.
    """
    properties = _Properties(device.properties, path)
    attributes = _Attributes(device, member, tree, path)
    dev_node = member.dev_node if member else ""
    return {
        "id": device.id,
        "resource": part_of(device.resource),
        "serial": properties.get("ID_SERIAL_SHORT", "") or attributes.get("serial", ""),
        "properties": properties,
        "attributes": attributes,
        "member": member.name if member else "",
        "name": dev_node.removeprefix("/dev/"),
        "kernel": PurePosixPath((member and member.sys_path) or dev_node).name,
        "subsystem": member.subsystem if member else "",
    }


def render_text(parsed: template.Template, scope: template.Values) -> str:
    """The rendered text, `printable`."""
    return printable(parsed.render(scope))


def render_path(parsed: template.Template, scope: template.Values, filler: str = "") -> str:
    """The rendered path: it leaves no folder, and has the name `filler` rather than none."""
    rendered = printable(parsed.render(scope))
    parts = ["_" if part in {".", ".."} else part for part in rendered.split("/")]
    return "/".join(parts) + (filler if rendered.endswith("/") else "")


def printable(text: str) -> str:
    """The text as the wire and an environment can carry it: UTF-8 without control characters."""
    return re.sub(r"[\x00-\x1f\x7f]", "_", text).encode(errors="replace").decode()


def _flat(value: str) -> str:
    return value.replace("/", "_")


@dataclass(frozen=True, slots=True)
class _Properties:
    properties: Mapping[str, str]
    path: bool

    def get(self, key: str, default: str, /) -> str:
        value = self.properties.get(key, default)
        return _flat(value) if self.path else value


@dataclass(frozen=True, slots=True)
class _Attributes:
    """sysfs attributes: the member's own first, then the physical device's."""

    device: Device
    member: Member | None
    tree: Tree | None
    path: bool

    def get(self, key: str, default: str, /) -> str:
        value = self._read(key) or default
        return _flat(value) if self.path else value

    def _read(self, key: str) -> str | None:
        if self.tree is None:
            return None
        path = self.member.sys_path if self.member else None
        own = self.tree.nodes.get(path) if path else None
        found = self.tree.attribute(own, key) if own else None
        if found is None and self.device.anchor is not None:
            found = self.tree.attribute(self.device.anchor, key)
        return found
