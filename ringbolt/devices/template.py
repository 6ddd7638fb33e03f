"""Templates of the configuration: `/dev/gps{index}`, `{properties[ID_SERIAL_SHORT]}`.

Text in, text out. Deliberately not `str.format`, which reaches attributes of what it is given: here
a variable is a name from a fixed set; what the variables are worth is the business of `injection`.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Lookup(Protocol):
    """What a subscripted variable is worth: a mapping of strings, or what reads like one."""

    def get(self, key: str, default: str, /) -> str:
        """The value under `key`, else `default`."""
        ...


Values = Mapping[str, str | Lookup]
"""What variables are worth."""

SUBSCRIPTED = frozenset({"properties", "attributes"})
"""Variables that are used as `{name[key]}` and never as `{name}`."""

NODE_VARIABLES = frozenset(
    {"index", "member", "name", "kernel", "subsystem", "id", "resource", "serial"} | SUBSCRIPTED
)
"""Known before it is settled where a node appears in the container: for `container.path`.

`index` is the device's position in the request, from 0; `member` the node's stable name within its
device; `name` the node's path below /dev (`snd/controlC0`); `kernel` the kernel's name of it
(`controlC0`); `id` the device's id; `resource` the part of the resource's name after the slash.
"""

VARIABLES = NODE_VARIABLES | {"container_path", "host_path"}
"""For `env`, `annotations` and `mounts`: the first node's paths and names beside the device's.

`container_path` is where the first node appears in the container; `host_path` its stable link.
"""

_TOKEN = re.compile(r"\{\{|\}\}|\{(?P<inside>[^{}]*)\}|(?P<stray>[{}])|[^{}]+")
_SUBSCRIPT = re.compile(r"(?P<head>[^\[\]]+)\[(?P<key>[^\[\]]+)\]")


class TemplateError(ValueError):
    """The text is no template; the message says where and what to write instead."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One `{name}` or `{name[key]}`; `key` is empty without a subscript."""

    name: str
    key: str = ""

    def render(self, values: Values) -> str:
        """The value; the empty string where the device has none."""
        value = values.get(self.name, "")
        if isinstance(value, str):
            return value
        return value.get(self.key, "")


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: literal texts and variables in order."""

    text: str
    parts: tuple[str | Variable, ...]

    @property
    def variables(self) -> frozenset[str]:
        """The names in use, without their subscripts."""
        return frozenset(part.name for part in self.parts if isinstance(part, Variable))

    def render(self, values: Values) -> str:
        """The text with every variable replaced; what `values` lacks becomes the empty string."""
        return "".join(
            part if isinstance(part, str) else part.render(values) for part in self.parts
        )


def parse(text: str, allowed: frozenset[str] = VARIABLES) -> Template:
    """Parse `text`, in which only the variables of `allowed` may be used.

    `{{` and `}}` stand for the braces themselves. Raises TemplateError.
    """
    return Template(text, tuple(_part(match, text, allowed) for match in _TOKEN.finditer(text)))


def _part(match: re.Match[str], text: str, allowed: frozenset[str]) -> str | Variable:
    if match["stray"]:
        brace = match["stray"]
        raise TemplateError(
            f"unbalanced {brace!r} at character {match.start() + 1} of {text!r}; "
            f"write {brace * 2!r} for the character itself"
        )
    if match["inside"] is not None:
        return _variable(match["inside"], text, allowed)
    return match[0][0] if match[0] in {"{{", "}}"} else match[0]


def _variable(inside: str, text: str, allowed: frozenset[str]) -> Variable:
    subscript = _SUBSCRIPT.fullmatch(inside)
    name = subscript["head"] if subscript else inside
    if name not in allowed:
        raise TemplateError(f"unknown variable {{{inside}}} in {text!r}; {_suggest(name, allowed)}")
    if subscript and name not in SUBSCRIPTED:
        raise TemplateError(f"{{{name}}} in {text!r} takes no subscript; write {{{name}}}")
    if not subscript and name in SUBSCRIPTED:
        raise TemplateError(f"{{{name}}} in {text!r} needs a key; write {{{name}[KEY]}}")
    return Variable(name, subscript["key"] if subscript else "")


def _suggest(name: str, allowed: frozenset[str]) -> str:
    close = difflib.get_close_matches(name.partition("[")[0], sorted(allowed), n=1)
    if close:
        return f"did you mean {_spelled(close[0])}?"
    return "known are " + " ".join(_spelled(known) for known in sorted(allowed))


def _spelled(name: str) -> str:
    return f"{{{name}[KEY]}}" if name in SUBSCRIPTED else f"{{{name}}}"
