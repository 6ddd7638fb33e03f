"""The JSON that comes with a call: what the kubelet says of it, and what the pod's author wrote.

Source: kubernetes pkg/volume/flexvolume/driver-call.go NewOptionsForDriver, mounter.go. The author
is trusted in nothing; keys of `kubernetes.io/` are the kubelet's alone, since the API server lets
nobody else write them. Values never enter a message or a repr.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from ringbolt.volumes.errors import InvalidError
from ringbolt.volumes.volume import Secrets, Tenant, parse_namespace

_OURS = "kubernetes.io/"
_SECRET = _OURS + "secret/"
_FS_GROUPS = (_OURS + "mounterArgs.FsGroup", _OURS + "fsGroup")
"""Since 1.15, and before."""
_ACCESS = {"": False, "rw": False, "ro": True}


@dataclass(frozen=True, slots=True)
class Options:
    """`written` are the author's; the rest is the kubelet's."""

    written: Mapping[str, str] = field(repr=False)
    fs_type: str = ""
    readonly: bool = False
    fs_group: int | None = None
    secrets: Secrets = field(default_factory=Secrets, repr=False)
    _said: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def tenant(self) -> Tenant:
        """The pod. Raises InvalidError where a caller names no namespace."""
        namespace = parse_namespace(self._said.get(_OURS + "pod.namespace", ""))
        return Tenant(
            namespace,
            self._said.get(_OURS + "pod.name", ""),
            self._said.get(_OURS + "pod.uid", ""),
            self._said.get(_OURS + "serviceAccount.name", ""),
        )


def parse_options(text: str) -> Options:
    """The options of one call. Raises InvalidError, which quotes no value."""
    told = _strings(text)
    said = {key: value for key, value in told.items() if key.startswith(_OURS)}
    return Options(
        written={key: value for key, value in told.items() if key not in said},
        fs_type=said.get(_OURS + "fsType", ""),
        readonly=_is_readonly(said.get(_OURS + "readwrite", "")),
        fs_group=_fs_group(said),
        secrets=Secrets(
            {
                key.removeprefix(_SECRET): _decoded(key.removeprefix(_SECRET), value)
                for key, value in said.items()
                if key.startswith(_SECRET)
            }
        ),
        _said={key: value for key, value in said.items() if not key.startswith(_SECRET)},
    )


def _strings(text: str) -> dict[str, str]:
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidError("the options are no JSON") from None
    if not isinstance(found, dict):
        raise InvalidError("the options are no JSON object")
    wrong = [key for key, value in cast("dict[str, Any]", found).items() if type(value) is not str]
    if wrong:
        raise InvalidError(f"option {wrong[0][:80]!r} is no string: quote its value")
    return cast("dict[str, str]", found)


def _is_readonly(text: str) -> bool:
    try:
        return _ACCESS[text]
    except KeyError:
        raise InvalidError("kubernetes.io/readwrite is neither rw nor ro") from None


def _fs_group(said: Mapping[str, str]) -> int | None:
    text = next((said[key] for key in _FS_GROUPS if said.get(key)), None)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(1 << 32))):
        raise InvalidError("the fsGroup is no group id")
    return int(text)


def _decoded(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidError(f"the secret's {name[:80]!r} is no base64") from None
