"""The schema of `resources:`: from the elements of a document to frozen Resources.

One function per mapping; keys, limits and defaults are read off here. What a single text may be is
in `scalars`, the selector language in `ringbolt.devices.grammar`.
"""

from dataclasses import replace

from daemon.document import Element, locate, plain
from daemon.fields import Fields
from daemon.problem import Place, ScalarError
from daemon.scalars import (
    duration,
    one_of,
    parse_absolute,
    parse_annotation_key,
    parse_container_path,
    parse_env_name,
    parse_flag,
    parse_group,
    parse_injected,
    parse_mode,
    parse_mount_path,
    parse_owner,
    parse_permissions,
    parse_resource_name,
    parse_template,
    parse_text,
    whole,
)
from ringbolt.devices.grammar import Fault, parse_terms
from ringbolt.devices.pattern import Pattern, PatternError, parse_pattern
from ringbolt.devices.resource import (
    Check,
    Container,
    Group,
    Health,
    MountEntry,
    Policy,
    PreStart,
    Resource,
    ResourceName,
)
from ringbolt.devices.selector import Term

MOST_SHARES = 10_000
_MANY_SHARES = 2_000
_SHORTEST_INTERVAL_S = 30.0
_DAY_S = 86_400.0
_PRESTART_LIMIT_S = 28.0
_NAMELESS = ResourceName("")


def read_resource(fields: Fields) -> Resource:
    """One entry of `resources`."""
    fields.require("name", "select")
    inject, companions = _split_inject(fields.scalars("inject", parse_injected))
    resource = Resource(
        name=fields.scalar("name", parse_resource_name, _NAMELESS),
        select=_terms(fields, "select"),
        exclude=_terms(fields, "not"),
        group=fields.scalar("group", parse_group, None),
        inject=inject,
        companions=companions,
        container=fields.section("container", _read_container, Container()),
        env=fields.pairs("env", parse_env_name, parse_template),
        mounts=fields.sections("mounts", _read_mount),
        annotations=fields.pairs("annotations", parse_annotation_key, parse_template),
        share=fields.scalar("share", whole(1, MOST_SHARES), 1),
        allocate=fields.scalar("allocate", one_of(Policy), Policy.PACKED),
        health=fields.section("health", _read_health, Health()),
        prestart=fields.section("prestart", _read_prestart, None),
    )
    _warn(resource, fields)
    return resource


def _split_inject(given: tuple[str, ...]) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Subsystems, None if there are none, and the paths that come with every device."""
    subsystems = tuple(word for word in given if not word.startswith("/"))
    return subsystems or None, tuple(word for word in given if word.startswith("/"))


def _terms(fields: Fields, key: str) -> tuple[Term, ...]:
    element = fields.take(key)
    if element is None:
        return ()
    terms, faults = parse_terms(plain(element))
    for fault in faults:
        place = _place_of(fault, element)
        fields.report.error(place, fault.message, fault.hint)
    return terms


def _place_of(fault: Fault, element: Element) -> Place:
    return locate(element, fault.place, at_key=fault.at_key)


def _warn(resource: Resource, fields: Fields) -> None:
    """Note what is allowed and yet probably not meant."""
    if resource.inject and resource.group == Group():
        fields.report.warning(
            fields.place("inject"),
            "inject finds nothing to add while each node is a device of its own",
            "add group: parent usb_device, or another way to group nodes",
        )
    if resource.share > _MANY_SHARES:
        fields.report.warning(
            fields.place("share"),
            f"{resource.share} shares of each device make long lists, and the kubelet refuses "
            "lists beyond 4 MiB (about 40,000 entries over all devices of the resource)",
            "lower share if there are many devices",
        )


def _read_container(fields: Fields) -> Container:
    return Container(
        path=fields.scalar("path", parse_container_path, None),
        permissions=fields.scalar("permissions", parse_permissions, "rw"),
        mode=fields.scalar("mode", parse_mode, None),
        uid=fields.scalar("uid", parse_owner, None),
        gid=fields.scalar("gid", parse_owner, None),
    )


def _read_mount(fields: Fields) -> MountEntry:
    fields.require("host", "container")
    container = fields.scalar("container", parse_mount_path, "")
    if container == "/":
        message = "a mount cannot cover the container's root"
        fields.report.error(fields.place("container"), message, "mount below it")
    return MountEntry(
        host=fields.scalar("host", parse_mount_path, ""),
        container=container,
        readonly=fields.scalar("readonly", parse_flag, default=False),
    )


def _read_health(fields: Fields) -> Health:
    why = "nothing is looked at more often than every 30s"
    health = Health(
        check=fields.scalar("check", one_of(Check), Check.STAT),
        interval_s=fields.scalar("interval", duration(_SHORTEST_INTERVAL_S, _DAY_S, why), 60.0),
        failures=fields.scalar("failures", whole(1, 100), 3),
        recoveries=fields.scalar("recoveries", whole(1, 100), 2),
        timeout_s=fields.scalar("timeout", duration(0.1, 30), 5.0),
        attributes=fields.pairs("attributes", _parse_attribute_name, _parse_attribute_pattern),
        command=_read_command(fields),
    )
    _check_companion(fields, health.check is Check.SYSFS, "attributes", "sysfs")
    _check_companion(fields, health.check is Check.COMMAND, "command", "command")
    return health


def _check_companion(fields: Fields, wanted: bool, key: str, check: str) -> None:  # noqa: FBT001
    """Note a check that lacks what it needs, or a key that its check does not use."""
    if wanted and not fields.has(key):
        fields.report.error(fields.place("check"), f"check: {check} needs {key}", f"add {key}:")
    if not wanted and fields.has(key):
        message = f"{key} is only used with check: {check}"
        fields.report.error(fields.place(key), message, f"write check: {check}, or remove {key}")


def _parse_attribute_name(text: str) -> str:
    parts = text.split("/")
    if not all(parts) or ".." in parts or "\0" in text:
        raise ScalarError("this is no attribute name", "it is a file in the device's own folder")
    return text


def _parse_attribute_pattern(text: str) -> Pattern:
    try:
        return parse_pattern(text)
    except PatternError as error:
        raise ScalarError(str(error)) from None


def _read_command(fields: Fields) -> tuple[str, ...]:
    """An argument list whose first is an absolute path: no shell and no search come in between."""
    command = fields.scalars("command", parse_text)
    if command:
        try:
            parse_absolute(command[0])
        except ScalarError as error:
            hint = "write it as in [/usr/bin/test, -e, /dev/x]"
            fields.report.error(fields.place("command"), str(error), hint)
    return command


def _read_prestart(fields: Fields) -> PreStart | None:
    prestart = PreStart(
        occupancy=fields.scalar("occupancy", parse_flag, default=False),
        usb_reset=fields.scalar("usb_reset", parse_flag, default=False),
        settle_s=fields.scalar("settle", duration(0, _PRESTART_LIMIT_S), 0.0),
        command=_read_command(fields),
        timeout_s=fields.scalar(
            "timeout",
            duration(1, _PRESTART_LIMIT_S, "the kubelet gives up after 30s"),
            25.0,
        ),
    )
    if not fields.table.entries.keys() - {"timeout"}:
        hint = "set occupancy, usb_reset, settle or command, or remove it"
        fields.report.error(fields.table.place, "prestart asks for nothing", hint)
    if prestart.settle_s >= prestart.timeout_s:
        message = "settle lasts as long as the whole timeout"
        fields.report.error(fields.place("settle"), message, "make it shorter than timeout")
    asks = replace(prestart, timeout_s=PreStart().timeout_s) != PreStart()
    return prestart if asks else None
