"""The leaves of the selector language: each asks one thing of one node.

A clause knows where a fact about a node is found, `pattern` how it is compared and `selector` how
clauses make a term. Nothing here reads the machine but through the Tree.
"""

import enum
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ringbolt.devices.pattern import Choice, Reading, parse_hex
from ringbolt.devices.tree import Node, Tree


@dataclass(frozen=True, slots=True)
class Finding:
    """What one clause wanted and what it found; `nested` are the findings of terms inside it.

    `found` is None where the node has nothing of the kind.
    """

    clause: str
    wanted: str
    found: str | None
    holds: bool
    nested: "tuple[Finding, ...]" = ()


class Clause(Protocol):
    """One condition of a term. `cost` orders: what is cheap to ask is asked first."""

    @property
    def cost(self) -> int:
        """How dear the question is, from 0."""
        ...

    def holds(self, node: Node, tree: Tree) -> bool:
        """Whether the condition holds for the node."""
        ...

    def explain(self, node: Node, tree: Tree) -> tuple[Finding, ...]:
        """What was wanted and found, one Finding per question."""
        ...


def _finding(clause: str, wanted: Choice, values: Iterable[str | None]) -> Finding:
    there = tuple(dict.fromkeys(value for value in values if value))
    found = " ".join(there) if there else None
    return Finding(clause, str(wanted), found, wanted.accepts_any(there))


