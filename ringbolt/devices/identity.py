"""Who a device is: an identity that outlives replug and reboot, and the id and names made of it.

Basis is the serial number, else the port. Where two pieces of hardware share a serial, `Memory`
says which had it first: that one keeps the plain identity, the other's has its port in it. Never
a kernel name, and nothing that depends on which other devices are there.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from ringbolt.devices import serial_number
from ringbolt.devices.device import DeviceId
from ringbolt.devices.position import position, step
from ringbolt.devices.resource import ResourceName
from ringbolt.devices.tree import Node, SysPath, Tree

LONGEST_ID = 56
_LONGEST_NAME = 64
_HASH = 12


@dataclass(frozen=True, slots=True)
class Seen:
    """Where the hardware with a serial was, and whether others with the same were there with it.

    `port` is "" once it is known that no single one had the serial first.
    """

    port: str
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """Which port first had each serial number (by `Owner.key`)."""

    serials: Mapping[str, Seen] = field(default_factory=dict[str, Seen])

    def to_json(self) -> object:
        """As JSON values: `{"serials": {key: {"port": ..., "shared": ...}}}`."""
        return {
            "serials": {
                key: {"port": seen.port, "shared": seen.shared}
                for key, seen in sorted(self.serials.items())
            }
        }

    @classmethod
    def from_json(cls, value: object) -> "Memory":
        """The Memory of `to_json`. Raises ValueError where it is none."""
        match value:
            case {"serials": dict()}:
                entries = cast("Mapping[str, Mapping[str, object]]", value)["serials"]
                return cls({str(key): _parse_seen(seen) for key, seen in entries.items()})
            case _:
                raise ValueError('no memory of identities: expected an object with "serials"')


def _parse_seen(value: object) -> Seen:
    match value:
        case {"port": str() as port, "shared": bool() as shared}:
            return Seen(port, shared)
        case _:
            raise ValueError(f'expected {{"port": text, "shared": true or false}}, found {value!r}')


@dataclass(frozen=True, slots=True)
class Identity:
    """`key` is unique on this machine; `words` say it to people, the most telling first."""

    key: str
    words: tuple[str, ...]


def identify(
    nodes: Iterable[Node], tree: Tree, memory: Memory
) -> tuple[Mapping[SysPath, Identity], Memory]:
    """The identity of each node, and the Memory with what was learned from seeing them together."""
    wanted = {node.sys_path: node for node in nodes}
    owners = {path: serial_number.owner(node, tree) for path, node in wanted.items()}
    ports: dict[str, dict[str, SysPath]] = {}
    for owner in filter(None, owners.values()):
        port = "/".join(position(owner.node, tree))
        ports.setdefault(owner.key, {})[port] = owner.node.sys_path
    learned = {
        key: _learn(memory.serials.get(key), sorted(places)) for key, places in ports.items()
    }
    after = Memory({**memory.serials, **learned})
    return {
        path: _identity(node, owners[path], tree, after) for path, node in wanted.items()
    }, after


def _learn(before: Seen | None, ports: list[str]) -> Seen:
    """What is known of a serial after it was seen at `ports`.

    Alone it may have moved; once two have been seen at once, only the port tells them apart.
    """
    if before and before.shared:
        return before
    if len(ports) == 1:
        return Seen(ports[0])
    return Seen(before.port if before else "", shared=True)


def _identity(
    node: Node, owner: serial_number.Owner | None, tree: Tree, memory: Memory
) -> Identity:
    if owner is None:
        steps = position(node, tree)
        return Identity(f"port/{'/'.join(steps)}", _port_words(node, tree, steps))
    port = "/".join(position(owner.node, tree))
    inside = position(node, tree, below=owner.node)
    seen = memory.serials[owner.key]
    place = f"@{port}" if seen.shared and seen.port != port else ""
    words = (_model(owner.node, tree), owner.serial, *dict.fromkeys(inside))
    return Identity("/".join((f"{owner.key}{place}", *inside)), words)


def _port_words(node: Node, tree: Tree, steps: tuple[str, ...]) -> tuple[str, ...]:
    """The model and port of a USB device, else the last steps: the first ones are the same."""
    usb = next((place for place in tree.lineage(node) if place.devtype == "usb_device"), None)
    if usb is None:
        return steps[-3:]
    inside = position(node, tree, below=usb)
    return (_model(usb, tree), f"port-{usb.kernel.partition('-')[2]}", *dict.fromkeys(inside))


def _model(device: Node, tree: Tree) -> str:
    """The product's name, which sysfs and udev write alike but for odd characters."""
    if device.devtype != "usb_device":
        return ""
    name = tree.attribute(device, "product") or device.properties.get("ID_MODEL")
    return _clean(name or "")[:20] or serial_number.usb_ids(device, tree)


def device_id(resource: ResourceName, kind: str, identity: Identity) -> DeviceId:
    """`<kind>-<words>-<hash of resource and key>`: two resources never share an id."""
    tail = _digest(f"{resource}\0{identity.key}")
    slug = "-".join(filter(None, (_clean(word) for word in (kind, *identity.words))))
    head = slug[: LONGEST_ID - _HASH - 1].strip("-")
    if not head[:1].isalpha():
        head = f"d-{head}"[: LONGEST_ID - _HASH - 1].strip("-")
    return DeviceId(f"{head}-{tail}")


def member_name(node: Node, anchor: Node | None, tree: Tree, identity: Identity) -> str:
    """A file name for one member: its steps below the anchor, else what tells it from all."""
    if anchor and node.sys_path == anchor.sys_path:
        virtual = node.sys_path.startswith("/devices/virtual/")
        steps: tuple[str, ...] = (step(node, tree) if virtual else node.subsystem,)
    elif anchor and node.sys_path.startswith(f"{anchor.sys_path}/"):
        steps = position(node, tree, below=anchor)
    else:
        steps = (node.subsystem, _digest(identity.key))
    return file_name("-".join(dict.fromkeys(steps)))


def file_name(text: str) -> str:
    """The text as a file name of at most 64 characters of [A-Za-z0-9._-]."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "node"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - _HASH - 1]}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=_HASH // 2).hexdigest()


def _clean(word: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", word).strip("-")
