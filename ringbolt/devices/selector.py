"""The selector language: terms, made of clauses, that say which nodes are meant.

What a clause asks is in `clauses`, how its text is read in `grammar`, what a whole resource takes
in `explain`. Everything is a value: a term can be compared, kept and asked from any thread.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ringbolt.devices.clauses import (
    Bus,
    BusClause,
    Clause,
    Finding,
    PathClause,
    Word,
    WordClause,
)
from ringbolt.devices.pattern import Choice, Pattern
from ringbolt.devices.tree import Node, Tree

_NAMING = frozenset({Word.SUBSYSTEM, Word.DEVTYPE, Word.KERNEL})


def _by_cost(clause: Clause) -> int:
    return clause.cost


@dataclass(frozen=True, slots=True)
class Term:
    """One entry of `select:`; it holds if all its clauses hold. Without clauses it never does."""

    clauses: tuple[Clause, ...] = ()
    _cheap_first: tuple[Clause, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_cheap_first", tuple(sorted(self.clauses, key=_by_cost)))

    @property
    def cost(self) -> int:
        """The cost of its dearest clause."""
        return max((clause.cost for clause in self.clauses), default=0)

    def matches(self, node: Node, tree: Tree) -> bool:
        """Whether every clause holds for the node."""
        for clause in self._cheap_first:
            if not clause.holds(node, tree):
                return False
        return bool(self.clauses)

    def explain(self, node: Node, tree: Tree) -> tuple[Finding, ...]:
        """What every clause wanted and found, in the order of the configuration."""
        return tuple(finding for clause in self.clauses for finding in clause.explain(node, tree))

    def leaves(self) -> Iterator[Clause]:
        """The clauses, with those inside `any` and `all` in place of these."""
        for clause in self.clauses:
            if isinstance(clause, Several):
                for term in clause.terms:
                    yield from term.leaves()
            else:
                yield clause

    @property
    def path_patterns(self) -> tuple[Pattern, ...]:
        """The paths of a term that asks for nothing else, so that a plain path may satisfy it.

        Empty where any other clause stands beside `path`: what udev does not know has no
        subsystem, property or parent.
        """
        inner = tuple(self.leaves())
        paths = [clause for clause in inner if isinstance(clause, PathClause)]
        if len(paths) < len(inner) or any(clause.links_only for clause in paths):
            return ()
        return tuple(pattern for clause in paths for pattern in clause.wanted.patterns)

    def matches_path(self, path: str) -> bool:
        """Whether a plain path, one that udev does not know, satisfies the term."""
        return any(pattern.matches(path) for pattern in self.path_patterns)

    @property
    def subsystems(self) -> Choice | None:
        """What the node's subsystem must be at least; None where the term does not say."""
        for clause in self.clauses:
            if isinstance(clause, WordClause) and clause.word is Word.SUBSYSTEM:
                return clause.wanted
        return None

    @property
    def buses(self) -> frozenset[Bus]:
        """The buses whose devices the term describes."""
        return frozenset(clause.bus for clause in self.leaves() if isinstance(clause, BusClause))

    @property
    def names_only_identity(self) -> bool:
        """Whether the term describes a physical device (usb, pci) and no particular node of it."""
        naming = any(
            isinstance(clause, PathClause)
            or (isinstance(clause, WordClause) and clause.word in _NAMING)
            for clause in self.leaves()
        )
        return bool(self.buses) and not naming


@dataclass(frozen=True, slots=True)
class Several:
    """`any` or `all` of several terms."""

    terms: tuple[Term, ...]
    every: bool
    cost: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cost", _dearest(self.terms))

    def holds(self, node: Node, tree: Tree) -> bool:
        """Whether any term holds, or every one."""
        quantifier = all if self.every else any
        return quantifier(term.matches(node, tree) for term in self.terms)

    def explain(self, node: Node, tree: Tree) -> tuple[Finding, ...]:
        """One finding, with those of the terms inside it."""
        name = "all" if self.every else "any"
        return (_outer(name, f"{name} of {len(self.terms)} terms", self, node, tree),)


@dataclass(frozen=True, slots=True)
class NotClause:
    """`not`: none of the terms holds."""

    terms: tuple[Term, ...]
    cost: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cost", _dearest(self.terms))

    def holds(self, node: Node, tree: Tree) -> bool:
        """Whether no term holds."""
        return not any(term.matches(node, tree) for term in self.terms)

    def explain(self, node: Node, tree: Tree) -> tuple[Finding, ...]:
        """One finding, with those of the terms inside it."""
        return (_outer("not", f"none of {len(self.terms)} terms", self, node, tree),)


@dataclass(frozen=True, slots=True)
class ParentClause:
    """`parent`: any ancestor satisfies the term."""

    term: Term
    cost: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cost", _dearest((self.term,)) + 1)

    def holds(self, node: Node, tree: Tree) -> bool:
        """Whether any ancestor satisfies the term."""
        return any(self.term.matches(above, tree) for above in tree.ancestors(node))

    def explain(self, node: Node, tree: Tree) -> tuple[Finding, ...]:
        """The ancestor that holds, else the one that came nearest with what it lacked."""
        best: tuple[int, Node, tuple[Finding, ...]] | None = None
        for above in tree.ancestors(node):
            findings = self.term.explain(above, tree)
            failed = sum(not finding.holds for finding in findings)
            if best is None or failed < best[0]:
                best = failed, above, findings
        if best is None:
            return (Finding("parent", "an ancestor", None, holds=False),)
        _, above, findings = best
        wanted, holds = "an ancestor that satisfies the term", self.holds(node, tree)
        return (Finding("parent", wanted, above.sys_path, holds, findings),)


def _dearest(terms: tuple[Term, ...]) -> int:
    return max((term.cost for term in terms), default=0)


def _outer(name: str, wanted: str, clause: Several | NotClause, node: Node, tree: Tree) -> Finding:
    nested = tuple(finding for term in clause.terms for finding in term.explain(node, tree))
    count = sum(term.matches(node, tree) for term in clause.terms)
    return Finding(name, wanted, f"{count} of them hold", clause.holds(node, tree), nested)
