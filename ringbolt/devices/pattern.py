"""Patterns of the selector language: exact, glob, /regex/ and numeric comparison of one value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed pattern; `text` is what the configuration says."""

    text: str
