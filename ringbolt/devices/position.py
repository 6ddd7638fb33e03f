"""Where a node sits, in words that outlive replug and reboot.

The kernel numbers what it finds in the order in which it finds it (ttyUSB0, video3, usb bus 3, HID
instance .0002). A position says instead which port, function, interface or address it is; where the
kernel offers nothing but the number, only the order among siblings of one kind is taken from it.
"""

import re
from collections.abc import Callable, Mapping

from ringbolt.devices.tree import Node, Tree

_DIGITS = re.compile(r"(\d+)")
_LAST_NUMBER = re.compile(r"[-:.]?\d+$")
_FIXED = frozenset(
    {
        "acpi",
        "amba",
        "ccw",
        "clockevents",
        "clocksource",
        "cpu",
        "css",
        "dmi",
        "event_source",
        "machinecheck",
        "mdio_bus",
        "mei",
        "memory",
        "node",
        "platform",
        "pnp",
        "soc",
        "vio",
        "vmbus",
        "wmi",
        "xen",
    }
)
"""Subsystems whose names come from firmware, device tree or source code."""

_Rule = Callable[[Node, Tree], str | None]
"""The step of a node; "" if it needs none, None if the rule has nothing to say of it."""


def position(node: Node, tree: Tree, below: Node | None = None) -> tuple[str, ...]:
    """The stable steps that lead to the node, from the top or from `below`, which is left out."""
    steps: list[str] = []
    for place in tree.lineage(node):
        if below is not None and place.sys_path == below.sys_path:
            break
        steps.append(step(place, tree))
    return tuple(filter(None, reversed(steps)))


def step(node: Node, tree: Tree) -> str:
    """What tells the node from its siblings, without a slash; "" where it has none that matter."""
    rule = _RULES.get(node.subsystem, _by_name)
    said = rule(node, tree)
    return (_by_name(node, tree) if said is None else said).replace("/", "-")


def natural(node: Node) -> tuple[tuple[int, str], ...]:
    """A sort key that orders ttyUSB2 before ttyUSB10."""
    parts = _DIGITS.split(_name(node))
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _name(node: Node) -> str:
    return node.sys_path.rpartition("/")[2]


def _stem(node: Node) -> str:
    """The name without what counts: `wwan0at1` -> `wwanat`, `i2c-6` -> `i2c`.

    The 2 of i2c is no count.
    """
    name = _LAST_NUMBER.sub("", _name(node))
    return name if name == "i2c" else _DIGITS.sub("", name) or node.subsystem


def _by_name(node: Node, tree: Tree) -> str:
    """The name itself where it is fixed or all there is; else its stem and place in the order."""
    fixed = node.subsystem in _FIXED and not _name(node).endswith(".auto")
    virtual = node.sys_path.startswith("/devices/virtual/") and tree.parent(node) is None
    if fixed or (virtual and node.subsystem != "nvme-subsystem"):
        return _name(node)
    return _nth(node, tree, _stem)


def _nth(node: Node, tree: Tree, kind: Callable[[Node], str]) -> str:
    """`kind`, with the node's place among the siblings of the same kind, but for the first.

    What has a device node is counted apart from what has none: a GPIO chip has one of each, whose
    numbers have nothing to do with each other.
    """
    word = kind(node)
    alike = [
        other
        for other in tree.siblings(node)
        if other.subsystem == node.subsystem
        and bool(other.dev_node) == bool(node.dev_node)
        and kind(other) == word
    ]
    place = sorted(alike, key=natural).index(node) if len(alike) > 1 else 0
    return f"{word}.{place}" if place else word


def _usb(node: Node, tree: Tree) -> str | None:
    """`usbv2` for a root hub, the port for a device, `if01` for an interface.

    What has none of these names is a node of a class that old kernels called "usb" as well.
    """
    name = _name(node)
    if ":" in name:
        number = name.rpartition(".")[2]
        return f"if{int(number):02x}" if number.isdecimal() else None
    if name.startswith("usb"):
        return _nth(node, tree, _root_hub)
    on_port = re.fullmatch(r"\d+-(?:\d+\.)*(\d+)", name)
    return on_port[1] if on_port else None


def _root_hub(node: Node) -> str:
    """A controller has a root hub for each USB version; its product id says which one.

    drivers/usb/core/hcd.c: 1d6b:0001, 1d6b:0002 and 1d6b:0003.
    """
    parts = node.properties.get("PRODUCT", "").split("/")
    return f"usbv{parts[1]}" if _name(node).startswith("usb") and parts[0] == "1d6b" else "usb"


def _pci(node: Node, tree: Tree) -> str:
    """The full address below the host bridge, then device.function: bus numbers may move."""
    parent = tree.parent(node)
    below_bridge = parent is not None and parent.subsystem == "pci"
    return _name(node).rpartition(":")[2] if below_bridge else _name(node)


