"""`resources:` of a container, judged by the API server's rules and in its words.

Source: kubernetes pkg/apis/core/validation ValidateResourceRequirements. Extended resources
cannot be overcommitted: whole numbers, a limit for every request, and both equal.
"""

import re
from collections.abc import Mapping
from fractions import Fraction

from ringbolt.sandbox.fields import Field
from ringbolt.sandbox.quantity import QuantityError, parse_quantity

_NATIVE = re.compile(r"cpu|memory|ephemeral-storage|hugepages-.+")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PREFIX_MAX, _NAME_MAX = 253, 63
_REQUESTS = "requests."


def is_extended(name: str) -> bool:
    """Whether the name is an extended resource's (core/v1/helper IsExtendedResourceName)."""
    if "/" not in name or "kubernetes.io/" in name:
        return False
    return not name.startswith(_REQUESTS) and _is_qualified(_REQUESTS + name)


def read_requirements(resources: Field) -> dict[str, int]:
    """The extended resources that a container asks for; notes everything the API server refuses."""
    resources.only({"limits", "requests"})
    limits, requests = resources.at("limits"), resources.at("requests")
    wanted = _quantities(limits)
    for name, asked in _quantities(requests).items():
        limit = wanted.get(name)
        if limit is None:
            if is_extended(name):
                limits.wrong("Required value: Limit must be set for non overcommitable resources")
        elif _exceeds(name, asked, limit):
            rule = "equal to" if is_extended(name) else "less than or equal to"
            written = limits.at(name).scalar()
            requests.wrong(
                f'Invalid value: "{requests.at(name).scalar()}": '
                f"must be {rule} {name} limit of {written}"
            )
    return {name: int(value) for name, value in wanted.items() if is_extended(name) and value > 0}


def _exceeds(name: str, asked: Fraction, limit: Fraction) -> bool:
    return asked != limit if is_extended(name) else asked > limit


def _quantities(field: Field) -> Mapping[str, Fraction]:
    found: dict[str, Fraction] = {}
    for name, member in field.members():
        written = member.scalar()
        try:
            value = parse_quantity(written)
        except QuantityError as error:
            member.wrong(f'Invalid value: "{written}": {error}')
            continue
        if mistake := _refusal(name, value):
            subject = name if "/" not in name else written
            member.wrong(f'Invalid value: "{subject}": {mistake}')
        else:
            found[name] = value
    return found


def _refusal(name: str, value: Fraction) -> str:
    """What the API server has against this amount of this resource; "" where nothing."""
    if not _NATIVE.fullmatch(name) and not is_extended(name):
        if "/" not in name:
            return "must be a standard resource type or fully qualified"
        return "must be a standard resource for containers, or a valid extended resource name"
    if value < 0:
        return "must be greater than or equal to 0"
    if is_extended(name) and value.denominator != 1:
        return "must be an integer"
    return ""


def _is_qualified(name: str) -> bool:
    prefix, _, own = name.partition("/")
    return bool(
        len(prefix) <= _PREFIX_MAX
        and _PREFIX.fullmatch(prefix)
        and len(own) <= _NAME_MAX
        and _NAME.fullmatch(own)
    )
