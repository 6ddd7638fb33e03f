"""Finds the examples: beside the package where it is installed, else in the source tree."""

from pathlib import Path

_HERE = Path(__file__).parent


def example(name: str) -> Path:
    """The path of an example. Raises FileNotFoundError saying where it was looked for."""
    places = (_HERE / "examples" / name, _HERE.parents[1] / "examples" / name)
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(2, "no such example; looked for it as", " and ".join(map(str, places)))
