"""YAML as a tree of texts with their places: what the schema reads, and nothing it must distrust.

Scalars stay the texts they were written as, because YAML 1.1 would make 0403 an octal number, 1e10
a float and `no` a boolean. The tree is built from parser events, without recursion, so that depth,
aliases and size have limits before they cost anything.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import yaml

from daemon.problem import ConfigError, Place, Report, shown

LARGEST = 1 << 20
"""Bytes in a file."""

DEEPEST = 40
"""Lists and mappings inside each other."""

MOST = 50_000
"""Values in a file, counting what aliases repeat."""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_HINTS = {
    "'\\t'": "YAML indents with spaces, never with tabs",
    "could not find expected ':'": "a key is followed by a colon and a blank",
    "mapping values are not allowed": "quote a text that has a colon and a blank in it",
    "did not find expected ',' or '}'": "close the { or put the text in quotes",
    "did not find expected ',' or ']'": "close the [ or put the text in quotes",
    "did not find expected key": "lines of one mapping begin in the same column",
    "did not find expected '-' indicator": "entries of one list begin in the same column",
    "found unexpected end of stream": "a quote is not closed",
    "did not find expected alphabetic": "quote a text that begins with * or &",
    "cannot start any token": "quote a text that begins with @ or a backquote",
    "found undefined tag handle": "quote a text that begins with !",
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text; `plain` when it stands without quotes."""

    place: Place
    text: str
    plain: bool = True

    @property
    def is_null(self) -> bool:
        """Whether nothing is written, or one of YAML's words for nothing."""
        return self.plain and self.text in _NULLS


@dataclass(frozen=True, slots=True)
class Listing:
    """A list."""

    place: Place
    items: "tuple[Element, ...]"


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of a table, and where its key stands."""

    key_place: Place
    value: "Element"


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping with texts as keys, in the order of the file."""

    place: Place
    entries: Mapping[str, Entry]


Element = Scalar | Listing | Table


def read_document(data: bytes, file: str, report: Report) -> Element | None:
    """The tree of one YAML document; None for an empty one.

    What leaves a readable tree (a duplicate key) is noted in `report`; what does not (a syntax
    error) raises ConfigError with everything noted so far.
    """
    text = _decode(data, file, report)
    builder = _Builder(file, report)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.add(event)
    except yaml.MarkedYAMLError as error:
        place = _place_of_error(error, file, text)
        _refuse(report, place, f"this is no YAML: {_cause(error)}", _hint(error))
    except yaml.YAMLError as error:
        _refuse(report, Place(file), f"this is no YAML: {error}")
    return builder.root


def plain(element: Element) -> object:
    """The element as texts, lists, dicts and None."""
    match element:
        case Scalar():
            return None if element.is_null else element.text
        case Listing():
            return [plain(item) for item in element.items]
        case Table():
            return {key: plain(entry.value) for key, entry in element.entries.items()}


def locate(element: Element, path: Iterable[str | int], *, at_key: bool = False) -> Place:
    """The place that a path of keys and positions leads to, or as near as it gets."""
    place = element.place
    for step in path:
        if isinstance(element, Table) and isinstance(step, str) and step in element.entries:
            entry = element.entries[step]
            element = entry.value
            place = entry.key_place if at_key or is_elsewhere(entry) else element.place
        elif isinstance(element, Listing) and isinstance(step, int) and step < len(element.items):
            element = element.items[step]
            place = element.place
        else:
            break
    return place


def is_elsewhere(entry: Entry) -> bool:
    """Whether nothing is written after the key, so that the key is the place to point at."""
    return isinstance(entry.value, Scalar) and entry.value.is_null


def _refuse(report: Report, place: Place, message: str, hint: str = "") -> None:
    report.error(place, message, hint)
    raise ConfigError(report.problems)


