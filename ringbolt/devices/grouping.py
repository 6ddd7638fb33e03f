"""Which nodes make one allocatable device, and which of them a pod is given.

Pure: nodes of a Tree in, groups out. Names and ids of groups are made in `identity`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ringbolt.devices.clauses import Bus, physical_device
from ringbolt.devices.resource import Group, GroupBy, Resource
from ringbolt.devices.tree import Node, Tree

_PCI = frozenset({Bus.PCI})
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


def whole_device(resource: Resource) -> bool:
    """Whether a physical device is meant where the configuration says nothing of groups.

    That is where other nodes of the device are to be injected, and where every term names hardware
    (usb, pci) and no particular node of it.
    """
    if resource.group is not None:
        return False
    return resource.inject is not None or _buses(resource) != frozenset()


def _buses(resource: Resource) -> frozenset[Bus]:
    """The buses of the hardware that the terms name, if that is all they name."""
    if not all(term.names_only_identity for term in resource.select):
        return frozenset()
    return frozenset[Bus]().union(*(term.buses for term in resource.select))


def group(resource: Resource, matched: Iterable[Node], tree: Tree) -> tuple[Grouped, ...]:
    """The groups that the matched nodes make. What the resource excludes is never a member."""
    rooms: dict[str, tuple[Node | str, list[Node]]] = {}
    for node in sorted(_own(resource, matched, tree), key=_path):
        head = _head(resource, node, tree)
        key = head if isinstance(head, str) else head.sys_path
        rooms.setdefault(key, (head, []))[1].append(node)
    return tuple(_grouped(resource, head, tuple(nodes), tree) for head, nodes in rooms.values())


def _own(resource: Resource, matched: Iterable[Node], tree: Tree) -> Iterable[Node]:
    """The nodes without those of USB devices that are merely plugged into a PCI function meant."""
    if _buses(resource) != _PCI:
        return matched
    return (node for node in matched if physical_device(Bus.USB, node, tree) is None)


def _head(resource: Resource, node: Node, tree: Tree) -> Node | str:
    """The node that stands for the group of `node`, or the group's key where none does."""
    by, key = _said(resource)
    if whole_device(resource):
        device = physical_device(Bus.PCI, node, tree) if _buses(resource) == _PCI else None
        return device or physical(node, tree) or node
    if by is GroupBy.ALL:
        return "all"
    if by is GroupBy.PROPERTY and (value := node.properties.get(key)):
        return f"property/{key}={value}"
    if by is GroupBy.PARENT:
        return nearest(key, node, tree) or node
    return node


def _said(resource: Resource) -> tuple[GroupBy, str]:
    group_ = resource.group or Group()
    return group_.by, group_.key


def nearest(key: str, node: Node, tree: Tree) -> Node | None:
    """The nearest of the node and its ancestors whose devtype or subsystem is `key`.

    Where a subsystem's nodes hang below one that has no device node (a sound card, an input
    device), that one is meant: it is what they have in common.
    """
    top = next((up for up in tree.lineage(node) if key in {up.devtype, up.subsystem}), None)
    while top and top.dev_node and top.devtype != key:
        parent = tree.parent(top)
        if parent is None or parent.dev_node or parent.subsystem != key:
            break
        top = parent
    return top


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
) -> Iterable[Node]:
    """Every node of the group, taken or not. What nests below it is a group of its own."""
    by, key = _said(resource)
    if by is GroupBy.PROPERTY and subject is None:
        value = matched[0].properties[key]
        return (node for node in tree if node.properties.get(key) == value)
    if by is GroupBy.ALL:
        devices = {top.sys_path: top for node in matched for top in [physical(node, tree) or node]}
        return _unique(node for top in devices.values() for node in _belonging(top, tree))
    assert subject is not None, "only PROPERTY and ALL have a key instead of a node"
    if by is GroupBy.PARENT and key in {subject.devtype, subject.subsystem}:
        return _below(subject, tree, lambda node: nearest(key, node, tree) is not subject)
    return _belonging(subject, tree)


def _belonging(top: Node, tree: Tree) -> Iterator[Node]:
    """The nodes whose physical device is `top`, or which are `top`."""
    return (
        node
        for node in (top, *tree.below(top))
        if node is top or (physical(node, tree) or node).sys_path == top.sys_path
    )


def _below(top: Node, tree: Tree, is_top: Callable[[Node], bool]) -> Iterator[Node]:
    """`top` and what lies below it, but for what lies below another top."""
    yield top
    for child in tree.children(top):
        if not is_top(child):
            yield from _below(child, tree, is_top)


def _unique(nodes: Iterable[Node]) -> Iterable[Node]:
    return {node.sys_path: node for node in nodes}.values()


def _path(node: Node) -> str:
    return node.sys_path
