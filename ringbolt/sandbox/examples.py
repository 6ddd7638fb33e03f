"""Finds the examples: in the source tree, else where an installation has put them."""

import sys
from pathlib import Path

_SOURCE = Path(__file__).parents[2] / "examples"
_INSTALLED = Path(sys.prefix, "share", "ringbolt", "examples")


def example(name: str) -> Path:
    """The path of an example. Raises FileNotFoundError saying where it was looked for."""
    for place in (_SOURCE / name, _INSTALLED / name):
        if place.exists():
            return place
    raise FileNotFoundError(2, f"there is no example {name}", f"{_SOURCE} and {_INSTALLED}")
