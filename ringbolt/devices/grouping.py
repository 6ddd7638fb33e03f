"""Which nodes make one allocatable device, and which of them a pod is given.

Pure: nodes of a Tree in, groups out. Names and ids of groups are made in `identity`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ringbolt.devices.resource import Group, GroupBy, Resource
from ringbolt.devices.tree import Node, Tree

_SLOTS = frozenset({"mmc", "sdio", "spi", "w1"})
"""Buses of separate pieces of hardware whose controller may well be a PCI function."""
_BUSES = frozenset(
    {"acpi", "amba", "ccw", "hid", "i2c", "platform", "pnp", "serio", "virtio", "vmbus", "xen"}
)
"""Where physical devices hang that are neither of those nor USB nor PCI."""


@dataclass(frozen=True, slots=True)
class Grouped:
    """Nodes that are one device.

    `subject` is the node whose identity the device has, None where `key` says it (a property's
    value, "all"). `anchor` is the physical device. `members` have a device node each, in a stable
    order, and may be none. `settled` is False while udevd is at work on any of them.
    """

    subject: Node | None
    key: str
    anchor: Node | None
    matched: tuple[Node, ...]
    members: tuple[Node, ...]
    settled: bool


def physical(node: Node, tree: Tree) -> Node | None:
    """The nearest USB device at or above the node, else disk or card, PCI function, other."""
    lineage = tuple(tree.lineage(node))
    tests: tuple[Callable[[Node], bool], ...] = (
        lambda place: place.devtype == "usb_device",
        lambda place: place.devtype == "scsi_device" or place.subsystem in _SLOTS,
        lambda place: place.subsystem == "pci",
        lambda place: place.subsystem in _BUSES,
    )
    found = (place for test in tests for place in lineage if test(place))
    return next(found, None)


def effective_group(resource: Resource) -> Group | None:
    """How the resource groups; None for the whole physical device.

    That is meant where nothing is said and either other nodes of the device are to be injected or
    every term names hardware (usb, pci) and no particular node of it.
    """
    if resource.group.by is not GroupBy.NODE:
        return resource.group
    whole = resource.inject is not None or _names_hardware(resource)
    return None if whole else resource.group


def _names_hardware(resource: Resource) -> bool:
    return all(term.names_only_identity for term in resource.select)


def group(resource: Resource, matched: Iterable[Node], tree: Tree) -> tuple[Grouped, ...]:
    """The groups that the matched nodes make. What the resource excludes is never a member."""
    by = effective_group(resource)
    rooms: dict[str, tuple[Node | str, list[Node]]] = {}
    for node in sorted(matched, key=_path):
        head = _head(by, node, tree)
        key = head if isinstance(head, str) else head.sys_path
        rooms.setdefault(key, (head, []))[1].append(node)
    return tuple(_grouped(resource, head, tuple(nodes), tree) for head, nodes in rooms.values())


def _head(by: Group | None, node: Node, tree: Tree) -> Node | str:
    """The node that stands for the group of `node`, or the group's key where none does."""
    if by is None:
        return physical(node, tree) or node
    if by.by is GroupBy.ALL:
        return "all"
    if by.by is GroupBy.PROPERTY and (value := node.properties.get(by.key)):
        return f"property/{by.key}={value}"
    if by.by is GroupBy.PARENT:
        return nearest(by.key, node, tree) or node
    return node


def nearest(key: str, node: Node, tree: Tree) -> Node | None:
    """The nearest of the node and its ancestors whose devtype or subsystem is `key`."""
    return next((up for up in tree.lineage(node) if key in {up.devtype, up.subsystem}), None)


def _grouped(
    resource: Resource, head: Node | str, matched: tuple[Node, ...], tree: Tree
) -> Grouped:
    """The group below the node `head`, or with the key `head`."""
    subject, key = (None, head) if isinstance(head, str) else (head, "")
    candidates = matched if resource.inject is None else _inside(resource, subject, matched, tree)
    members = tuple(node for node in candidates if _is_member(resource, node, tree))
    return Grouped(
        subject=subject,
        key=key,
        anchor=_anchor(subject, matched, tree),
        matched=matched,
        members=members,
        settled=all(node.initialized for node in (*matched, *members)),
    )


def _anchor(subject: Node | None, matched: tuple[Node, ...], tree: Tree) -> Node | None:
    """The physical device of the group; None where it has several."""
    if subject and subject not in matched:
        return subject
    devices = {place.sys_path: place for node in matched if (place := physical(node, tree))}
    return next(iter(devices.values())) if len(devices) == 1 else subject


def _is_member(resource: Resource, node: Node, tree: Tree) -> bool:
    if not node.dev_node or not (resource.inject is None or node.subsystem in resource.inject):
        return False
    return not any(term.matches(node, tree) for term in resource.exclude)


def _inside(
    resource: Resource, subject: Node | None, matched: tuple[Node, ...], tree: Tree
) -> tuple[Node, ...]:
    """Every node of the group, taken or not."""
    by = effective_group(resource)
    if by is not None and by.by is GroupBy.PROPERTY and subject is None:
        value = matched[0].properties[by.key]
        return tuple(node for node in tree if node.properties.get(by.key) == value)
    tops = [subject] if subject else [physical(node, tree) or node for node in matched]
    found = {
        node.sys_path: node
        for top in tops
        for node in (top, *tree.below(top))
        if _same_group(by, top, node, tree)
    }
    return tuple(found.values())


def _same_group(by: Group | None, top: Node, node: Node, tree: Tree) -> bool:
    """Devices nested below `top` (behind a hub, a bridge) are groups of their own."""
    if by is not None and by.by is GroupBy.PARENT:
        return (nearest(by.key, node, tree) or node) == top or top.sys_path == node.sys_path
    return (physical(node, tree) or node) == top or top.sys_path == node.sys_path


def _path(node: Node) -> str:
    return node.sys_path
