"""What a container is given for the devices that were chosen for it: nodes, mounts, environment.

Pure: resource, devices and names in, values out; nothing here looks at the machine. The kubelet
keeps the answer and replays it at every later start of the container, over reboots too (kubelet
cm/devicemanager/manager.go Allocate, GetDeviceRunContainerOptions), so a node's host path is always
its stable link (`links`), never `/dev/ttyUSB0`. No two nodes, mounts or variables of one answer
share a container path or a name; `qualifiers` does the same between resources.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ringbolt.devices import placement, template, variables
from ringbolt.devices.device import Device, DeviceId, Member
from ringbolt.devices.qualifiers import Qualifiers, qualify
from ringbolt.devices.resource import Resource
from ringbolt.devices.tree import Tree


@dataclass(frozen=True, slots=True)
class InjectedNode:
    """One device node, or directory of them. `permissions` is a subset of "rwm"."""

    container_path: str
    host_path: str
    permissions: str
    device: DeviceId
    member: Member


@dataclass(frozen=True, slots=True)
class InjectedMount:
    """One bind mount."""

    host_path: str
    container_path: str
    readonly: bool


@dataclass(frozen=True, slots=True)
class Injection:
    """The answer for one container and one resource.

    `cdi` holds qualified CDI device names (`vendor/class=name`), given beside the nodes: a runtime
    without CDI ignores them without a word. `lacks` says in sentences what could not be given.
    """

    nodes: tuple[InjectedNode, ...]
    mounts: tuple[InjectedMount, ...]
    env: Mapping[str, str]
    annotations: Mapping[str, str]
    cdi: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is the same for every answer.

    `links_dir` is the root of the stable links; `tree` where `{attributes[x]}` is read; `binds` the
    members' paths that are neither device node nor directory (`links.find_binds`): a runtime takes
    sockets and files as mounts only.
    """

    links_dir: Path
    tree: Tree | None = None
    binds: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Placed:
    """A chosen device, its position in the request and where its members appear."""

    device: Device
    position: int
    variant: int
    paths: tuple[str, ...]


def plan(
    resource: Resource,
    chosen: Sequence[Device],
    around: Surroundings,
    qualifiers: Qualifiers | None = None,
) -> Injection:
    """The answer for `chosen`, in request order; replicas of one device count once.

    `qualifiers` are the resource's of `qualify(all resources)`; None: it is the only one.
    """
    names = qualifiers or qualify([resource])[resource.name]
    devices = tuple({device.id: device for device in chosen}.values())
    placed = _place(resource, devices, names, around.tree)
    scopes = [_scope(item, around) for item in placed]
    own = [node for item in placed for node in _nodes(resource, item, around.links_dir)]
    given = [*own, *_companions(resource, own)]
    binds = [_bind(node) for node in given if node.member.dev_node in around.binds]
    env = _named(resource.env, names.env, names.reserved, scopes, "_")
    env[names.variable] = ",".join(node.container_path for node in own)
    cdi, lacks = _cdi(resource, [item for item in placed if _has_nodes(item.device, around)])
    return Injection(
        nodes=tuple(node for node in given if node.member.dev_node not in around.binds),
        mounts=(*binds, *_mounts(resource, placed, scopes, names)),
        env=env,
        annotations=_named(resource.annotations, names.annotations, names.reserved, scopes, "-"),
        cdi=cdi,
        lacks=lacks,
    )


def _place(
    resource: Resource, devices: Sequence[Device], names: Qualifiers, tree: Tree | None
) -> tuple[_Placed, ...]:
    taken: set[str] = set()
    placed: list[_Placed] = []
    for position, device in enumerate(devices):
        variants = _attempts(position, indexed=placement.uses_index(resource))
        places = ((v, placement.node_paths(resource, device, v, names, tree)) for v in variants)
        variant, paths = next(place for place in places if taken.isdisjoint(place[1]))
        taken.update(paths)
        placed.append(_Placed(device, position, variant, paths))
    return tuple(placed)


def _attempts(position: int, *, indexed: bool) -> Iterator[int]:
    if not indexed:
        yield 0
    variant = position if indexed else max(position, 1)
    while True:
        yield variant
        variant += 1


