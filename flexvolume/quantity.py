"""Sizes as Kubernetes writes them, exact: `10Gi`, `1.5G`, `1e9`, `4096`. Pure."""

import math
import re

from ringbolt.volumes.errors import InvalidError

_SYNTAX = re.compile(
    r"([0-9]{1,18})(?:\.([0-9]{1,18}))?(?:[eE]([0-9]{1,2})|([kMGTPE]|[KMGTPE]i))?", re.ASCII
)
_POWERS = " kMGTPE"


def parse_bytes(text: str) -> int:
    """A quantity as a whole number of bytes, rounded up as Kubernetes does. Raises InvalidError."""
    found = _SYNTAX.fullmatch(text)
    if found is None:
        raise InvalidError(f"{text[:40]!r} is no size: write it as in 512Mi, 10Gi or 4096")
    whole, fraction, exponent, unit = found[1], found[2] or "", found[3], found[4] or ""
    factor = math.prod([10] * int(exponent)) if exponent else _factor(unit)
    scale = math.prod([10] * len(fraction))
    return -(-int(whole + fraction) * factor // scale)


def _factor(unit: str) -> int:
    if not unit:
        return 1
    base = 1024 if unit.endswith("i") else 1000
    return math.prod([base] * _POWERS.index(unit[0].replace("K", "k")))
