"""The configuration as one frozen object: read from a file or a directory, all errors at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from daemon.collisions import warn_of_collisions
from daemon.document import Entry, Table, read_document
from daemon.fields import Fields, kind_of
from daemon.node_schema import read_kubelet, read_network, read_volumes
from daemon.options import KubeletOptions, NetworkOptions, VolumeOptions
from daemon.problem import ConfigError, Place, Problem, Report
from daemon.schema import read_resource
from ringbolt.devices.resource import Resource, ResourceName

MOST_RESOURCES = 500

__all__ = ["Config", "ConfigError", "Difference", "Problem", "difference", "load", "parse"]

_KUBELET = KubeletOptions()


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that is configured, with every default filled in.

    `warnings` are what the reader of the file should know; `volumes` and `network` are None where
    the file does not speak of them.
    """

    resources: tuple[Resource, ...] = ()
    kubelet: KubeletOptions = _KUBELET
    volumes: VolumeOptions | None = None
    network: NetworkOptions | None = None
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """What a new configuration does to the resources: names, in the order of the files.

    A resource is changed when anything but its place in the file is.
    """

    added: tuple[ResourceName, ...] = ()
    changed: tuple[ResourceName, ...] = ()
    removed: tuple[ResourceName, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def load(path: Path) -> Config:
    """The configuration of a file, or of all *.yaml files of a directory in the order of names.

    Raises ConfigError, and nothing else, with every problem of every file.
    """
    reading = _Reading()
    for file in _files(path, reading.report):
        data = _read(file, reading.report)
        if data is not None:
            reading.add(data, str(file))
    return reading.result()


def parse(data: bytes, file: str = "<text>") -> Config:
    """The configuration that the bytes of one file say. Raises ConfigError and nothing else."""
    reading = _Reading()
    reading.add(data, file)
    return reading.result()


def difference(old: Config, new: Config) -> Difference:
    """Which resources a reload adds, changes and removes."""
    before = {resource.name: resource for resource in old.resources}
    after = {resource.name: resource for resource in new.resources}
    return Difference(
        added=tuple(name for name in after if name not in before),
        changed=tuple(name for name in after if name in before and after[name] != before[name]),
        removed=tuple(name for name in before if name not in after),
    )


def _files(path: Path, report: Report) -> tuple[Path, ...]:
    try:
        if not path.is_dir():
            return (path,)
        # What begins with a dot is an editor's, or the ..data of a mounted ConfigMap.
        found = [file for file in path.iterdir() if not file.name.startswith(".")]
    except OSError as error:
        report.error(Place(str(path)), f"cannot look into it: {error.strerror}")
        return ()
    return tuple(sorted(file for file in found if file.suffix in {".yaml", ".yml"}))


def _read(file: Path, report: Report) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError as error:
        hint = "write it, or name another" if isinstance(error, FileNotFoundError) else ""
        report.error(Place(str(file)), f"cannot read the file: {error.strerror}", hint)
        return None
    except ValueError as error:
        report.error(Place(str(file)), f"cannot read the file: {error}")
        return None


@dataclass(slots=True)
class _Reading:
    """One load: what the files said so far."""

    report: Report = field(default_factory=Report)
    resources: list[tuple[Resource, Fields]] = field(default_factory=list[tuple[Resource, Fields]])
    sections: dict[str, Place] = field(default_factory=dict[str, Place])
    kubelet: KubeletOptions = _KUBELET
    volumes: VolumeOptions | None = None
    network: NetworkOptions | None = None

    def add(self, data: bytes, file: str) -> None:
        """Take in one file."""
        try:
            root = read_document(data, file, self.report)
        except ConfigError:
            return
        if isinstance(root, Table):
            self._add_table(root)
        elif root is not None:
            hint = "it begins with resources:, volumes:, network: or kubelet:"
            self.report.error(root.place, f"the file is a mapping, not {kind_of(root)}", hint)

    def _add_table(self, root: Table) -> None:
        # x-... is where people put what they repeat with anchors.
        known = {key: one for key, one in root.entries.items() if not key.startswith("x-")}
        fields = Fields(Table(root.place, known), self.report, "the configuration")
        fields.sections("resources", self._read_resource)
        for key in ("kubelet", "volumes", "network"):
            if fields.has(key):
                self._note_section(key, known[key])
        self.kubelet = fields.section("kubelet", read_kubelet, self.kubelet)
        self.volumes = fields.section("volumes", read_volumes, self.volumes)
        self.network = fields.section("network", read_network, self.network)
        fields.finish()

    def _note_section(self, key: str, entry: Entry) -> None:
        first = self.sections.setdefault(key, entry.key_place)
        if first != entry.key_place:
            hint = f"it stands in {first.file}, line {first.line}"
            self.report.error(entry.key_place, f"{key} stands in two files", hint)

    def _read_resource(self, fields: Fields) -> Resource:
        resource = read_resource(fields)
        self.resources.append((resource, fields))
        return resource

    def result(self) -> Config:
        """The whole configuration. Raises ConfigError."""
        _check_names(self.resources, self.report)
        self.report.refuse_if_wrong()
        warn_of_collisions(self.resources, self.report)
        return Config(
            tuple(resource for resource, _ in self.resources),
            self.kubelet,
            self.volumes,
            self.network,
            self.report.problems,
        )


def _check_names(resources: Sequence[tuple[Resource, Fields]], report: Report) -> None:
    seen: dict[ResourceName, Place] = {}
    if len(resources) > MOST_RESOURCES:
        place = resources[MOST_RESOURCES][1].table.place
        message = f"there are {len(resources)} resources, {MOST_RESOURCES} are allowed"
        report.error(place, message, "describe more with one selector")
    for resource, fields in resources:
        place = fields.place("name")
        first = seen.setdefault(resource.name, place)
        if resource.name and first != place:
            hint = f"it stands in {first.file}, line {first.line}; merge the two, or rename one"
            report.error(place, f"the resource {resource.name} is configured twice", hint)
