"""Reading one mapping of a configuration field by field, noting everything that is wrong.

A reader asks for every key that may stand there; what nobody asked for is unknown. Values that are
wrong are noted and replaced by the default, so that one pass finds every error.
"""

from collections.abc import Callable
from typing import TypeVar

from daemon.document import Element, Listing, Scalar, Table, is_elsewhere
from daemon.problem import Place, Report, ScalarError, shown
from ringbolt.devices.grammar import suggestion

T = TypeVar("T")

Parse = Callable[[str], T]
"""Makes a value of a text; raises ScalarError."""


class Fields:
    """One mapping being read; `what` names it in messages (`container`)."""

    def __init__(self, table: Table, report: Report, what: str) -> None:
        self.table = table
        self.report = report
        self.what = what
        self._asked: set[str] = set()

    def take(self, key: str) -> Element | None:
        """The value of the key; None, noted where something else was meant, if it has none."""
        self._asked.add(key)
        entry = self.table.entries.get(key)
        if entry is None:
            return None
        if is_elsewhere(entry):
            self.report.error(entry.key_place, f"{key} has no value", "give it one or leave it out")
            return None
        return entry.value

    def has(self, key: str) -> bool:
        """Whether the key stands there, with whatever value."""
        return key in self.table.entries

    def place(self, key: str) -> Place:
        """Where the key stands, else the mapping."""
        entry = self.table.entries.get(key)
        return entry.key_place if entry else self.table.place

    def require(self, *keys: str) -> None:
        """Note those of the keys that are missing."""
        for key in keys:
            if not self.has(key):
                self.report.error(self.table.place, f"{self.what} has no {key}", f"add {key}:")

    def scalar(self, key: str, parse: Parse[T], default: T) -> T:
        """One text, parsed."""
        element = self.take(key)
        if element is None:
            return default
        found = read_scalar(element, parse, self.report, key)
        return default if found is None else found

    def scalars(self, key: str, parse: Parse[T]) -> tuple[T, ...]:
        """A list of texts, or a single one, parsed."""
        element = self.take(key)
        if element is None:
            return ()
        items = element.items if isinstance(element, Listing) else (element,)
        if not items:
            self.report.error(element.place, f"{key} is empty", "give it an entry or leave it out")
        found = [read_scalar(item, parse, self.report, f"an entry of {key}") for item in items]
        return tuple(value for value in found if value is not None)

    def pairs(self, key: str, parse_key: Parse[str], parse: Parse[T]) -> dict[str, T]:
        """A mapping of texts to texts, both parsed."""
        element = self.take(key)
        table = self._table(element, key)
        if table is None:
            return {}
        found: dict[str, T] = {}
        for name, entry in table.entries.items():
            read_scalar(Scalar(entry.key_place, name, plain=False), parse_key, self.report, key)
            if is_elsewhere(entry):
                hint = 'give it one, or write ""'
                self.report.error(entry.key_place, f"{shown(name)} has no value", hint)
                continue
            value = read_scalar(entry.value, parse, self.report, shown(name))
            if value is not None:
                found[name] = value
        return found

    def section(self, key: str, read: "Callable[[Fields], T]", default: T) -> T:
        """A mapping, read by `read`."""
        table = self._table(self.take(key), key)
        return default if table is None else read_table(table, read, self.report, key)

    def sections(self, key: str, read: "Callable[[Fields], T]") -> tuple[T, ...]:
        """A list of mappings, each read by `read`."""
        element = self.take(key)
        if element is None:
            return ()
        if not isinstance(element, Listing):
            hint = "begin each entry with a dash"
            self.report.error(element.place, f"{key} is a list, not {kind_of(element)}", hint)
            return ()
        tables = [self._table(item, f"an entry of {key}") for item in element.items]
        return tuple(
            read_table(table, read, self.report, f"an entry of {key}")
            for table in tables
            if table is not None
        )

    def finish(self) -> None:
        """Note every key that nobody asked for."""
        for key, entry in self.table.entries.items():
            if key not in self._asked:
                hint = suggestion(key, self._asked)
                message = f"unknown key {shown(key)} in {self.what}"
                self.report.error(entry.key_place, message, hint)

    def _table(self, element: Element | None, what: str) -> Table | None:
        if element is None or isinstance(element, Table):
            return element
        message = f"{what} is a mapping, not {kind_of(element)}"
        self.report.error(element.place, message, "write it as in key: value")
        return None


def read_table(table: Table, read: Callable[[Fields], T], report: Report, what: str) -> T:
    """What `read` makes of the mapping; notes the keys that it does not know."""
    fields = Fields(table, report, what)
    value = read(fields)
    fields.finish()
    return value


def read_scalar(element: Element, parse: Parse[T], report: Report, what: str) -> T | None:
    """What `parse` makes of the text; None, noted, where it is no text or a wrong one."""
    if not isinstance(element, Scalar):
        report.error(element.place, f"{what} is a single value, not {kind_of(element)}")
        return None
    try:
        return parse(element.text)
    except ScalarError as error:
        report.error(element.place, str(error), error.hint)
        return None


def kind_of(element: Element) -> str:
    """What an element is, in words."""
    if isinstance(element, Scalar):
        return "nothing" if element.is_null else f"the text {shown(element.text)}"
    return "a list" if isinstance(element, Listing) else "a mapping"
