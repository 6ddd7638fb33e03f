"""Patterns of the selector language: exact, glob, /regex/ and numeric comparison of one value.

Patterns judge text. Where the text comes from (a property, an attribute, a USB id) is the business
of `clauses`, and nothing that looks at the machine enters here.
"""

import enum
import fnmatch
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

LONGEST = 500
"""Characters in a pattern. It bounds what a careless expression can cost on one value."""

_GLOB = re.compile(r"[*?\[]")
_HEX = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,16})")
_MASKED = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,6})/(?:0[xX])?([0-9a-fA-F]{1,6})")
_LOOKS_LIKE_REGEX = re.compile(r"[\\^$()|+{]|\.\*")
_PATH_SYMBOL = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]/]*\]|.", re.DOTALL)
_STARS = {"**/": "(?:.*?/)??", "**": ".*?", "*": "[^/]*?"}
_MOST_DOUBLE_STARS = 3
_CLASS_BITS = 24


class PatternError(ValueError):
    """The text is no pattern; the message says why and, where it can, what to write."""


class Reading(enum.Enum):
    """What kind of value a pattern is compared with."""

    TEXT = "text"
    """`*`, `?` and `[...]` as in fnmatch, upper and lower case differ."""
    PATH = "path"
    """As TEXT, but `*` and `?` stop at a slash and `**` does not."""
    HEX = "hex"
    """Ids: 0x0403, 0403 and 403 are one number, always read as hexadecimal."""
    CLASS = "class"
    """PCI classes: 03, 0300 and 030000 are prefixes of 0x030000; `value/mask` works too."""
    NAME = "name"
    """Strings of a device, raw or as udev writes them (a blank becomes an underscore)."""