def _nodes(resource: Resource, placed: _Placed, links_dir: Path) -> Iterator[InjectedNode]:
    for member, path in zip(placed.device.members, placed.paths, strict=True):
        yield InjectedNode(
            container_path=path,
            host_path=str(links_dir / placed.device.id / member.name),
            permissions=resource.container.permissions,
            device=placed.device.id,
            member=member,
        )


def _companions(resource: Resource, given: Sequence[InjectedNode]) -> Iterator[InjectedNode]:
    """What comes with every device: by its own path, which is as stable as a link."""
    taken = {node.container_path for node in given}
    for path in dict.fromkeys(resource.companions):
        if given and path not in taken:
            member = Member(path.rpartition("/")[2], path, "")
            yield InjectedNode(path, path, resource.container.permissions, given[0].device, member)


def _bind(node: InjectedNode) -> InjectedMount:
    return InjectedMount(node.host_path, node.container_path, "w" not in node.permissions)


def _mounts(
    resource: Resource,
    placed: Sequence[_Placed],
    scopes: Sequence["_Scope"],
    names: Qualifiers,
) -> Iterator[InjectedMount]:
    taken = {path for item in placed for path in item.paths}
    given: set[InjectedMount] = set()
    for scope in scopes:
        for entry in resource.mounts:
            host = variables.render_path(variables.parse(entry.host), scope.paths)
            base = variables.render_path(variables.parse(entry.container), scope.paths)
            base += names.suffixes.get(entry.container, "")
            mount = InjectedMount(host, base, entry.readonly)
            if mount in given:
                continue
            given.add(mount)
            number = 0
            while (path := f"{base}-{number}" if number else base) in taken:
                number += 1
            taken.add(path)
            yield InjectedMount(host, path, entry.readonly)


def _named(
    texts: Mapping[str, str],
    given: Mapping[str, str],
    reserved: frozenset[str],
    scopes: Sequence["_Scope"],
    joint: str,
) -> dict[str, str]:
    """Names and values: the configured name for the first device, numbered ones for the others."""
    bases = {given.get(name, name): variables.parse(text) for name, text in texts.items()}
    named: dict[str, str] = {}
    for number, scope in enumerate(scopes):
        for base, parsed in bases.items():
            if number and not parsed.variables:
                continue
            name, attempt = base, number
            while name in named or (attempt and name in reserved):
                name, attempt = f"{base}{joint}{attempt}", attempt + 1
            named[name] = variables.render_text(parsed, scope.texts)
    return named


def _has_nodes(device: Device, around: Surroundings) -> bool:
    return any(member.dev_node not in around.binds for member in device.members)


def _cdi(resource: Resource, placed: Sequence[_Placed]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not resource.container.needs_cdi:
        return (), ()
    kind = placement.cdi_kind(resource.name)
    known = [item for item in placed if item.variant < placement.CDI_VARIANTS]
    lost = [item.device.id for item in placed if item.variant >= placement.CDI_VARIANTS]
    lacks = (
        f"{resource.name}: {', '.join(lost)} keep the host's owner and mode in the container, "
        f"which are set for the first {placement.CDI_VARIANTS} devices of one container only; "
        "request fewer devices, or let container.path differ by {id} instead of {index}"
    )
    return (
        tuple(f"{kind}={placement.cdi_name(item.device.id, item.variant)}" for item in known),
        (lacks,) if lost else (),
    )


@dataclass(frozen=True, slots=True)
class _Scope:
    """A device's variables as texts, and as parts of paths: free of slashes the device made up."""

    texts: template.Values
    paths: template.Values


def _scope(placed: _Placed, around: Surroundings) -> _Scope:
    device = placed.device
    member = device.members[0] if device.members else None
    own = {
        "index": str(placed.position),
        "container_path": placed.paths[0] if placed.paths else "",
        "host_path": str(around.links_dir / device.id / member.name) if member else "",
    }
    return _Scope(
        texts=variables.values(device, member, around.tree, path=False) | own,
        paths=variables.values(device, member, around.tree, path=True) | own,
    )
