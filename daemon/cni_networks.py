"""The networks that runtimes are told of: settings of ours out of their folder of configurations.

Only read, for people: what a runtime really hands over is known to each call alone.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from cni.codes import CniError
from cni.configuration import Configuration
from cni.fields import Fields, Object
from cni.network_settings import find_delegate, read_settings
from daemon.cni_conflist import EXTENSIONS, PLUGIN
from ringbolt.network.settings import NetworkName, Settings

Networks = dict[NetworkName, Settings]


def read_networks(folder: Path, lacks: list[str]) -> Networks:
    """The settings by the network's name, of the first file that has it, as runtimes choose.

    What cannot be read is a sentence more in `lacks`.
    """
    found: Networks = {}
    for path in configurations(folder, lacks):
        try:
            wire = json.loads(path.read_bytes())
            for settings in _settings(wire):
                found.setdefault(settings.name, settings)
        except (OSError, ValueError, CniError) as error:
            lacks.append(f"{path} is passed over: {error}")
    return found


def configurations(folder: Path, lacks: list[str]) -> list[Path]:
    """The files that runtimes read, in their order."""
    try:
        paths = [path for path in folder.iterdir() if path.suffix in EXTENSIONS]
    except FileNotFoundError:
        return []
    except OSError as error:
        lacks.append(f"{folder} cannot be read: {error.strerror}")
        return []
    return sorted(path for path in paths if path.is_file())


def _settings(wire: Any) -> Iterator[Settings]:
    """Of each plugin of ours in a configuration, a list of plugins or a single one."""
    if not isinstance(wire, dict):
        return
    whole = Fields(cast("Object", wire))
    for plugin in whole.sections("plugins") or (whole,):
        if plugin.raw("type") == PLUGIN:
            configuration = Configuration(whole.text("name"), "", plugin, b"")
            settings = read_settings(configuration)
            yield replace(settings, ranges=()) if find_delegate(configuration) else settings