class Kind(enum.Enum):
    """How a pattern compares."""

    EXACT = "exact"
    GLOB = "glob"
    REGEX = "regex"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed pattern; `text` is what the configuration says. Made by `parse_pattern`.

    Two patterns are equal when they say the same, so that a reloaded configuration compares.
    """

    text: str
    reading: Reading = Reading.TEXT
    kind: Kind = Kind.EXACT
    _regex: "re.Pattern[str] | None" = field(default=None, compare=False, repr=False)
    _number: "tuple[int, int] | None" = field(default=None, compare=False, repr=False)

    def matches(self, value: str) -> bool:
        """Whether the value is one that the pattern means. Never raises."""
        if self._regex is not None and self.reading in _AS_WRITTEN:
            return self._regex.search(value) is not None
        if self._matches_raw(value):
            return True
        if self.reading is not Reading.NAME:
            return False
        plain = udev_name(value)
        if self.kind is Kind.EXACT:
            return udev_name(self.text) == plain
        return self._matches_raw(plain)

    def _matches_raw(self, value: str) -> bool:
        if self._regex is not None:
            return self._regex.search(_bare(value) if self._is_id else value) is not None
        if self._number is not None and (number := parse_hex(value)) is not None:
            wanted, mask = self._number
            return number & mask == wanted if mask else number == wanted
        return value == self.text

    @property
    def is_plain(self) -> bool:
        """Whether it matches its own text and nothing else."""
        return self.kind is Kind.EXACT and self.reading in _AS_WRITTEN

    @property
    def _is_id(self) -> bool:
        return self.reading in {Reading.HEX, Reading.CLASS}


_AS_WRITTEN = (Reading.TEXT, Reading.PATH)


@dataclass(frozen=True, slots=True)
class Choice:
    """Several patterns of which any may match, arranged so that the usual case is one look-up."""

    patterns: tuple[Pattern, ...]
    _texts: frozenset[str] = field(init=False, compare=False, repr=False)
    _others: tuple[Pattern, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        texts = {one.text for one in self.patterns if one.kind is Kind.EXACT}
        others = tuple(one for one in self.patterns if not one.is_plain)
        object.__setattr__(self, "_texts", frozenset(texts))
        object.__setattr__(self, "_others", others)

    def __str__(self) -> str:
        return " or ".join(pattern.text or "(none)" for pattern in self.patterns)

    def accepts(self, value: str | None) -> bool:
        """Whether any pattern matches; having no value is what the empty pattern means."""
        if (value or "") in self._texts:
            return True
        if value:
            for pattern in self._others:
                if pattern.matches(value):
                    return True
        return False

    def accepts_any(self, values: Iterable[str | None]) -> bool:
        """Whether any pattern matches any of the values, or there is none and none is wanted."""
        there = [value for value in values if value]
        if not there:
            return "" in self._texts
        return any(self.accepts(value) for value in there)


def parse_pattern(text: str, reading: Reading = Reading.TEXT) -> Pattern:
    """The pattern that `text` says, compiled once.

    `/.../` is a regular expression that may match anywhere in the value: anchor it with ^ and $ to
    mean all of it. A text with `*`, `?` or `[` is a glob for the whole value, any other is exact.
    Raises PatternError.
    """
    if len(text) > LONGEST:
        raise PatternError(f"the pattern has {len(text)} characters, {LONGEST} are allowed")
    if _is_regex(text, reading):
        return Pattern(text, reading, Kind.REGEX, _compile(text[1:-1], reading))
    if reading is Reading.PATH:
        return _parse_path(text)
    if reading is Reading.CLASS and (number := _parse_class(text)) is not None:
        return Pattern(text, reading, _number=number)
    if _GLOB.search(text):
        glob = _bare(text) if reading in {Reading.HEX, Reading.CLASS} else text
        regex = re.compile(rf"\A{fnmatch.translate(glob)}")
        return Pattern(text, reading, Kind.GLOB, regex)
    if reading is Reading.HEX and (id_ := parse_hex(text)) is not None:
        return Pattern(text, reading, _number=(id_, 0))
    return Pattern(text, reading)


def parse_hex(text: str) -> int | None:
    """The number that a hexadecimal id says, with or without 0x; None where it is none."""
    found = _HEX.fullmatch(text)
    return int(found[1], 16) if found else None


def udev_name(text: str) -> str:
    """The text as udev writes it into properties: runs of blanks and odd characters become `_`.

    Source: systemd src/shared/udev-util.c, udev_replace_whitespace and udev_replace_chars.
    """
    plain = re.sub(r"\s+", "_", text.strip())
    return re.sub(r"[^0-9A-Za-z#+\-.:=@_\u0080-\U0010ffff]", "_", plain)


def _is_regex(text: str, reading: Reading) -> bool:
    """Whether slashes enclose a regular expression; `/dev/snd/` is a path, though."""
    if len(text) <= len("//") or not (text.startswith("/") and text.endswith("/")):
        return False
    return reading is not Reading.PATH or _LOOKS_LIKE_REGEX.search(text) is not None


def _compile(expression: str, reading: Reading) -> "re.Pattern[str]":
    flags = re.IGNORECASE if reading in {Reading.HEX, Reading.CLASS} else 0
    try:
        return re.compile(expression, flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternError(f"/{expression}/ is no regular expression: {error}") from None


def _parse_path(text: str) -> Pattern:
    if not text.startswith("/"):
        raise PatternError("a path begins with a slash, as in /dev/ttyUSB*")
    path = text.rstrip("/") or "/"
    if ".." in path.split("/"):
        raise PatternError("a path must not climb with '..'")
    if not _GLOB.search(path):
        return Pattern(path, Reading.PATH)
    if path.count("**") > _MOST_DOUBLE_STARS:
        raise PatternError(f"'**' may stand at most {_MOST_DOUBLE_STARS} times in a path")
    return Pattern(path, Reading.PATH, Kind.GLOB, re.compile(_translate(path), re.DOTALL))


def _translate(glob: str) -> str:
    """A path glob as a regular expression for the whole path.

    As fnmatch does, a star takes the first place where what follows it fits and never goes back:
    stars cost time in proportion to the path. `**` may go back, so there are few of them.
    """
    symbols: list[str] = _PATH_SYMBOL.findall(glob)
    stars = [at for at, symbol in enumerate(symbols) if symbol in _STARS]
    first = stars[0] if stars else len(symbols)
    pieces = ["".join(map(_fixed, symbols[:first]))]
    for start, end in itertools.pairwise([*stars, len(symbols)]):
        piece = _STARS[symbols[start]] + "".join(map(_fixed, symbols[start + 1 : end]))
        settled = symbols[start] == "*" and end < len(symbols)
        pieces.append(f"(?>{piece})" if settled else piece)
    return r"\A" + "".join(pieces) + r"\Z"


def _fixed(symbol: str) -> str:
    """A symbol that stands for a text of fixed length."""
    if symbol == "?":
        return "[^/]"
    if len(symbol) > 1:
        # fnmatch knows every oddity of character classes: its translation is "(?s:[...])\Z".
        return "(?!/)" + re.sub(r"\\[Zz]\Z", "", fnmatch.translate(symbol))
    return re.escape(symbol)


def _parse_class(text: str) -> "tuple[int, int] | None":
    """(wanted, mask) of a PCI class, of a prefix of one, or of value/mask."""
    if masked := _MASKED.fullmatch(text):
        mask = int(masked[2], 16)
        return int(masked[1], 16) & mask, mask
    digits = _bare(text)
    if parse_hex(text) is None or len(digits) > _CLASS_BITS // 4:
        return None
    even = digits.zfill(len(digits) + len(digits) % 2)
    free = _CLASS_BITS - 4 * len(even)
    return int(even, 16) << free, (1 << _CLASS_BITS) - (1 << free)


def _bare(text: str) -> str:
    """A hexadecimal id in lower case and without 0x."""
    return text.lower().removeprefix("0x")
