"""Kubernetes quantities (`500m`, `64Mi`, `1e3`) as exact numbers, whatever they measure."""

import re
from fractions import Fraction

_SYNTAX = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([eE][+-]?\d{1,3})|([numkMGTPE]i?|Ki))?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


class QuantityError(ValueError):
    """The text is no quantity; the message is the API server's."""


def parse_quantity(text: str) -> Fraction:
    """The exact value of a quantity as resource.Quantity reads it.

    Raises QuantityError.
    """
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise QuantityError(
            "quantities must match the regular expression "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    number, exponent, suffix = Fraction(match[1]), match[2], match[3] or ""
    if exponent:
        return number * _power(10, int(exponent[1:]))
    if suffix in _BINARY:
        return number * _power(2, _BINARY[suffix])
    if suffix not in _DECIMAL:
        raise QuantityError(f"unable to parse quantity's suffix {suffix!r}")
    return number * _power(10, _DECIMAL[suffix])


def _power(base: int, exponent: int) -> Fraction:
    return Fraction(base**exponent) if exponent >= 0 else Fraction(1, base**-exponent)
