"""The selector language as it is written down: plain values in, terms and every fault out.

Plain values are what any configuration format can say: mappings, lists, texts and None. Where they
stand in a file is the reader's knowledge, so a fault names its place by keys and positions.
"""

import difflib
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard, cast

from ringbolt.devices.clauses import (
    FACTS,
    AttributeClause,
    Bus,
    BusClause,
    Clause,
    PathClause,
    PropertyClause,
    TagClause,
    Word,
    WordClause,
)
from ringbolt.devices.pattern import Choice, Pattern, PatternError, Reading, parse_pattern
from ringbolt.devices.selector import NotClause, ParentClause, Several, Term

Place = tuple[str | int, ...]
"""Keys and positions that lead from the outermost value to the one that is meant."""

DEEPEST = 8
"""How far terms may be nested in each other."""

LONGEST_WORD = 100
"""Characters of an unknown word that are compared with the known ones."""

NUMERIC_PROPERTIES = frozenset(
    {"ID_VENDOR_ID", "ID_MODEL_ID", "ID_USB_VENDOR_ID", "ID_USB_MODEL_ID"}
)
"""The udev properties that are hexadecimal ids."""

NUMERIC_ATTRIBUTES = frozenset(
    {"idVendor", "idProduct", "vendor", "device", "subsystem_vendor", "subsystem_device"}
)
"""The sysfs attributes that are hexadecimal ids."""

_WORDS = {word.value: word for word in Word}
_BUSES = {bus.value: bus for bus in Bus}
_EXAMPLE_FACT = {Bus.USB: "vendor: 0403", Bus.PCI: "class: 0300"}
_NODE_CLAUSES = ("path", "links", "properties", "attributes", "tags")
_NESTING = ("parent", "any", "all", "not")
CLAUSES = (*_WORDS, *_NODE_CLAUSES, *_BUSES, *_NESTING)
"""Every clause that a term may have."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at `place`; `at_key` when the key itself is meant, not its value."""

    place: Place
    message: str
    hint: str = ""
    at_key: bool = False


def suggestion(word: str, known: Collection[str]) -> str:
    """`did you mean "x"?`, else the words that are known."""
    return _suggestion(word[:LONGEST_WORD], tuple(sorted(known)))


@functools.lru_cache(maxsize=1024)
def _suggestion(word: str, known: tuple[str, ...]) -> str:
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), folded, n=1)
    if close:
        return f'did you mean "{folded[close[0]]}"?'
    return f"known are {', '.join(known)}" if known else ""


def parse_terms(value: object) -> tuple[tuple[Term, ...], tuple[Fault, ...]]:
    """The terms of a `select` or `not`, a list or a single one, and everything wrong with them."""
    parser = _Parser()
    terms = parser.terms(value, (), 1)
    return terms, tuple(parser.faults)


def parse_term(value: object) -> tuple[Term, tuple[Fault, ...]]:
    """One term, and everything wrong with it."""
    parser = _Parser()
    return parser.term(value, (), 1), tuple(parser.faults)


