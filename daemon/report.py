"""Snapshots as rows for people and programs: the stable shape of `ringbolt devices -o json`."""

from collections.abc import Iterator, Mapping
from typing import Any

from ringbolt.devices.device import Device, Gone, Snapshot, UnitId
from ringbolt.devices.resource import ResourceName
from ringbolt.devices.tree import Node

Held = Mapping[ResourceName, Mapping[UnitId, str]]
Row = dict[str, Any]  # what json.dumps takes

_NAMES = {
    "vendor": ("ID_VENDOR_FROM_DATABASE", "ID_VENDOR"),
    "model": ("ID_MODEL", "ID_MODEL_FROM_DATABASE", "NAME"),
    "serial": ("ID_SERIAL_SHORT",),
}


def rows(snapshot: Snapshot, held: Held) -> list[Row]:
    """One row for each device, present or gone, by resource in configuration order."""
    return [
        row
        for name in snapshot.resources
        for row in (
            *(_device_row(device, held) for device in snapshot.devices[name]),
            *(_gone_row(gone, held) for gone in snapshot.gone[name]),
        )
    ]


def unserved(snapshot: Snapshot) -> list[Row]:
    """Nodes under /dev that no resource hands over."""
    served = {
        member.dev_node
        for devices in snapshot.devices.values()
        for device in devices
        for member in device.members
    }
    nodes = (node for node in snapshot.tree if node.dev_node and node.dev_node not in served)
    return [_node_row(node) for node in sorted(nodes, key=lambda node: str(node.dev_node))]


def _device_row(device: Device, held: Held) -> Row:
    return {
        "id": device.id,
        "resource": device.resource,
        "state": device.state.value,
        "reason": device.reason,
        "share": device.share,
        "units": list(device.units()),
        "nodes": [
            {"name": member.name, "path": member.dev_node, "subsystem": member.subsystem}
            for member in device.members
        ],
        "sysPath": device.anchor.sys_path if device.anchor else None,
        "numaNode": device.numa_node,
        "pcieRoot": device.pcie_root or None,
        **_names(device.properties),
        "heldBy": _holders(device.resource, device.units(), held),
    }


def _gone_row(gone: Gone, held: Held) -> Row:
    return {
        "id": gone.unit,
        "resource": gone.resource,
        "state": "gone",
        "reason": gone.reason,
        "share": 1,
        "units": [gone.unit],
        "nodes": [],
        "sysPath": None,
        "numaNode": None,
        "pcieRoot": None,
        **_names({}),
        "heldBy": _holders(gone.resource, iter([gone.unit]), held),
    }


def _holders(resource: ResourceName, units: Iterator[UnitId], held: Held) -> list[Row]:
    of_resource = held.get(resource, {})
    return [{"unit": unit, "holder": of_resource[unit]} for unit in units if unit in of_resource]


def _node_row(node: Node) -> Row:
    return {
        "path": node.dev_node,
        "subsystem": node.subsystem,
        "driver": node.driver,
        "sysPath": node.sys_path,
        "links": list(node.links),
        **_names(node.properties),
    }


def _names(properties: Mapping[str, str]) -> Row:
    return {
        name: next((properties[key] for key in keys if properties.get(key)), None)
        for name, keys in _NAMES.items()
    }
