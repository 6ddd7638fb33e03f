"""Versions of the contract: which are served, how they compare."""

import re
from functools import lru_cache

from cni.codes import CniError, Code

SUPPORTED = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST = SUPPORTED[-1]
Parts = tuple[int, int, int]

_PART_NAMES = ("major", "minor", "micro")
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


@lru_cache(64)
def parse_version(text: str) -> Parts:
    """`1.1.0`, `1.1` or `1`; empty is 0.1.0. Raises CniError (decoding failure)."""
    if not text:
        return (0, 1, 0)
    words = text.split(".")
    if len(words) > len(_PART_NAMES):
        raise CniError(Code.DECODING_FAILURE, f'invalid version "{text}": too many parts')
    numbers = [0, 0, 0]
    for index, word in enumerate(words):
        if not _NUMBER.fullmatch(word):
            message = f'failed to convert {_PART_NAMES[index]} version part "{word}": not a number'
            raise CniError(Code.DECODING_FAILURE, message)
        numbers[index] = int(word)
    return (numbers[0], numbers[1], numbers[2])


def is_at_least(version: str, least: str) -> bool:
    """Whether `version` is `least` or newer."""
    return parse_version(version) >= parse_version(least)


def check_supported(version: str) -> None:
    """Raise CniError unless this very version is served."""
    if version in SUPPORTED:
        return
    listed = " ".join(f'"{one}"' for one in SUPPORTED)
    details = f'config is "{version}", plugin supports [{listed}]'
    raise CniError(Code.INCOMPATIBLE_VERSION, "incompatible CNI versions", details)
