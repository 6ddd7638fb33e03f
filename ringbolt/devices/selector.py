"""The selector language: which nodes a resource takes, and why not."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """One entry of `select:`."""
