"""What keeps two resources apart that one container requests together.

The kubelet merges the answers of several resources and keeps the first of two values under one key,
with no more than a log line (kubelet cm/devicemanager/pod_devices.go, deviceRunContainerOptions).
One Allocate call does not see the others, so names are settled here, once per configuration: the
resource that comes first in it keeps a name, a later one adds its own name to it. Pure.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ringbolt.devices import template
from ringbolt.devices.resource import MountEntry, Resource, ResourceName

_NUMBER = "\0"


@dataclass(frozen=True, slots=True)
class Shape:
    """Which paths a path template can become.

    `text` has the resource's own variables replaced; `skeleton` has a NUL where any number may
    stand, and is None where the path depends on the device.
    """

    text: str
    skeleton: str | None

    def meets(self, other: "Shape") -> bool:
        """Whether both can become the same path, as far as the templates tell."""
        if self.text == other.text:
            return True
        if self.skeleton is None or other.skeleton is None:
            return False
        return self.gives(other.skeleton) or other.gives(self.skeleton)

    def gives(self, path: str, *, numbered: bool = False) -> bool:
        """Whether the template can become `path`; `numbered`: or `path` without its last number."""
        if numbered and self.gives(re.sub(r"-[0-9]+$", "", path)):
            return True
        if self.skeleton is None or _NUMBER not in self.skeleton:
            return path == self.skeleton
        return _pattern(self.skeleton).fullmatch(path) is not None


@functools.lru_cache(maxsize=1024)
def _pattern(skeleton: str) -> re.Pattern[str]:
    return re.compile(re.escape(skeleton).replace(_NUMBER, f"[0-9{_NUMBER}]+"))


@dataclass(frozen=True, slots=True)
class Qualifiers:
    """How one resource's names appear in a container.

    `variable` is the name of the variable that lists all container paths. `env`, `annotations`:
    configured name -> name given. `suffixes`: container path template -> what is appended to the
    path. `reserved`: names of variables and annotations that other resources give; `others`: paths
    that they give; `suffix`: what a path gets that is one of those.
    """

    variable: str
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    suffixes: Mapping[str, str] = field(default_factory=dict[str, str])
    reserved: frozenset[str] = frozenset()
    others: tuple[Shape, ...] = ()
    suffix: str = ""

    def settle(self, path: str) -> str:
        """`path`, or with the resource's suffix where another resource may give `path`."""
        settled = path
        while any(other.gives(settled, numbered=settled != path) for other in self.others):
            settled += self.suffix
        return settled


def qualify(resources: Sequence[Resource]) -> Mapping[ResourceName, Qualifiers]:
    """The qualifiers of every resource; `resources` in configuration order."""
    env = _settle_names(resources, lambda resource: resource.env, _env_names)
    notes = _settle_names(resources, lambda resource: resource.annotations, _annotation_names)
    variables = _variables(resources, env)
    suffixes = _suffixes(resources)
    paths = _settle_paths(resources)
    settled: dict[ResourceName, Qualifiers] = {}
    for resource in resources:
        name = resource.name
        rest = [other.name for other in resources if other.name != name]
        settled[name] = Qualifiers(
            variable=variables[name],
            env=env[name],
            annotations=notes[name],
            suffixes={text: suffix for text, (suffix, _) in paths[name].items()},
            reserved=frozenset(
                {variables[other] for other in rest}
                | {given for other in rest for given in env[other].values()}
                | {given for other in rest for given in notes[other].values()}
            ),
            others=tuple(shape for other in rest for _, shape in paths[other].values()),
            suffix=suffixes[name],
        )
    return settled


def part_of(name: ResourceName) -> str:
    """The part of a resource's name after the slash."""
    return name.rpartition("/")[2]


