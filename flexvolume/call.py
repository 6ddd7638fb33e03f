"""One call of the door and its reply: what a kubelet hands over and gets back, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Call:
    """`arguments` are argv without the program. Not in a repr: they may carry secrets."""

    arguments: tuple[str, ...] = field(repr=False)
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is printed; the exit code is always 0. `facts` are for the log and hold no option."""

    stdout: bytes
    facts: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def done(self) -> bool:
        """Whether the kubelet was told of no failure."""
        return "error" not in self.facts