def _scsi(node: Node, tree: Tree) -> str | None:  # noqa: ARG001 (the shape of a rule)
    """`6:0:0:0` -> `0:0:0`: the first is the host's number. A target says nothing more."""
    if node.devtype == "scsi_target":
        return ""
    found = re.fullmatch(r"\d+:(\d+:\d+:\d+)", _name(node))
    return found[1] if found else None


def _i2c(node: Node, tree: Tree) -> str | None:  # noqa: ARG001
    """`6-0050` -> `0050`: the first is the adapter's number."""
    found = re.fullmatch(r"\d+-([0-9a-f]+)|i2c-(\D.*)", _name(node))
    return (found[1] or found[2]) if found else None


def _hid(node: Node, tree: Tree) -> str:
    """`0003:046D:C318.0002` without the instance counter."""
    return _nth(node, tree, lambda other: _name(other).partition(".")[0])


def _block(node: Node, tree: Tree) -> str | None:
    name = _name(node)
    if node.devtype == "partition":
        number = node.properties.get("PARTN") or tree.attribute(node, "partition")
        return f"part{number or _DIGITS.findall(f'0{name}')[-1]}"
    if namespace := re.fullmatch(r"nvme\d+(?:c\d+)?n(\d+)", name):
        return f"ns{tree.attribute(node, 'nsid') or namespace[1]}"
    if re.fullmatch(r"(?:[shv]|xv)d[a-z]+|dasd[a-z]+", name):
        return _nth(node, tree, lambda _other: "disk")
    return None


def _numbered_by(attribute: str) -> _Rule:
    """A rule for drivers that number their own nodes in an attribute."""

    def rule(node: Node, tree: Tree) -> str | None:
        number = tree.attribute(node, attribute)
        if number is None or not number.isdecimal() or tree.parent(node) is None:
            return None
        return f"{_stem(node)}.{int(number)}" if int(number) else _stem(node)

    return rule


def _card(node: Node, tree: Tree) -> str | None:  # noqa: ARG001
    """`pcmC1D0p` -> `pcmD0p`, `controlC1` -> `control`: C is the number of the card."""
    found = re.fullmatch(r"([a-z]+)C\d+(D.+)?", _name(node))
    return f"{found[1]}{found[2] or ''}" if found else None


def _drm(node: Node, tree: Tree) -> str | None:  # noqa: ARG001
    """`card0-DP-1` -> `DP-1`."""
    found = re.fullmatch(r"card\d+-(.+)", _name(node))
    return found[1] if found else None


def _tty(node: Node, tree: Tree) -> str | None:
    """The ports of the legacy serial driver are numbered by I/O address, so their names stay."""
    parent = tree.parent(node)
    return _name(node) if parent and "serial8250" in _name(parent) else None


def _input(node: Node, tree: Tree) -> str | None:
    """A virtual input device has only its name: its number counts what was ever plugged in."""
    if tree.parent(node) is not None or not re.fullmatch(r"input\d+", _name(node)):
        return None
    return _nth(node, tree, lambda other: other.properties.get("NAME", "").strip('"') or "input")


def _chip_select(node: Node, tree: Tree) -> str | None:  # noqa: ARG001
    found = re.fullmatch(r"spi\d+\.(\d+)", _name(node))
    return f"cs{found[1]}" if found else None


def _mmc(node: Node, tree: Tree) -> str:
    """One card per slot; its own address (mmc0:59b4) is chosen anew at each insertion."""
    function = re.fullmatch(r"mmc\d+:\w+:(\d+)", _name(node))
    return f"fn{function[1]}" if function else _nth(node, tree, lambda _other: "card")


def _port(node: Node, tree: Tree) -> str | None:  # noqa: ARG001
    """`vport1p2` -> `port2` (virtio-ports), `serial8250:0.3` -> `port0.3` (serial-base)."""
    found = re.fullmatch(r"vport\d+p(\d+)|.*:(\d[\d.]*)", _name(node))
    return f"port{found[1] or found[2]}" if found else None


_RULES: Mapping[str, _Rule] = {
    "block": _block,
    "bsg": _scsi,
    "drm": _drm,
    "hid": _hid,
    "i2c": _i2c,
    "input": _input,
    "mmc": _mmc,
    "net": _numbered_by("dev_port"),
    "pci": _pci,
    "scsi": _scsi,
    "scsi_device": _scsi,
    "scsi_disk": _scsi,
    "sdio": _mmc,
    "serial-base": _port,
    "sound": _card,
    "spi": _chip_select,
    "tty": _tty,
    "usb": _usb,
    "usb-serial": _numbered_by("port_number"),
    "video4linux": _numbered_by("index"),
    "virtio-ports": _port,
}
