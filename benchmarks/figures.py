"""A table of measured figures beside their goals. Knows nothing of what is measured."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: what was measured, what came out, what was wanted.

    `met` is None where there is no goal; `beside` is what it is compared with, in words.
    """

    what: str
    measured: str
    goal: str = ""
    met: bool | None = None
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Times:
    """Durations in milliseconds."""

    ms: Sequence[float]

    @property
    def p50(self) -> float:
        """The median."""
        return statistics.median(self.ms)

    @property
    def p99(self) -> float:
        """The 99th percentile; of fewer than 100 durations it is the longest."""
        ordered = sorted(self.ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]

    def __str__(self) -> str:
        return f"p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms, n={len(self.ms)}"


def below(what: str, times: Times, percentile: str, goal_ms: float, beside: str = "") -> Figure:
    """A figure whose goal is that `percentile` ("p50" or "p99") is at most `goal_ms`."""
    value = times.p50 if percentile == "p50" else times.p99
    goal = f"{percentile} <= {goal_ms:g} ms"
    return Figure(what, str(times), goal, value <= goal_ms, beside)


def render(figures: Iterable[Figure]) -> str:
    """The table as text, one figure a line."""
    verdicts = {True: "met", False: "MISSED", None: ""}
    rows = [("what", "measured", "goal", "", "beside")]
    rows += [(f.what, f.measured, f.goal, verdicts[f.met], f.beside) for f in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)
