"""A YAML document as fields that know their path and line, so that every error can name both.

Reading never stops at the first mistake: a field notes what is wrong in the shared list and
answers with an empty value. What the fields mean is `pod_file`'s business.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import yaml


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake: the line it stands in (from 1), the field's path, and what is wrong with it."""

    line: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.path}: {self.message}"


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a document, or the place where it could stand (`node` None)."""

    path: str
    node: yaml.Node | None
    line: int
    problems: list[Problem] = field(default_factory=list[Problem])

    def __bool__(self) -> bool:
        """Whether a value stands here; an explicit null counts as none, as for the API server."""
        return self.node is not None and self.node.tag != "tag:yaml.org,2002:null"

    def wrong(self, message: str) -> None:
        """Note a mistake at this field."""
        self.problems.append(Problem(self.line, self.path, message))

    def at(self, key: str) -> "Field":
        """The member `key` of a mapping, present or not."""
        for found, member in self.members():
            if found == key:
                return member
        return Field(self._below(key), None, self.line, self.problems)

    def members(self) -> Iterator[tuple[str, "Field"]]:
        """Keys and values of a mapping; notes a value that is no mapping."""
        if not self:
            return
        if not isinstance(self.node, yaml.MappingNode):
            self.wrong(f"must be a mapping, found {self._kind()}")
            return
        for key, value in self.node.value:
            name = str(key.value)
            yield name, Field(self._below(name), value, key.start_mark.line + 1, self.problems)

    def items(self) -> Iterator["Field"]:
        """The elements of a list; notes a value that is none."""
        if not self:
            return
        if not isinstance(self.node, yaml.SequenceNode):
            self.wrong(f"must be a list, found {self._kind()}")
            return
        for index, value in enumerate(self.node.value):
            line = value.start_mark.line + 1
            yield Field(f"{self.path}[{index}]", value, line, self.problems)

    def only(self, known: Collection[str], ignored: Collection[str] = ()) -> None:
        """Note every member that is neither understood nor harmless to leave out."""
        for name, member in self.members():
            if name not in known and name not in ignored:
                member.wrong(
                    "the sandbox does not support this field; it understands "
                    + ", ".join(sorted(known))
                )

    def text(self, default: str = "") -> str:
        """A string; notes any other kind, as the API server's decoder would."""
        if not self:
            return default
        if not isinstance(self.node, yaml.ScalarNode) or not self.node.tag.endswith(":str"):
            self.wrong(f"must be a string, found {self._kind()}; put it in quotes")
            return default
        return str(self.node.value)

    def scalar(self) -> str:
        """A string or a number, as it is written (quantities may be either)."""
        if isinstance(self.node, yaml.ScalarNode):
            return str(self.node.value)
        self.wrong(f"must be a number or a string, found {self._kind()}")
        return ""

    def integer(self) -> int | None:
        """A whole number, None where nothing stands or a mistake was noted."""
        if not self:
            return None
        if isinstance(self.node, yaml.ScalarNode) and self.node.tag.endswith(":int"):
            return int(self.node.value, 0)
        self.wrong(f"must be a whole number, found {self._kind()}")
        return None

    def flag(self, *, default: bool = False) -> bool:
        """`true` or `false`."""
        if not self:
            return default
        if isinstance(self.node, yaml.ScalarNode) and self.node.tag.endswith(":bool"):
            return bool(self.node.value.lower() in {"true", "yes", "on"})
        self.wrong(f"must be true or false, found {self._kind()}")
        return default

    def texts(self) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(item.text() for item in self.items())

    def mapping_of_texts(self) -> dict[str, str]:
        """A mapping of strings to strings."""
        return {key: member.text() for key, member in self.members()}

    def choice(self, allowed: Collection[str], default: str) -> str:
        """One of `allowed`, with the API server's words for anything else."""
        found = self.text(default)
        if found not in allowed:
            names = ", ".join(f'"{name}"' for name in sorted(allowed))
            self.wrong(f'Unsupported value: "{found}": supported values: {names}')
            return default
        return found

    def _below(self, key: str) -> str:
        if "/" in key:
            return f"{self.path}[{key}]"
        return f"{self.path}.{key}" if self.path else key

    def _kind(self) -> str:
        if isinstance(self.node, yaml.ScalarNode):
            return f"{self.node.tag.rpartition(':')[2]} {self.node.value!r}"
        return "a list" if isinstance(self.node, yaml.SequenceNode) else "a mapping"


def documents(text: str) -> Iterator[Field]:
    """The documents of a YAML text; raises yaml.YAMLError where it is none."""
    for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
        yield Field("", node, node.start_mark.line + 1)
