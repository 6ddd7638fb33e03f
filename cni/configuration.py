"""Stdin: a network configuration, as far as every command reads it."""

import json
from dataclasses import dataclass
from typing import Any, cast

from cni.codes import CniError, Code
from cni.environment import is_name
from cni.fields import Fields, Object

_OF_A_CALL = frozenset(
    {"args", "prevresult", "runtimeconfig", "cni.dev/attachments", "cni.dev/valid-attachments"}
)
"""Keys in lower case."""
_KNOWN = 64
_SHORT = 1 << 14
"""Bytes of a text that is worth keeping."""
_known: dict[bytes, Fields] = {}


@dataclass(frozen=True, slots=True)
class Configuration:
    """`version` is what the runtime speaks. `fields` hold the rest, `stdin` all, for delegates."""

    name: str
    version: str
    fields: Fields
    stdin: bytes


def parse_named(stdin: bytes) -> Fields:
    """What a runtime wrote to stdin, with a name. Raises CniError with the skeleton's codes.

    A text that holds nothing of one call is the same for the next pod's, and read only once.
    """
    if known := _known.get(stdin):
        return known
    fields = _parse_named(stdin)
    if len(stdin) <= _SHORT and not fields.has_any(_OF_A_CALL):
        if len(_known) >= _KNOWN:
            _known.clear()
        _known[stdin] = fields
    return fields


def is_of_all_pods(configuration: Configuration) -> bool:
    """Whether the configuration holds nothing of one call, and is known by its text."""
    return _known.get(configuration.stdin) is configuration.fields


def _parse_named(stdin: bytes) -> Fields:
    wire = _decoded(stdin)
    if wire is None:  # as Go's decoder has it
        wire = {}
    if not isinstance(wire, dict):
        raise _undecodable(f"a {type(wire).__name__} is no object")
    fields = Fields(cast("Object", wire))
    name = fields.raw("name")
    if name is not None and not isinstance(name, str):
        raise _undecodable("name is no text")
    if not name:
        raise CniError(Code.INVALID_CONFIG, "missing network name")
    if not is_name(name):
        message = "invalid characters found in network name"
        raise CniError(Code.INVALID_CONFIG, message, name)
    return fields


def read_configuration(fields: Fields, stdin: bytes) -> Configuration:
    """The configuration with its version; a missing one is 0.1.0. Raises CniError."""
    version = fields.raw("cniVersion")
    if version is not None and not isinstance(version, str):
        message = "decoding version from network config: cniVersion is no text"
        raise CniError(Code.DECODING_FAILURE, message)
    return Configuration(fields.text("name"), version or "0.1.0", fields, stdin)


def find_version(stdin: bytes) -> str | None:
    """The version that errors are told in, where it can be read."""
    try:
        wire = _decoded(stdin)
    except CniError:
        return None
    version = Fields(cast("Object", wire)).raw("cniVersion") if isinstance(wire, dict) else None
    return version if isinstance(version, str) else None


def _decoded(stdin: bytes) -> Any:
    try:
        return json.loads(stdin.decode(errors="replace"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _undecodable(str(error)) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _undecodable(reason: str) -> CniError:
    return CniError(Code.DECODING_FAILURE, f"error unmarshall network config: {reason}")
