"""Where the members of a device appear in the container, and which CDI entry says the same.

A place depends on the device and on its *variant* alone, never on what else is requested: so the
CDI entries of every variant can be written before, and again after a reboot, without remembering
who was answered what. Pure.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ringbolt.devices import variables
from ringbolt.devices.device import Device, DeviceId
from ringbolt.devices.qualifiers import Qualifiers
from ringbolt.devices.resource import Resource, ResourceName
from ringbolt.devices.tree import Tree

CDI_VARIANTS = 16
"""How many variants of one device's CDI entry are kept; see `variants`."""


def node_paths(
    resource: Resource,
    device: Device,
    variant: int,
    qualifiers: Qualifiers,
    tree: Tree | None = None,
) -> tuple[str, ...]:
    """Where the device's members appear, all different: `variant` 0 unless that place is taken.

    The variant is `{index}` where the template has one; else it numbers what would be the same.
    """
    return next(variant_paths(resource, device, [variant], qualifiers, tree))


def variant_paths(
    resource: Resource,
    device: Device,
    numbers: Iterable[int],
    qualifiers: Qualifiers,
    tree: Tree | None = None,
) -> Iterator[tuple[str, ...]]:
    """`node_paths` for each variant of `numbers`, looking up what they share once."""
    text = resource.container.path
    if text is None:
        bases = tuple(variables.printable(member.dev_node) for member in device.members)
        yield from (_distinct(bases, number, qualifiers) for number in numbers)
        return
    parsed, indexed = variables.parse(text), uses_index(resource)
    end = qualifiers.suffixes.get(text, "")
    scopes = [(m.name, variables.values(device, m, tree, path=True)) for m in device.members]
    for number in numbers:
        index = {"index": str(number)}
        bases = tuple(
            variables.render_path(parsed, scope | index, name) + end for name, scope in scopes
        )
        yield _distinct(bases, 0 if indexed else number, qualifiers)


def _distinct(bases: Sequence[str], shift: int, qualifiers: Qualifiers) -> tuple[str, ...]:
    """The paths, numbered where they are alike, from the `shift`-th set of numbers on."""
    if not shift and len(set(bases)) == len(bases) and not qualifiers.others:
        return tuple(bases)
    total, seen = Counter(bases), Counter[str]()
    paths: dict[str, None] = {}
    for base in bases:
        number = shift * total[base] + seen[base]
        seen[base] += 1
        path = _numbered(base, number, qualifiers)
        while path in paths or (number and path in total):
            number += 1
            path = _numbered(base, number, qualifiers)
        paths[path] = None
    return tuple(paths)


def uses_index(resource: Resource) -> bool:
    """Whether a node's place depends on the device's position in the request."""
    path = resource.container.path
    return path is not None and "index" in variables.parse(path).variables


def variants(
    resource: Resource, devices: Sequence[Device], qualifiers: Qualifiers, tree: Tree | None = None
) -> Mapping[DeviceId, int]:
    """How many variants of each device a request can need, at most CDI_VARIANTS.

    A function of the resource's devices alone, so that nothing need be remembered for the answers
    that the kubelet replays after a reboot. A path of `{index}` takes one variant for each device;
    where other paths are alike, every node of another device may stand in the way once.
    """
    text = resource.container.path
    if text is None:
        return {device.id: 1 for device in devices}
    bound = len(devices)
    if variables.parse(text).variables - {"index", "resource"} or not uses_index(resource):
        bound += sum(len(device.members) for device in devices)
    bound = min(bound, CDI_VARIANTS)
    if uses_index(resource):
        return {device.id: bound for device in devices}
    first = {d.id: node_paths(resource, d, 0, qualifiers, tree) for d in devices}
    uses = Counter(path for paths in first.values() for path in paths)
    alike = {name for name, paths in first.items() if any(uses[path] > 1 for path in paths)}
    return {device.id: bound if device.id in alike else 1 for device in devices}


def cdi_kind(name: ResourceName) -> str:
    """The CDI kind of a resource: its name, mended where CDI wants a letter first (CDI SPEC.md)."""
    vendor, _, kind = name.partition("/")
    return "/".join(text if text[:1].isalpha() else f"r{text}" for text in (vendor, kind))


def cdi_name(device: DeviceId, variant: int) -> str:
    """The name of a device's variant within its CDI kind."""
    return f"{device}.{variant}" if variant else device


def _numbered(base: str, number: int, names: Qualifiers) -> str:
    return names.settle(f"{base}-{number}" if number else base)
