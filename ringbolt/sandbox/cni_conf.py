"""A folder of network configurations as container runtimes read it; values only but for the folder.

Nothing of ours decides here: it is the other side of the contract. Source: containerd go-cni
opts.go (loadFromConfDir), containernetworking libcni conf.go (NetworkConfFromBytes).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

NEWEST = "1.1.0"
"""The newest version of the contract that this runtime speaks."""

_EXTENSIONS = (".conf", ".conflist", ".json")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")


class ConfError(ValueError):
    """No network can be loaded; the message is what the runtime's status would say."""


@dataclass(frozen=True, slots=True)
class PluginConf:
    """One plugin of a network: its program's name, and `wire`, all that was written of it."""

    type: str
    capabilities: frozenset[str]
    wire: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NetworkConf:
    """A network: its plugins are called in their order. `source` is the file's bytes."""

    name: str
    version: str
    plugins: tuple[PluginConf, ...]
    source: bytes = field(repr=False, compare=False)


def load_first(directory: Path) -> NetworkConf:
    """The network of the first file by name, as `max_conf_num = 1` has it. Raises ConfError."""
    path = first_file(directory)
    try:
        return parse(path.read_bytes(), is_list=_extension(path.name) == ".conflist")
    except (OSError, ConfError) as error:
        raise ConfError(f"{path}: {error}") from error


def first_file(directory: Path) -> Path:
    """The file that counts. Raises ConfError where there is none."""
    try:
        found = [path.name for path in directory.iterdir() if not path.is_dir()]
    except OSError:
        found = []
    if known := file_names(found):
        return directory / known[0]
    raise ConfError(f"no network config found in {directory}: cni plugin not initialized")


def file_names(names: Sequence[str]) -> tuple[str, ...]:
    """Those of `names` that runtimes read, in their order."""
    return tuple(sorted(name for name in names if _extension(name) in _EXTENSIONS))


def parse(source: bytes, *, is_list: bool) -> NetworkConf:
    """The network in a .conflist, or in a file that holds one plugin. Raises ConfError."""
    whole = _mapping(_decode(source), "the configuration")
    if not is_list:
        plugin = _plugin(whole)
        return NetworkConf(_name(whole), _text(whole, "cniVersion"), (plugin,), source)
    plugins = whole.get("plugins")
    if not isinstance(plugins, list) or not plugins:
        raise ConfError("error parsing configuration list: no plugins in list")
    each = tuple(_plugin(_mapping(one, "a plugin")) for one in cast("list[object]", plugins))
    return NetworkConf(_name(whole), negotiate(whole), each, source)


def negotiate(whole: Mapping[str, Any]) -> str:
    """The highest of `cniVersion` and `cniVersions` that is not newer than ours. Raises ConfError.

    A single `cniVersion` is taken as it is, whatever it says; "" where there is none.
    """
    single = _text(whole, "cniVersion")
    offered = whole.get("cniVersions")
    if offered is None:
        return single
    if not isinstance(offered, list):
        raise ConfError("error parsing configuration list: invalid type for cniVersions")
    every = [*cast("list[object]", offered), *([single] if single else [])]
    known = [one for one in map(_version, every) if one <= _version(NEWEST)]
    if not known:
        raise ConfError(f"no version in cniVersions {offered} is known here, up to {NEWEST}")
    return ".".join(map(str, max(known)))


def is_at_least(version: str, least: str) -> bool:
    """Whether `version` is `least` or newer; "" is the contract's first."""
    return _version(version or "0.1.0") >= _version(least)


def _version(text: object) -> tuple[int, ...]:
    if not isinstance(text, str) or not _VERSION.fullmatch(text):
        raise ConfError(f"invalid version {text!r}")
    return tuple(map(int, text.split(".")))


def _plugin(wire: Mapping[str, Any]) -> PluginConf:
    kind = _text(wire, "type")
    if not kind:
        raise ConfError("error parsing configuration: missing 'type'")
    asked = _mapping(wire.get("capabilities") or {}, "capabilities")
    return PluginConf(kind, frozenset(name for name, is_on in asked.items() if is_on is True), wire)


def _name(whole: Mapping[str, Any]) -> str:
    name = _text(whole, "name")
    if not _NAME.fullmatch(name):
        raise ConfError(f"error parsing configuration list: invalid name {name!r}")
    return name


def _text(wire: Mapping[str, Any], key: str) -> str:
    value = wire.get(key, "")
    if not isinstance(value, str):
        raise ConfError(f"error parsing configuration: invalid {key} type {value!r}")
    return value


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfError(f"error parsing configuration: {what} is no object")
    return cast("Mapping[str, Any]", value)


def _decode(source: bytes) -> object:
    try:
        return json.loads(source)
    except (ValueError, RecursionError) as error:
        raise ConfError(f"error parsing configuration: {error}") from error


def _extension(name: str) -> str:
    """As Go has it: a name that is nothing but ".conf" has that extension."""
    return name[name.rindex(".") :] if "." in name else ""