def _decode(data: bytes, file: str, report: Report) -> str:
    if len(data) > LARGEST:
        message = f"the file has {len(data)} bytes, {LARGEST} are allowed"
        _refuse(report, Place(file), message, "a directory of several files is read, too")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        place = Place(file, before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
        _refuse(report, place, "the file is not UTF-8", "save it as UTF-8")
        raise
    if odd := _UNPRINTABLE.search(text):
        above = text[: odd.start()]
        place = Place(file, above.count("\n") + 1, len(above) - above.rfind("\n"))
        message = f"the character U+{ord(odd[0]):04X} is not allowed in YAML"
        _refuse(report, place, message, 'write it as an escape in double quotes, as in "\\x07"')
    return text


class _Mark(Protocol):
    """A position as both of PyYAML's parsers give it; it counts from 0."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


def _place_of_error(error: yaml.MarkedYAMLError, file: str, text: str) -> Place:
    """Where the error is; where what began was never closed, where it began."""
    last = len(text.splitlines())
    marks = (error.problem_mark, error.context_mark)
    places = [_place_of(mark, file) for mark in marks if mark is not None]
    inside = [place for place in places if place.line <= last]
    return inside[0] if inside else Place(file, max(1, last))


def _place_of(mark: _Mark | None, file: str) -> Place:
    return Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)


def _cause(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.context, error.problem) if part]
    return ": ".join(parts) or "it cannot be read"


def _hint(error: yaml.MarkedYAMLError) -> str:
    cause = _cause(error)
    return next((hint for sign, hint in _HINTS.items() if sign in cause), "")


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is not yet closed."""

    place: Place
    is_table: bool
    anchor: str | None
    parts: list[Element] = field(default_factory=list[Element])
    weight: int = 1


@dataclass(slots=True)
class _Builder:
    """Makes elements from events; `root` is there after the last one."""

    file: str
    report: Report
    root: Element | None = None
    _documents: int = 0
    _frames: list[_Frame] = field(default_factory=list[_Frame])
    _anchors: dict[str, tuple[Element, int]] = field(default_factory=dict[str, tuple[Element, int]])

    def add(self, event: yaml.Event) -> None:
        """Take in the next event. Raises ConfigError where going on makes no sense."""
        match event:
            case yaml.DocumentStartEvent():
                self._start_document(event)
            case yaml.ScalarEvent():
                self._check_tag(event.tag, event)
                scalar = Scalar(self._place(event), event.value, plain=not event.style)
                self._place_element(scalar, 1, event.anchor)
            case yaml.AliasEvent():
                self._add_alias(event)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._open(event)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._close()
            case _:
                pass

    def _place(self, event: yaml.Event) -> Place:
        return _place_of(event.start_mark, self.file)

    def _start_document(self, event: yaml.Event) -> None:
        self._documents += 1
        if self._documents > 1:
            hint = "remove the line ---; a directory of several files is read, too"
            _refuse(self.report, self._place(event), "a second document begins here", hint)

    def _check_tag(self, tag: str | None, event: yaml.NodeEvent) -> None:
        if tag is not None and tag not in _TEXT_TAGS:
            written = tag.replace("tag:yaml.org,2002:", "!!")
            hint = "remove it; quote a text that begins with !"
            self.report.error(self._place(event), f"the tag {shown(written)} is refused", hint)

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        self._check_tag(event.tag, event)
        place = self._place(event)
        if len(self._frames) >= DEEPEST:
            message = f"lists and mappings are nested more than {DEEPEST} deep"
            _refuse(self.report, place, message, "write it flatter")
        is_table = isinstance(event, yaml.MappingStartEvent)
        self._frames.append(_Frame(place, is_table, event.anchor))

    def _close(self) -> None:
        frame = self._frames.pop()
        table = self._table(frame) if frame.is_table else None
        element = table or Listing(frame.place, tuple(frame.parts))
        self._place_element(element, frame.weight, frame.anchor)

    def _add_alias(self, event: yaml.AliasEvent) -> None:
        place, name = self._place(event), event.anchor or ""
        if any(frame.anchor == name for frame in self._frames):
            _refuse(self.report, place, f"the alias *{name} stands inside what it repeats")
        if name not in self._anchors:
            hint = f"define it before with &{name}, or quote a text that begins with *"
            _refuse(self.report, place, f"there is no anchor for the alias *{name}", hint)
        element, weight = self._anchors[name]
        self._place_element(element, weight, None)

    def _place_element(self, element: Element, weight: int, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = element, weight
        if not self._frames:
            self.root = None if isinstance(element, Scalar) and element.is_null else element
            return
        frame = self._frames[-1]
        frame.parts.append(element)
        frame.weight += weight
        if frame.weight > MOST:
            message = f"the file has more than {MOST} values, counting what aliases repeat"
            _refuse(self.report, frame.place, message, "repeat less")

    def _table(self, frame: _Frame) -> Table:
        entries: dict[str, Entry] = {}
        merged: list[Element] = []
        for key, value in zip(frame.parts[::2], frame.parts[1::2], strict=True):
            if not isinstance(key, Scalar):
                self.report.error(key.place, "a key must be a text", "remove the brackets")
            elif key.plain and key.text == "<<":
                merged.append(value)
            elif key.text in entries:
                first = entries[key.text].key_place.line
                message = f"the key {shown(key.text)} stands twice"
                self.report.error(key.place, message, f"it stands in line {first} already")
            else:
                entries[key.text] = Entry(key.place, value)
        for value in merged:
            self._merge(entries, value)
        return Table(frame.place, entries)

    def _merge(self, entries: dict[str, Entry], value: Element) -> None:
        """Fill in what a merge key (`<<: *anchor`) brings and the mapping has not."""
        sources = value.items if isinstance(value, Listing) else (value,)
        for source in sources:
            if not isinstance(source, Table):
                hint = "write it as in <<: *anchor"
                self.report.error(source.place, "<< takes a mapping or a list of them", hint)
                continue
            for key, entry in source.entries.items():
                entries.setdefault(key, entry)
