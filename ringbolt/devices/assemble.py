"""From what was found to what is offered: the devices of every resource, with ids and members.

Pure and deterministic: the same tree, resources, memory and plain paths give the same devices in
the same order. Health, holders and the wire are the business of others.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ringbolt.devices import grouping, topology
from ringbolt.devices.device import Device, DeviceId, Member
from ringbolt.devices.explain import taken
from ringbolt.devices.grouping import Grouped
from ringbolt.devices.identity import (
    Identity,
    Memory,
    device_id,
    file_name,
    identify,
    member_name,
)
from ringbolt.devices.resource import GroupBy, Resource, ResourceName
from ringbolt.devices.tree import Node, SysPath, Tree

_PLAIN = "plain"
"""The subsystem of a member that udev does not know."""

Identities = Mapping[SysPath, Identity]


@dataclass(frozen=True, slots=True)
class Assembly:
    """The devices of every resource, by id, and the memory to assemble with next time."""

    devices: Mapping[ResourceName, tuple[Device, ...]]
    memory: Memory


@dataclass(frozen=True, slots=True)
class _Offer:
    """One device before it has its id."""

    device: Device
    kind: str
    identity: Identity


def assemble(
    tree: Tree,
    resources: Sequence[Resource],
    memory: Memory,
    plain: Mapping[ResourceName, tuple[str, ...]],
) -> Assembly:
    """The devices that the resources make of the tree and of the plain paths found for them.

    A group is left out while udevd is at work on it, and where nothing of it can be handed over.
    """
    groups = {resource.name: _groups(resource, tree) for resource in resources}
    named = [node for found in groups.values() for one in found for node in _named(one)]
    identities, learned = identify(named, tree, memory)
    known = _dev_nodes(tree) if any(plain.values()) else frozenset[str]()
    devices: dict[ResourceName, tuple[Device, ...]] = {}
    for resource in resources:
        paths = tuple(path for path in plain.get(resource.name, ()) if path not in known)
        offers = [_offer(resource, one, tree, identities) for one in groups[resource.name]]
        found = (*_with_ids(resource.name, offers), *_plain_devices(resource, paths))
        devices[resource.name] = tuple(sorted(found, key=lambda device: device.id))
    return Assembly(devices, learned)


def _groups(resource: Resource, tree: Tree) -> tuple[Grouped, ...]:
    found = grouping.group(resource, taken(resource, tree), tree)
    return tuple(one for one in found if one.settled and one.members)


def _named(one: Grouped) -> Iterator[Node]:
    if one.subject:
        yield one.subject
    yield from one.members


def _dev_nodes(tree: Tree) -> frozenset[str]:
    """Every path under which udev knows a node."""
    return frozenset(
        path for node in tree if node.dev_node for path in (node.dev_node, *node.links)
    )


def _offer(resource: Resource, one: Grouped, tree: Tree, identities: Identities) -> _Offer:
    first = one.members[0]
    place = one.anchor or first
    properties = {**place.properties, **one.matched[0].properties}
    device = Device(
        id=DeviceId(""),
        resource=resource.name,
        members=_members(one, tree, identities),
        anchor=one.anchor,
        matched=tuple(node.sys_path for node in one.matched),
        numa_node=topology.numa_node(place, tree),
        pcie_root=topology.pcie_root(place),
        properties=properties,
        share=resource.share,
    )
    if one.subject:
        kind = one.subject.subsystem
        return _Offer(device, kind, identities[one.subject.sys_path])
    word = one.key.rpartition("=")[2]
    return _Offer(device, first.subsystem, Identity(f"group/{one.key}", (word,)))


def _members(one: Grouped, tree: Tree, identities: Identities) -> tuple[Member, ...]:
    named = sorted(
        (member_name(node, one.anchor, tree, identities[node.sys_path]), node.sys_path, node)
        for node in one.members
    )
    used: dict[str, int] = {}
    members: list[Member] = []
    for name, sys_path, node in named:
        used[name] = used.get(name, 0) + 1
        unique = name if used[name] == 1 else f"{name}.{used[name]}"
        members.append(Member(unique, node.dev_node or "", node.subsystem, sys_path))
    return tuple(members)


def _plain_devices(resource: Resource, paths: tuple[str, ...]) -> tuple[Device, ...]:
    together = resource.group is not None and resource.group.by is GroupBy.ALL
    return _known_plain(resource.name, resource.share, paths, together)


@functools.lru_cache(maxsize=64)
def _known_plain(
    name: ResourceName,
    share: int,
    paths: tuple[str, ...],
    together: bool,  # noqa: FBT001 - lru_cache is faster by position
) -> tuple[Device, ...]:
    """A device for every path, or one for all of them; a thousand would cost 20 ms each time."""
    return tuple(_with_ids(name, _plain_offers(name, share, paths, together=together)))


def _plain_offers(
    name: ResourceName, share: int, paths: Sequence[str], *, together: bool
) -> Iterator[_Offer]:
    for some in [paths] if together and paths else [[path] for path in paths]:
        members = tuple(Member(file_name(path), path, _PLAIN) for path in some)
        device = Device(DeviceId(""), name, members, share=share)
        key = "plain/all" if together else f"plain/{some[0]}"
        yield _Offer(device, "path", Identity(key, ("all" if together else some[0],)))


def _with_ids(resource: ResourceName, offers: Iterable[_Offer]) -> Iterator[Device]:
    """The devices with their ids; what nothing tells apart is counted."""
    devices: dict[DeviceId, Device] = {}
    for offer in sorted(offers, key=lambda offer: (offer.identity.key, offer.device.matched)):
        id_ = device_id(resource, offer.kind, offer.identity)
        count = 1
        while id_ in devices:
            count += 1
            again = replace(offer.identity, key=f"{offer.identity.key}#{count}")
            id_ = device_id(resource, offer.kind, again)
        devices[id_] = replace(offer.device, id=id_)
    return iter(devices.values())
