"""What a resource takes, and why it takes a node or leaves it: values for people to read.

Rendering belongs to the daemon; what happens to a taken node afterwards (groups, injection) to
`assemble` and `injection`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ringbolt.devices.clauses import Finding
from ringbolt.devices.resource import Resource, ResourceName
from ringbolt.devices.selector import Term
from ringbolt.devices.tree import Node, Tree


@dataclass(frozen=True, slots=True)
class Judged:
    """One term of a resource and how it judged the node; `index` counts from 0 in its list."""

    index: int
    holds: bool
    findings: tuple[Finding, ...]

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that do not hold."""
        return tuple(finding for finding in self.findings if not finding.holds)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one resource takes a node or leaves it.

    `select` and `exclude` have one entry per term of the resource, in its order.
    """

    resource: ResourceName
    node: Node
    select: tuple[Judged, ...]
    exclude: tuple[Judged, ...]

    @property
    def selected_by(self) -> Judged | None:
        """The first term of `select` that holds."""
        return next((judged for judged in self.select if judged.holds), None)

    @property
    def excluded_by(self) -> Judged | None:
        """The first term of `not` that holds."""
        return next((judged for judged in self.exclude if judged.holds), None)

    @property
    def taken(self) -> bool:
        """What `takes` says of the same node."""
        return self.selected_by is not None and self.excluded_by is None

    @property
    def nearest(self) -> Judged | None:
        """The term of `select` that holds, else the one with the fewest failures."""
        return self.selected_by or min(
            self.select, key=lambda judged: len(judged.failures), default=None
        )


def takes(resource: Resource, node: Node, tree: Tree) -> bool:
    """Whether any term of `select` holds for the node and none of `not` does."""
    for term in resource.select:
        if term.matches(node, tree):
            return not any(term.matches(node, tree) for term in resource.exclude)
    return False


def taken(resource: Resource, tree: Tree) -> Iterator[Node]:
    """Every node that the resource takes, in the tree's order.

    The same as asking `takes` of each, but most are left out by their subsystem alone.
    """
    wanted = [term.subsystems for term in resource.select]
    eligible: dict[str, bool] = {}
    for node in tree:
        subsystem = node.subsystem
        if subsystem not in eligible:
            eligible[subsystem] = any(one is None or one.accepts(subsystem) for one in wanted)
        if eligible[subsystem] and takes(resource, node, tree):
            yield node


def takes_path(resource: Resource, path: str) -> bool:
    """Whether the resource takes a plain path, one that udev does not know."""
    return any(term.matches_path(path) for term in resource.select) and not any(
        term.matches_path(path) for term in resource.exclude
    )


def explain(resource: Resource, node: Node, tree: Tree) -> Explanation:
    """How every term of the resource judges the node."""
    return Explanation(
        resource.name,
        node,
        _judge(resource.select, node, tree),
        _judge(resource.exclude, node, tree),
    )


def explain_all(resources: Iterable[Resource], node: Node, tree: Tree) -> tuple[Explanation, ...]:
    """How every resource judges the node, in their order."""
    return tuple(explain(resource, node, tree) for resource in resources)


def _judge(terms: tuple[Term, ...], node: Node, tree: Tree) -> tuple[Judged, ...]:
    return tuple(
        Judged(index, term.matches(node, tree), term.explain(node, tree))
        for index, term in enumerate(terms)
    )
