"""What a recorded machine offers, told as JSON by a process that runs under umockdev."""

import json
from collections.abc import Iterable, Mapping

import pyudev

from ringbolt.devices import plain_paths
from ringbolt.devices.assemble import assemble
from ringbolt.devices.grammar import parse_term
from ringbolt.devices.identity import Memory
from ringbolt.devices.resource import Group, GroupBy, Resource, ResourceName
from ringbolt.devices.scan import Scanner
from ringbolt.devices.tree import Tree

Said = Mapping[str, object]
"""A resource: `select` (one term) and, as in the configuration, `group` and `inject`."""


def _resource(name: str, said: Said) -> Resource:
    term, faults = parse_term(said["select"])
    assert not faults, faults
    by, _, key = str(said.get("group", "")).partition(" ")
    group = Group(GroupBy(by), key) if by else None
    inject = said.get("inject")
    wanted = tuple(str(one) for one in inject) if isinstance(inject, Iterable) else None
    return Resource(ResourceName(name), (term,), group=group, inject=wanted)


def tell(resources: Mapping[str, Said], memory: object = None) -> None:
    """Print {"devices": {resource: [device]}, "memory": ..., "lacks": [...]}."""
    wanted = [_resource(name, said) for name, said in resources.items()]
    scanner = Scanner()
    before = Memory.from_json(memory) if memory else Memory()
    found = assemble(scanner.scan(), wanted, before, plain_paths.look(wanted))
    devices = {
        name: [
            {
                "id": one.id,
                "nodes": {member.name: member.dev_node for member in one.members},
                "numa": one.numa_node,
                "root": one.pcie_root,
                "anchor": one.anchor.sys_path if one.anchor else None,
                "serial": one.properties.get("ID_SERIAL_SHORT"),
            }
            for one in some
        ]
        for name, some in found.devices.items()
    }
    memory = found.memory.to_json()
    print(json.dumps({"devices": devices, "memory": memory, "lacks": scanner.lacks()}))  # noqa: T201


def compare_with_libudev() -> None:
    """Print every difference between what we read and what libudev says, as JSON."""
    ours = _facts(Scanner().scan())
    found = pyudev.Context().list_devices()
    theirs = {device.device_path: _libudev_facts(device) for device in found}
    differing = {
        path: [ours.get(path), theirs.get(path)]
        for path in ours.keys() | theirs.keys()
        if ours.get(path) != theirs.get(path)
    }
    print(json.dumps({"nodes": len(theirs), "differing": differing}))  # noqa: T201


def _facts(tree: Tree) -> dict[str, object]:
    return {
        node.sys_path: [
            dict(node.properties),
            node.kernel,
            node.subsystem,
            node.devtype,
            node.dev_node,
        ]
        for node in tree
    }


def _libudev_facts(device: pyudev.Device) -> object:
    return [
        dict(device.properties),
        device.sys_name,
        device.subsystem,
        device.device_type or "",
        device.device_node,
    ]
