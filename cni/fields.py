"""Reading JSON objects key by key, with keys matched whatever their case.

The contract's own runtimes disagree on case (`hostPort`, `HostPort`), because Go's decoder does not
mind it. Nobody is asked about keys that nobody reads: unknown keys are never an error.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from cni.codes import CniError, Code

Object = Mapping[str, Any]
"""JSON as the standard library has it: values are Any until read by their kind."""

_SHOWN = 80


class Fields:
    """One JSON object; `path` names it in messages. Wrong kinds raise CniError (invalid config)."""

    def __init__(self, wire: Object, path: str = "") -> None:
        self.wire = wire
        self._path = path
        self._folded: dict[str, str] | None = None

    def raw(self, key: str) -> Any:
        """What stands there, None if nothing does: the same key first, then one of another case."""
        if key in self.wire or not self.wire:
            return self.wire.get(key)
        found = self._of_another_case(key)
        return None if found is None else self.wire[found]

    def has(self, key: str) -> bool:
        """Whether the key is there, even with null."""
        return key in self.wire or self._of_another_case(key) is not None

    def has_any(self, keys: frozenset[str]) -> bool:
        """Whether one of the keys, given in lower case, is there."""
        return not keys.isdisjoint(self._by_folded())

    def _of_another_case(self, key: str) -> str | None:
        return self._by_folded().get(key.lower())

    def _by_folded(self) -> dict[str, str]:
        if self._folded is None:
            self._folded = {one.lower(): one for one in self.wire} | {one: one for one in self.wire}
        return self._folded

    def text(self, key: str, default: str = "") -> str:
        """A text."""
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """A boolean; also as a text, as the reference's libraries have it."""
        value = self.raw(key)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def whole(self, key: str) -> int | None:
        """A whole number from 0 on."""
        value = self.raw(key)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.wrong(key, "a whole number, 0 or more")
        return value

    def section(self, key: str) -> "Fields":
        """An object; empty if there is none."""
        value = self.raw(key)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise self.wrong(key, "an object")
        return Fields(cast("Object", value), self._name(key))

    def listed(self, key: str) -> Sequence[Any]:
        """A list of anything; empty if there is none."""
        value = self.raw(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(key, "a list")
        return cast("Sequence[Any]", value)

    def sections(self, key: str) -> list["Fields"]:
        """A list of objects."""
        found = self.listed(key)
        if not all(isinstance(one, dict) for one in found):
            raise self.wrong(key, "a list of objects")
        return [Fields(one, f"{self._name(key)}[{index}]") for index, one in enumerate(found)]

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        found = self.listed(key)
        if not all(isinstance(one, str) for one in found):
            raise self.wrong(key, "a list of texts")
        return tuple(found)

    def wrong(self, key: str, wanted: str) -> CniError:
        """The error that this key should hold something else."""
        shown = json.dumps(self.raw(key))
        if len(shown) > _SHOWN:
            shown = shown[: _SHOWN - 3] + "..."
        return CniError(Code.INVALID_CONFIG, f"{self._name(key)} is {shown}; it must be {wanted}")

    def unsupported(self, key: str, reason: str) -> CniError:
        """The error that this key, or its value, is understood but not served."""
        shown = f"{self._name(key)}: {json.dumps(self.raw(key))}"
        return CniError(Code.UNSUPPORTED_FIELD, f"unsupported field {shown}", reason)

    def _name(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key
