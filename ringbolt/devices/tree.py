"""The hardware as values: the nodes of the kernel's device tree and how they hang together.

Values and pure look-ups only. What reads the machine is `scan`; what judges nodes is `selector`.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NewType

SysPath = NewType("SysPath", str)
"""A device's path below the sysfs mount, which it leaves out: it begins with "/devices/"."""

AttributeReader = Callable[[SysPath, str], str | None]
"""Reads one sysfs attribute, stripped; None where it is absent, unreadable or not text."""


@dataclass(frozen=True, slots=True)
class Node:
    """One entry of the kernel's device tree, as sysfs and (where it runs) udev describe it.

    `kernel` is the kernel's name (`ttyUSB0`); `dev_node` the node under /dev or None; `links` the
    symlinks that udev made to it; `initialized` False while udevd runs but has not yet processed it.
    Empty strings stand for "has none".
    """

    sys_path: SysPath
    kernel: str
    subsystem: str
    devtype: str
    driver: str
    dev_node: str | None
    links: tuple[str, ...]
    tags: frozenset[str]
    properties: Mapping[str, str]
    initialized: bool = True


class Tree:
    """All nodes of one scan, by path. Immutable; attributes are read on first use and kept."""

    __slots__ = ("_attribute", "_children", "nodes")

    def __init__(self, nodes: Iterable[Node], read_attribute: AttributeReader) -> None:
        self.nodes: Mapping[SysPath, Node] = {node.sys_path: node for node in nodes}
        self._attribute = functools.cache(read_attribute)
        children: dict[SysPath, list[Node]] = {}
        for node in self.nodes.values():
            if parent := self.parent(node):
                children.setdefault(parent.sys_path, []).append(node)
        self._children = children

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def __len__(self) -> int:
        return len(self.nodes)

    def attribute(self, node: Node, name: str) -> str | None:
        """The sysfs attribute `name` of the node; `name` may have slashes (`queue/rotational`)."""
        return self._attribute(node.sys_path, name)

    def parent(self, node: Node) -> Node | None:
        """The nearest ancestor that is itself a node: sysfs has plain folders in between."""
        path: str = node.sys_path
        while (cut := path.rfind("/")) > 0:
            path = path[:cut]
            if found := self.nodes.get(SysPath(path)):
                return found
        return None

    def ancestors(self, node: Node) -> Iterator[Node]:
        """Ancestors, the nearest first, without the node itself."""
        above = self.parent(node)
        while above is not None:
            yield above
            above = self.parent(above)

    def lineage(self, node: Node) -> Iterator[Node]:
        """The node itself, then its ancestors, the nearest first."""
        yield node
        yield from self.ancestors(node)

    def children(self, node: Node) -> tuple[Node, ...]:
        """Direct children, in no promised order."""
        return tuple(self._children.get(node.sys_path, ()))

    def below(self, node: Node) -> Iterator[Node]:
        """Every descendant, depth first, without the node itself."""
        for child in self.children(node):
            yield child
            yield from self.below(child)
