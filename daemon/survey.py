"""One look at this node without an agent: what the commands `devices` and `explain` show.

It reads what the agent would read and changes nothing: no link, no state file, no uevent socket.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from daemon import config, state_file
from daemon.pod_resources import PodResourcesError, read_holdings
from ringbolt.devices import plain_paths, presence
from ringbolt.devices.assemble import assemble
from ringbolt.devices.device import Snapshot, UnitId
from ringbolt.devices.identity import Memory
from ringbolt.devices.resource import Resource, ResourceName
from ringbolt.devices.scan import Scanner

IDENTITIES = "identities.json"


@dataclass(frozen=True, slots=True)
class Survey:
    """A Snapshot, who holds what (unit -> holder in words), and what could not be found out."""

    snapshot: Snapshot
    held: dict[ResourceName, dict[UnitId, str]]
    lacks: tuple[str, ...]


def survey(config_path: Path, kubelet_dir: Path, state_dir: Path) -> Survey:
    """Look once. Raises ConfigError; a configuration that does not exist serves nothing."""
    scanner = Scanner()
    lacks = list(scanner.lacks())
    resources: tuple[Resource, ...] = ()
    if _exists(config_path):
        resources = config.load(config_path).resources
    else:
        lacks.append(f"{config_path}: no such file: no resource is configured (see --config)")
    memory = _memory(state_dir / IDENTITIES, lacks)
    tree = scanner.scan()
    devices = assemble(tree, resources, memory, plain_paths.look(resources)).devices
    held = _held(kubelet_dir, lacks)
    gone = {
        resource.name: presence.gone_units(
            resource.name, devices[resource.name], held.get(resource.name, {})
        )
        for resource in resources
    }
    by_name = {resource.name: resource for resource in resources}
    return Survey(Snapshot(1, tree, by_name, devices, gone), held, tuple(lacks))


def _exists(path: Path) -> bool:
    """False where there is none; a path that may not be looked at is `config.load`'s to refuse."""
    try:
        return path.exists()
    except OSError:
        return True


def _memory(path: Path, lacks: list[str]) -> Memory:
    try:
        return state_file.load(path, Memory.from_json, Memory())
    except state_file.UNREADABLE as error:
        lacks.append(f"ids may differ from the agent's, whose {path} cannot be read: {error}")
        return Memory()


def _held(kubelet_dir: Path, lacks: list[str]) -> dict[ResourceName, dict[UnitId, str]]:
    socket = kubelet_dir / "pod-resources" / "kubelet.sock"
    try:
        holdings = asyncio.run(read_holdings(socket))
    except PodResourcesError as error:
        lacks.append(f"who holds which device is unknown: {error}")
        return {}
    return {
        resource: {unit: str(holder) for unit, holder in units.items()}
        for resource, units in holdings.items()
    }