class Word(enum.Enum):
    """The words that the kernel has for a node."""

    SUBSYSTEM = "subsystem"
    DEVTYPE = "devtype"
    DRIVER = "driver"
    KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class WordClause:
    """`subsystem`, `devtype`, `driver` or `kernel`."""

    word: Word
    wanted: Choice
    cost: int = field(default=0, init=False, repr=False)
    _word_of: Callable[[Node], str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_word_of", operator.attrgetter(self.word.value))

    def holds(self, node: Node, tree: Tree) -> bool:  # noqa: ARG002 (the shape of a Clause)
        """Whether the node's word matches."""
        return self.wanted.accepts(self._word_of(node))

    def explain(self, node: Node, tree: Tree) -> tuple[Finding, ...]:  # noqa: ARG002
        """The one finding."""
        return (_finding(self.word.value, self.wanted, (self._word_of(node),)),)


@dataclass(frozen=True, slots=True)
class TagClause:
    """`tags`: the node has any of these udev tags."""

    wanted: Choice
    cost: int = field(default=1, init=False, repr=False)

    def holds(self, node: Node, tree: Tree) -> bool:  # noqa: ARG002
        """Whether any tag matches."""
        return self.wanted.accepts_any(node.tags)

    def explain(self, node: Node, tree: Tree) -> tuple[Finding, ...]:  # noqa: ARG002
        """The one finding."""
        return (_finding("tags", self.wanted, sorted(node.tags)),)


@dataclass(frozen=True, slots=True)
class PropertyClause:
    """One udev property of the node."""

    name: str
    wanted: Choice
    cost: int = field(default=1, init=False, repr=False)

    def holds(self, node: Node, tree: Tree) -> bool:  # noqa: ARG002
        """Whether the property matches."""
        return self.wanted.accepts(node.properties.get(self.name))

    def explain(self, node: Node, tree: Tree) -> tuple[Finding, ...]:  # noqa: ARG002
        """The one finding."""
        value = node.properties.get(self.name)
        return (_finding(f"properties.{self.name}", self.wanted, (value,)),)


@dataclass(frozen=True, slots=True)
class PathClause:
    """`path`: the device node or any link to it; `links`: only what udev linked to it."""

    wanted: Choice
    links_only: bool = False
    cost: int = field(default=2, init=False, repr=False)

    def holds(self, node: Node, tree: Tree) -> bool:  # noqa: ARG002
        """Whether any path matches."""
        return self.wanted.accepts_any(self._paths(node))

    def explain(self, node: Node, tree: Tree) -> tuple[Finding, ...]:  # noqa: ARG002
        """The one finding."""
        name = "links" if self.links_only else "path"
        return (_finding(name, self.wanted, self._paths(node)),)

    def _paths(self, node: Node) -> tuple[str, ...]:
        if self.links_only or not node.dev_node:
            return node.links
        return (node.dev_node, *node.links)


@dataclass(frozen=True, slots=True)
class AttributeClause:
    """One sysfs attribute of the node."""

    name: str
    wanted: Choice
    cost: int = field(default=5, init=False, repr=False)

    def holds(self, node: Node, tree: Tree) -> bool:
        """Whether the attribute matches; reads it on first use."""
        return self.wanted.accepts(tree.attribute(node, self.name))

    def explain(self, node: Node, tree: Tree) -> tuple[Finding, ...]:
        """The one finding."""
        value = tree.attribute(node, self.name)
        return (_finding(f"attributes.{self.name}", self.wanted, (value,)),)


class Bus(enum.Enum):
    """The buses whose physical devices have clauses of their own."""

    USB = "usb"
    PCI = "pci"


Fact = Callable[[Node, Tree], Iterable[str | None]]
"""The values under which one fact about a physical device may be known."""


@dataclass(frozen=True, slots=True)
class BusClause:
    """`usb` or `pci`: facts about the nearest such device, the node itself or an ancestor."""

    bus: Bus
    facts: tuple[tuple[str, Choice], ...]
    cost: int = field(default=4, init=False, repr=False)

    def holds(self, node: Node, tree: Tree) -> bool:
        """Whether there is such a device and every fact matches."""
        device = physical_device(self.bus, node, tree)
        return device is not None and all(
            wanted.accepts_any(self._values(fact, node, device, tree))
            for fact, wanted in self.facts
        )

    def explain(self, node: Node, tree: Tree) -> tuple[Finding, ...]:
        """One finding per fact, or a single one where there is no such device."""
        device = physical_device(self.bus, node, tree)
        if device is None:
            wanted = f"a {self.bus.name} device at or above the node"
            return (Finding(self.bus.value, wanted, None, holds=False),)
        return tuple(
            _finding(f"{self.bus.value}.{fact}", wanted, self._values(fact, node, device, tree))
            for fact, wanted in self.facts
        )

    def _values(self, fact: str, node: Node, device: Node, tree: Tree) -> Iterable[str | None]:
        if fact == "interface":
            return _usb_interface(node, tree)
        return FACTS[self.bus][fact].values(device, tree)


def physical_device(bus: Bus, node: Node, tree: Tree) -> Node | None:
    """The nearest USB device (not interface) or PCI function: the node itself or an ancestor."""
    by_devtype = bus is Bus.USB
    above: Node | None = node
    while above is not None:
        if above.devtype == "usb_device" if by_devtype else above.subsystem == "pci":
            return above
        above = tree.parent(above)
    return None


@dataclass(frozen=True, slots=True)
class FactSource:
    """How patterns for a fact are read, and where the fact is found."""

    reading: Reading
    values: Fact


def _id(part: int, separator: str, combined: str, alone: "tuple[str, ...]", attribute: str) -> Fact:
    """A numeric id: a part of a property of the kernel, else udev's property, else sysfs."""

    def values(device: Node, tree: Tree) -> Iterable[str | None]:
        parts = device.properties.get(combined, "").split(separator)
        sources: list[str | None] = [parts[part] if part < len(parts) else None]
        sources += [device.properties.get(name) for name in alone]
        known = next((text for text in sources if text), None)
        text = known or tree.attribute(device, attribute)
        number = parse_hex(text) if text else None
        return (text if number is None else f"{number:04x}",)

    return values


def _strings(attribute: str, *properties: str) -> Fact:
    """A string of the device, as it says it and as udev wrote it down."""

    def values(device: Node, tree: Tree) -> Iterable[str | None]:
        yield tree.attribute(device, attribute)
        for name in properties:
            yield device.properties.get(name)

    return values


def _usb_port(device: Node, tree: Tree) -> Iterable[str | None]:
    """`1-1.2` (with the bus) and `1.2` (the kernel's devpath)."""
    yield device.kernel
    yield tree.attribute(device, "devpath")
    yield device.kernel.partition("-")[2]


def _usb_bus(device: Node, tree: Tree) -> Iterable[str | None]:
    text = device.properties.get("BUSNUM") or tree.attribute(device, "busnum")
    return (text.lstrip("0") if text else None,)


def _usb_interface(node: Node, tree: Tree) -> Iterable[str | None]:
    """The number of the interface that the node belongs to."""
    for above in tree.lineage(node):
        if above.devtype == "usb_interface":
            known = node.properties.get("ID_USB_INTERFACE_NUM")
            return (known or tree.attribute(above, "bInterfaceNumber") or _suffix(above.kernel),)
        if above.devtype == "usb_device":
            break
    return ()


def _suffix(kernel: str) -> str | None:
    """The interface number in `1-1.2:1.0`, which sysfs writes in decimal."""
    number = kernel.rpartition(".")[2]
    return f"{int(number):02x}" if ":" in kernel and number.isdecimal() else None


def _pci_class(device: Node, tree: Tree) -> Iterable[str | None]:
    text = device.properties.get("PCI_CLASS") or tree.attribute(device, "class")
    number = parse_hex(text) if text else None
    return (text if number is None else f"{number:06x}",)


def _pci_address(device: Node, tree: Tree) -> Iterable[str | None]:  # noqa: ARG001 (a Fact)
    """`0000:00:02.0`, and without the domain where that is the usual one."""
    address = device.properties.get("PCI_SLOT_NAME") or device.kernel
    yield address
    if address.startswith("0000:"):
        yield address.removeprefix("0000:")


FACTS: Mapping[Bus, Mapping[str, FactSource]] = {
    Bus.USB: {
        "vendor": FactSource(
            Reading.HEX, _id(0, "/", "PRODUCT", ("ID_VENDOR_ID", "ID_USB_VENDOR_ID"), "idVendor")
        ),
        "product": FactSource(
            Reading.HEX, _id(1, "/", "PRODUCT", ("ID_MODEL_ID", "ID_USB_MODEL_ID"), "idProduct")
        ),
        "serial": FactSource(
            Reading.NAME, _strings("serial", "ID_SERIAL_SHORT", "ID_USB_SERIAL_SHORT")
        ),
        "manufacturer": FactSource(Reading.NAME, _strings("manufacturer", "ID_VENDOR")),
        "model": FactSource(Reading.NAME, _strings("product", "ID_MODEL")),
        "port": FactSource(Reading.TEXT, _usb_port),
        "bus": FactSource(Reading.TEXT, _usb_bus),
        "interface": FactSource(Reading.HEX, _usb_interface),
    },
    Bus.PCI: {
        "vendor": FactSource(Reading.HEX, _id(0, ":", "PCI_ID", (), "vendor")),
        "device": FactSource(Reading.HEX, _id(1, ":", "PCI_ID", (), "device")),
        "class": FactSource(Reading.CLASS, _pci_class),
        "address": FactSource(Reading.TEXT, _pci_address),
        "subsystem_vendor": FactSource(
            Reading.HEX, _id(0, ":", "PCI_SUBSYS_ID", (), "subsystem_vendor")
        ),
        "subsystem_device": FactSource(
            Reading.HEX, _id(1, ":", "PCI_SUBSYS_ID", (), "subsystem_device")
        ),
    },
}
"""Every fact that `usb` and `pci` can ask for."""