@dataclass(slots=True)
class _Parser:
    """Collects faults while it goes; what is faulty is left out of the term."""

    faults: list[Fault] = field(default_factory=list[Fault])

    def fault(self, place: Place, message: str, hint: str = "", *, at_key: bool = False) -> None:
        self.faults.append(Fault(place, message, hint, at_key))

    def terms(self, value: object, place: Place, depth: int) -> tuple[Term, ...]:
        if not _is_list(value):
            return (self.term(value, place, depth),)
        if not value:
            self.fault(place, "the list of terms is empty", "write at least one, or leave it out")
        return tuple(self.term(item, (*place, index), depth) for index, item in enumerate(value))

    def term(self, value: object, place: Place, depth: int) -> Term:
        if depth > DEEPEST:
            self.fault(place, f"terms are nested more than {DEEPEST} deep", "make it flatter")
            return Term()
        if not _is_mapping(value):
            hint = "a term is written as in {subsystem: tty}"
            self.fault(place, f"a term is a mapping of clauses, not {_kind(value)}", hint)
            return Term()
        if not value:
            hint = "an empty term would take nothing; write a clause such as subsystem: tty"
            self.fault(place, "the term has no clauses", hint)
        clauses: list[Clause] = []
        for key, inner in value.items():
            clauses.extend(self.clause(key, inner, (*place, key), depth))
        return Term(tuple(clauses))

    def clause(self, key: str, value: object, place: Place, depth: int) -> Sequence[Clause]:
        if key in _WORDS:
            return (WordClause(_WORDS[key], self.choice(value, place, Reading.TEXT)),)
        if key in _BUSES:
            return self.bus(_BUSES[key], value, place)
        if key in _NESTING:
            return (self.nesting(key, value, place, depth + 1),)
        if key in _NODE_CLAUSES:
            return self.node_clause(key, value, place)
        hint = suggestion(key, CLAUSES)
        self.fault(place, f'unknown clause "{_short(key)}"', hint, at_key=True)
        return ()

    def nesting(self, key: str, value: object, place: Place, depth: int) -> Clause:
        if key == "parent":
            return ParentClause(self.term(value, place, depth))
        terms = self.terms(value, place, depth)
        return NotClause(terms) if key == "not" else Several(terms, every=key == "all")

    def node_clause(self, key: str, value: object, place: Place) -> Sequence[Clause]:
        if key == "properties":
            return self.named(value, place, self.property_clause, "ID_BUS: usb")
        if key == "attributes":
            return self.named(value, place, self.attribute_clause, "idVendor: 0403")
        if key == "tags":
            return (TagClause(self.choice(value, place, Reading.TEXT)),)
        wanted = self.choice(value, place, Reading.PATH)
        return (PathClause(wanted, links_only=key == "links"),)

    def bus(self, bus: Bus, value: object, place: Place) -> Sequence[Clause]:
        if not self.is_filled(value, place, _EXAMPLE_FACT[bus]):
            return ()
        facts: list[tuple[str, Choice]] = []
        for name, wanted in cast("Mapping[str, object]", value).items():
            source = FACTS[bus].get(name)
            if source is None:
                hint = suggestion(name, FACTS[bus])
                self.fault(
                    (*place, name),
                    f'unknown key "{_short(name)}" in {bus.value}',
                    hint,
                    at_key=True,
                )
                continue
            facts.append((name, self.choice(wanted, (*place, name), source.reading)))
        return (BusClause(bus, tuple(facts)),)

    def named(
        self,
        value: object,
        place: Place,
        make: Callable[[str, object, Place], Clause],
        example: str,
    ) -> Sequence[Clause]:
        if not self.is_filled(value, place, example):
            return ()
        names = cast("Mapping[str, object]", value)
        return [make(name, wanted, (*place, name)) for name, wanted in names.items()]

    def property_clause(self, name: str, wanted: object, place: Place) -> Clause:
        if not name or "=" in name or any(character.isspace() for character in name):
            hint = "udevadm info shows the names, such as ID_SERIAL_SHORT"
            self.fault(place, f'"{_short(name)}" is no property name', hint, at_key=True)
        reading = Reading.HEX if name in NUMERIC_PROPERTIES else Reading.TEXT
        return PropertyClause(name, self.choice(wanted, place, reading))

    def attribute_clause(self, name: str, wanted: object, place: Place) -> Clause:
        parts = name.split("/")
        if not all(parts) or ".." in parts or "\0" in name:
            hint = "it is a file below the device's own folder, such as idVendor or power/control"
            self.fault(place, f'"{_short(name)}" is no attribute name', hint, at_key=True)
        reading = Reading.HEX if name in NUMERIC_ATTRIBUTES else Reading.TEXT
        return AttributeClause(name, self.choice(wanted, place, reading))

    def choice(self, value: object, place: Place, reading: Reading) -> Choice:
        if not _is_list(value):
            return Choice(tuple(self.pattern(value, place, reading)))
        if not value:
            self.fault(place, "the list of patterns is empty", 'to mean "has none" write ""')
        found = [self.pattern(item, (*place, at), reading) for at, item in enumerate(value)]
        return Choice(tuple(pattern for patterns in found for pattern in patterns))

    def pattern(self, value: object, place: Place, reading: Reading) -> Sequence[Pattern]:
        if not isinstance(value, str):
            hint = 'write a text; to mean "has none" write ""' if value is None else ""
            self.fault(place, f"a pattern is a text or a list of texts, not {_kind(value)}", hint)
            return ()
        try:
            return (parse_pattern(value, reading),)
        except PatternError as error:
            self.fault(place, str(error))
            return ()

    def is_filled(self, value: object, place: Place, example: str) -> bool:
        """Whether it is a mapping with something in it; a fault where it is not."""
        name = place[-1]
        if not _is_mapping(value):
            hint = f"write it as in {name}: {{{example}}}"
            self.fault(place, f"{name} is a mapping, not {_kind(value)}", hint)
            return False
        if not value:
            self.fault(place, f"{name} is empty", f"write it as in {name}: {{{example}}}")
        return bool(value)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_mapping(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping)


def _kind(value: object) -> str:
    """What a value is, in words."""
    if value is None:
        return "nothing"
    if _is_mapping(value):
        return "a mapping"
    return "a list" if _is_list(value) else f'the text "{_short(str(value))}"'


def _short(text: str, most: int = 60) -> str:
    """The text, cut where it is long."""
    return text if len(text) <= most else f"{text[:most]}..."
