"""Which names are extended resources. Pure.

Source: kubernetes pkg/apis/core/v1/helper, IsExtendedResourceName; apimachinery IsQualifiedName.
"""

import re

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_PREFIX = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_PREFIX_LIMIT = 253
_NAME_LIMIT = 63
_QUOTA_PREFIX = "requests."


def is_extended_resource_name(name: str) -> bool:
    """Has a domain that is not kubernetes.io, and is still valid behind "requests."."""
    if "/" not in name or "kubernetes.io/" in name or name.startswith(_QUOTA_PREFIX):
        return False
    parts = (_QUOTA_PREFIX + name).split("/")
    if len(parts) != 2:  # noqa: PLR2004  prefix and name
        return False
    prefix, name = parts
    return (
        len(prefix) <= _PREFIX_LIMIT
        and _PREFIX.fullmatch(prefix) is not None
        and len(name) <= _NAME_LIMIT
        and _NAME.fullmatch(name) is not None
    )
