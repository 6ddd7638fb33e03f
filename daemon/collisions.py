"""Warnings about what two resources would both give to a container that asks for both."""

from collections.abc import Mapping, Sequence

from daemon.document import Table
from daemon.fields import Fields
from daemon.problem import Place, Report, shown
from ringbolt.devices.qualifiers import Qualifiers, qualify
from ringbolt.devices.resource import Resource


def warn_of_collisions(resources: Sequence[tuple[Resource, Fields]], report: Report) -> None:
    """Note every name and path that a resource does not get because an earlier one has it.

    The kubelet keeps the first and says so only in its log, so `qualifiers` renames the later one.
    """
    qualified = qualify([resource for resource, _ in resources])
    for resource, fields in resources:
        mine = qualified[resource.name]
        _warn_of_names(fields, "env", mine.env, report)
        _warn_of_names(fields, "annotations", mine.annotations, report)
        _warn_of_paths(resource, fields, mine, report)


def _warn_of_names(fields: Fields, section: str, given: Mapping[str, str], report: Report) -> None:
    for name, new in given.items():
        if name != new:
            place = _place(fields, section, name)
            _warn(report, place, f"{section} {shown(name)}", f"is called {shown(new)}")


def _warn_of_paths(resource: Resource, fields: Fields, mine: Qualifiers, report: Report) -> None:
    path = resource.container.path
    if path is not None and mine.suffixes.get(path):
        place = _place(fields, "container", "path")
        appears = f"becomes {shown(path + mine.suffixes[path])}"
        _warn(report, place, f"container path {shown(path)}", appears)
    for mount in resource.mounts:
        if suffix := mine.suffixes.get(mount.container):
            appears = f"becomes {shown(mount.container + suffix)}"
            _warn(report, fields.place("mounts"), f"mount at {shown(mount.container)}", appears)


def _warn(report: Report, place: Place, what: str, becomes: str) -> None:
    message = f"an earlier resource has the same {what}: this one {becomes}"
    report.warning(place, message, "give them different names to choose for yourself")


def _place(fields: Fields, section: str, key: str) -> Place:
    inner = fields.table.entries[section].value
    return inner.entries[key].key_place if isinstance(inner, Table) else inner.place
