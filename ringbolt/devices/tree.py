"""The hardware as values: the nodes of the kernel's device tree and how they hang together.

Values and pure look-ups only. What reads the machine is `scan`; what judges nodes is `selector`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
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
    links that udev made to it; `initialized` False while udevd runs but has not yet processed it.
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


_Nodes = tuple[Node, ...]
_NOWHERE = SysPath("")
"""Stands for the parent of what has none."""


class Tree:
    """All nodes of one scan, by path. Immutable; attributes are read on first use and kept."""

    __slots__ = ("_attributes", "_children", "_parents", "_read_attribute", "nodes")

    def __init__(self, nodes: Iterable[Node], read_attribute: AttributeReader) -> None:
        self.nodes: Mapping[SysPath, Node] = {node.sys_path: node for node in nodes}
        self._read_attribute = read_attribute
        self._attributes: dict[tuple[SysPath, str], str | None] = {}
        self._children: Mapping[SysPath, _Nodes] | None = None
        self._parents: dict[SysPath, Node | None] = {}

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def __len__(self) -> int:
        return len(self.nodes)

    def attribute(self, node: Node, name: str) -> str | None:
        """The sysfs attribute `name` of the node; `name` may have slashes (`queue/rotational`)."""
        key = node.sys_path, name
        try:
            return self._attributes[key]
        except KeyError:
            return self._attributes.setdefault(key, self._read_attribute(*key))

    def parent(self, node: Node) -> Node | None:
        """The nearest ancestor that is itself a node: sysfs has plain folders in between."""
        path = node.sys_path
        if path not in self._parents:
            self._parents[path] = self._nearest_above(path)
        return self._parents[path]

    def _nearest_above(self, path: str) -> Node | None:
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
        return self._by_parent().get(node.sys_path, ())

    def siblings(self, node: Node) -> tuple[Node, ...]:
        """The children of its parent, itself among them; without a parent, all that have none."""
        return self._by_parent()[_path_of(self.parent(node))]

    def below(self, node: Node) -> Iterator[Node]:
        """Every descendant, depth first, without the node itself."""
        for child in self.children(node):
            yield child
            yield from self.below(child)

    def replaced(self, gone: Collection[SysPath], nodes: Iterable[Node]) -> "Tree":
        """This tree without the paths in `gone`, and with `nodes` in place of older ones or anew.

        Costs in proportion to the change, but for shallow copies. Attributes already read are kept,
        except those of `gone` and `nodes`.
        """
        new = {node.sys_path: node for node in nodes}
        stale = new.keys() | set(gone)
        inside = tuple(f"{path}/" for path in stale)
        after = Tree((), self._read_attribute)
        after.nodes = {path: node for path, node in self.nodes.items() if path not in stale} | new
        # Copied in one step: other threads may be reading attributes of this tree.
        attributes, parents = self._attributes.copy(), self._parents.copy()
        after._attributes = {key: attributes[key] for key in attributes if key[0] not in stale}
        after._parents = {
            path: parents[path]
            for path in parents
            if path not in stale and not path.startswith(inside)
        }
        if self._children is not None:
            after._children = self._regrouped(stale, inside, after)
        return after

    def _regrouped(
        self, stale: Collection[SysPath], inside: tuple[str, ...], after: "Tree"
    ) -> Mapping[SysPath, _Nodes]:
        """The children in the tree `after`, which differs from this one in the `stale` paths."""
        changed = [node for path in stale for node in _in(path, self, after)]
        parents = {_path_of(tree.parent(node)) for node in changed for tree in (self, after)}
        grouped = dict(self._by_parent())
        moved = set(stale)
        for path in parents.union(stale):
            children = grouped.pop(path, ())
            uprooted = {c.sys_path for c in children if path in stale or c.sys_path in stale}
            uprooted.update(c.sys_path for c in children if c.sys_path.startswith(inside))
            moved |= uprooted
            if kept := tuple(c for c in children if c.sys_path not in uprooted):
                grouped[path] = kept
        for path in moved:
            for node in _in(path, after):
                parent = _path_of(after.parent(node))
                grouped[parent] = (*grouped.get(parent, ()), node)
        return grouped

    def _by_parent(self) -> Mapping[SysPath, _Nodes]:
        if self._children is None:
            children: dict[SysPath, list[Node]] = {}
            for node in self.nodes.values():
                children.setdefault(_path_of(self.parent(node)), []).append(node)
            self._children = {path: tuple(nodes) for path, nodes in children.items()}
        return self._children


def _in(path: SysPath, *trees: Tree) -> Iterator[Node]:
    """The node with that path in each of the trees that has it."""
    return (tree.nodes[path] for tree in trees if path in tree.nodes)


def _path_of(parent: Node | None) -> SysPath:
    return parent.sys_path if parent else _NOWHERE
