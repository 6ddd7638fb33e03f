"""What is wrong with a configuration, and where: what every reader of it reports with."""

import enum
from dataclasses import dataclass, field, replace

MOST = 1000
"""Problems that are listed; beyond them a file is wrong as a whole."""

SHOWN = 60
"""Characters of a configured value that a message may repeat: a value may be a secret."""


class Severity(enum.Enum):
    """An ERROR refuses the configuration, a WARNING says what will happen."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a file; lines and columns count from 1."""

    file: str
    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, what, and what to do about it (`hint`, maybe empty)."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        text = f"{where}: {self.severity.value}: {self.message}"
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class ConfigError(ValueError):
    """The configuration is refused; `problems` are all of its errors and warnings, in order."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class ScalarError(ValueError):
    """A text is not the value that was wanted; says why and what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(slots=True)
class Report:
    """Collects problems while a configuration is read."""

    _problems: dict[Problem, None] = field(default_factory=dict[Problem, None])
    _unnoted: int = 0

    def error(self, place: Place, message: str, hint: str = "") -> None:
        """Note what refuses the configuration."""
        self._note(place, message, hint, Severity.ERROR)

    def warning(self, place: Place, message: str, hint: str = "") -> None:
        """Note what the reader of the configuration should know."""
        self._note(place, message, hint, Severity.WARNING)

    def _note(self, place: Place, message: str, hint: str, severity: Severity) -> None:
        problem = Problem(place.file, place.line, place.column, message, hint, severity)
        if len(self._problems) < MOST or problem in self._problems:
            self._problems[problem] = None
        else:
            self._unnoted += 1

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything noted, in the order of the files' lines."""
        found = sorted(
            self._problems, key=lambda one: (one.file, one.line, one.column, one.message)
        )
        if self._unnoted:
            message = f"{self._unnoted} more problems are not listed"
            found.append(replace(found[-1], message=message, hint="mend those above first"))
        return tuple(found)

    def refuse_if_wrong(self) -> None:
        """Raise ConfigError if there is any error."""
        if self._unnoted or any(one.severity is Severity.ERROR for one in self._problems):
            raise ConfigError(self.problems)


def shown(text: str) -> str:
    """A configured text in quotes, cut where it is long, with control characters spelled out."""
    cut = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    spelled = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in cut
    )
    return f'"{spelled}"'