def _upper(text: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", text.upper())


def _lower(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "-", text.lower())


def _path_suffix(text: str) -> str:
    return "-" + _lower(text)


def _qualified(resource: Resource) -> Iterator[str]:
    """Ever longer qualifiers of a resource; the first is the one that people see."""
    yield part_of(resource.name)
    yield resource.name
    repeat = 1
    while True:
        repeat += 1
        yield f"{resource.name}-x{repeat}"


def _env_names(name: str, resource: Resource) -> Iterator[str]:
    return (f"{name}_{_upper(text)}" for text in _qualified(resource))


def _annotation_names(name: str, resource: Resource) -> Iterator[str]:
    return (f"{name}-{_lower(text)}" for text in _qualified(resource))


def _settle_names(
    resources: Sequence[Resource],
    names: Callable[[Resource], Iterable[str]],
    candidates: Callable[[str, Resource], Iterator[str]],
) -> dict[ResourceName, dict[str, str]]:
    """Configured name -> name given, for each resource; no two are given the same."""
    configured = {name for resource in resources for name in names(resource)}
    taken: set[str] = set()
    settled: dict[ResourceName, dict[str, str]] = {resource.name: {} for resource in resources}
    for resource in resources:
        for name in names(resource):
            given = name
            if name in taken:
                free = candidates(name, resource)
                given = next(text for text in free if text not in taken | configured)
            taken.add(given)
            settled[resource.name][name] = given
    return settled


def _variables(
    resources: Sequence[Resource], env: Mapping[ResourceName, Mapping[str, str]]
) -> dict[ResourceName, str]:
    taken = {given for names in env.values() for given in names.values()}
    variables: dict[ResourceName, str] = {}
    for resource in resources:
        free = (f"RINGBOLT_{_upper(text)}" for text in _qualified(resource))
        variables[resource.name] = next(name for name in free if name not in taken)
        taken.add(variables[resource.name])
    return variables


def _suffixes(resources: Sequence[Resource]) -> dict[ResourceName, str]:
    suffixes: dict[ResourceName, str] = {}
    for resource in resources:
        # No qualifier has a dot: the text after the last one says whose path it is.
        free = (f".{_lower(text)}" for text in _qualified(resource))
        suffixes[resource.name] = next(text for text in free if text not in suffixes.values())
    return suffixes


def _settle_paths(
    resources: Sequence[Resource],
) -> dict[ResourceName, dict[str, tuple[str, Shape]]]:
    """Container path template -> (suffix, shape with it), for each resource."""
    taken: list[tuple[Shape, MountEntry | None]] = []
    settled: dict[ResourceName, dict[str, tuple[str, Shape]]] = {}
    for resource in resources:
        mine: dict[str, tuple[str, Shape]] = {}
        for text, mount in _path_templates(resource):
            rivals = [shape for shape, other in taken if not _same_mount(mount, other)]
            if text not in mine:
                mine[text] = _settle_path(text, resource, rivals)
        taken += [(mine[text][1], mount) for text, mount in _path_templates(resource)]
        settled[resource.name] = mine
    return settled


def _path_templates(resource: Resource) -> Iterator[tuple[str, MountEntry | None]]:
    if resource.container.path is not None:
        yield resource.container.path, None
    for mount in resource.mounts:
        yield mount.container, mount


def _same_mount(one: MountEntry | None, other: MountEntry | None) -> bool:
    """Whether two resources mount the very same thing, whichever device is chosen."""
    return one is not None and one == other and not template.parse(one.host).variables


def _settle_path(text: str, resource: Resource, rivals: Sequence[Shape]) -> tuple[str, Shape]:
    suffixes = itertools.chain([""], map(_path_suffix, _qualified(resource)))
    shapes = ((suffix, _shape(text, resource, suffix)) for suffix in suffixes)
    return next(
        (suffix, shape)
        for suffix, shape in shapes
        if not any(shape.meets(rival) for rival in rivals)
    )


def _shape(text: str, resource: Resource, suffix: str) -> Shape:
    parsed = template.parse(text)
    mine = {name: f"{{{name}}}" for name in parsed.variables - template.SUBSCRIPTED}
    own = parsed.render(mine | {"resource": part_of(resource.name)}) + suffix
    if parsed.variables - {"index", "resource"}:
        unique = f" {resource.name}" if "id" in parsed.variables else ""
        return Shape(text + suffix + unique, None)
    return Shape(own, re.sub(r"[0-9]*(\{index\}[0-9]*)+", _NUMBER, own) if "index" in mine else own)
