"""Values that a configuration writes as one text: names, numbers, durations, sizes, modes, paths.

Each `parse_` function is pure, takes the text as it was written and raises ScalarError.
"""

import enum
import ipaddress
import re
from collections.abc import Callable
from typing import TypeVar

from daemon.problem import ScalarError, shown
from ringbolt.devices import template
from ringbolt.devices.grammar import suggestion
from ringbolt.devices.resource import Group, GroupBy, ResourceName

E = TypeVar("E", bound=enum.Enum)

LONGEST_PATH = 4095
"""Bytes in a path (PATH_MAX without its end)."""

_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})
_DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")
_NAME = re.compile(r"[A-Za-z0-9](?:[-_.A-Za-z0-9]*[A-Za-z0-9])?")
_LONGEST_PREFIX = 253 - len("requests.")
_LONGEST_NAME = 63
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_WORD = re.compile(r"[A-Za-z0-9_.:-]+")
_DURATION = re.compile(
    r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6}(?:\.\d{1,3})?)s)?(?:(\d{1,6})ms)?"
)
_SIZE = re.compile(r"(\d{1,15})([kKMGTP]i?)?")
_LARGEST_SIZE = (1 << 63) - 1
_LARGEST_ID = (1 << 32) - 2


def parse_text(text: str) -> str:
    """Any text without a NUL."""
    if "\0" in text:
        raise ScalarError("a text must not contain a NUL character")
    return text


def parse_flag(text: str) -> bool:
    """True or false; YAML's other words for them are understood."""
    word = text.lower()
    if word in _TRUE | _FALSE:
        return word in _TRUE
    raise ScalarError(f"{shown(text)} is neither true nor false")


def whole(least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,19}", text):
            raise ScalarError(f"{shown(text)} is no whole number")
        if re.fullmatch(r"-?0[0-9]+", text):
            hint = f"write {int(text)}"
            raise ScalarError(f"{text} begins with 0, which some read as octal", hint)
        number = int(text)
        if not least <= number <= most:
            raise ScalarError(f"{number} is not within {least} to {most}")
        return number

    return parse


parse_owner = whole(0, _LARGEST_ID)
"""A user or group id."""


def one_of(kind: type[E]) -> Callable[[str], E]:
    """A parser of the values of an enumeration."""

    def parse(text: str) -> E:
        values = [str(member.value) for member in kind]
        if text in values:
            return kind(text)
        known = ", ".join(values)
        hint = suggestion(text, values)
        raise ScalarError(f"{shown(text)} is none of {known}", hint if "mean" in hint else "")

    return parse


def duration(least_s: float, most_s: float, why: str = "") -> Callable[[str], float]:
    """A parser of durations such as 30s, 5m, 1h30m or 500ms; the result is in seconds."""

    def parse(text: str) -> float:
        found = _DURATION.fullmatch(text)
        if not text or found is None:
            number = re.fullmatch(r"\d{1,6}", text)
            hint = f"write {text}s" if number else "write it as in 30s, 5m or 1h"
            raise ScalarError(f"{shown(text)} is no duration", hint)
        hours, minutes, seconds, millis = (float(part or 0) for part in found.groups())
        total = hours * 3600 + minutes * 60 + seconds + millis / 1000
        if not least_s <= total <= most_s:
            reason = f": {why}" if why else ""
            raise ScalarError(f"{text} is not within {least_s:g}s to {most_s:g}s{reason}")
        return total

    return parse


def parse_size(text: str) -> int:
    """Bytes, written as Kubernetes quantities are: 10Gi, 500M, 4096."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ScalarError(f"{shown(text)} is no size", "write it as in 512Mi, 10Gi or 4096")
    unit = found[2] or ""
    power = " KMGTP".index(unit[0].upper()) if unit else 0
    factor: int = (1024 if unit.endswith("i") else 1000) ** power
    number = int(found[1]) * factor
    if not 0 < number <= _LARGEST_SIZE:
        raise ScalarError(f"the size {text} is out of range", "it is at least 1 and below 8Ei")
    return number


def parse_mode(text: str) -> int:
    """Permission bits, octal however they are written: 0660, "0660" or 0o660."""
    found = re.fullmatch(r"0o?([0-7]{3})", text)
    if found:
        return int(found[1], 8)
    hint = "write read (4), write (2) and execute (1) for owner, group, others, as in 0660"
    if re.fullmatch(r"[0-7]{3}", text):
        hint = f"write 0{text}, so that nobody reads it as a decimal number"
    raise ScalarError(f"{shown(text)} is no file mode", hint)


def parse_permissions(text: str) -> str:
    """What the device cgroup allows: some of r (read), w (write) and m (make the node)."""
    if text and set(text) <= set("rwm") and len(set(text)) == len(text):
        return "".join(letter for letter in "rwm" if letter in text)
    raise ScalarError(f"{shown(text)} are no permissions", "write some of r, w and m, each once")


def parse_resource_name(text: str) -> ResourceName:
    """`<prefix>/<name>` by the kubelet's rule.

    Source: kubernetes pkg/apis/core/v1/helper/helpers.go, IsExtendedResourceName.
    """
    prefix, slash, name = text.partition("/")
    example = "write it as in ringbolt.dev/serial"
    if not slash:
        raise ScalarError(f"the resource name {shown(text)} has no prefix", example)
    if "kubernetes.io/" in text:
        raise ScalarError(f"the prefix of {shown(text)} belongs to Kubernetes", example)
    if text.startswith("requests."):
        raise ScalarError(f"{shown(text)} begins with requests., which quotas use", example)
    if len(prefix) > _LONGEST_PREFIX or not _SUBDOMAIN.fullmatch(prefix):
        rule = "it is lower case letters, digits, - and ., at most 244 of them"
        raise ScalarError(f"the prefix {shown(prefix)} is no domain name", rule)
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        rule = "after the slash stand letters, digits, -, _ and ., at most 63 of them"
        raise ScalarError(f"{shown(name)} is no name of a resource", rule)
    return ResourceName(text)


def parse_annotation_key(text: str) -> str:
    """`[prefix/]name` by Kubernetes' rule for annotations."""
    prefix, slash, name = text.rpartition("/")
    fits = not slash or (len(prefix) <= _LONGEST_PREFIX and _SUBDOMAIN.fullmatch(prefix))
    if fits and len(name) <= _LONGEST_NAME and _NAME.fullmatch(name):
        return text
    raise ScalarError(
        f"{shown(text)} is no key of an annotation", "write it as in example.org/name"
    )


def parse_env_name(text: str) -> str:
    """The name of an environment variable, by Kubernetes' rule."""
    if _ENV_NAME.fullmatch(text):
        return text
    rule = "write letters, digits, _, - and ., and no digit first"
    raise ScalarError(f"{shown(text)} is no name of an environment variable", rule)


def parse_word(text: str) -> str:
    """A name of the kernel, such as a subsystem."""
    if _WORD.fullmatch(text):
        return text
    raise ScalarError(f"{shown(text)} is no name of a subsystem", "write it as in tty or hidraw")


def parse_injected(text: str) -> str:
    """What is handed over: a subsystem of the group, or a path that comes with every device."""
    if text.startswith("/"):
        return parse_absolute(text)
    return parse_word(text)


def parse_group(text: str) -> Group:
    """`node`, `all`, `parent <devtype or subsystem>` or `property <NAME>`."""
    by, _, key = " ".join(text.split()).partition(" ")
    hint = "write node, all, parent usb_device or property ID_PATH"
    if by not in {one.value for one in GroupBy}:
        raise ScalarError(f"{shown(text)} is no way to group nodes", hint)
    group = Group(GroupBy(by), key)
    needs_key = group.by in {GroupBy.PARENT, GroupBy.PROPERTY}
    if needs_key != bool(key) or " " in key:
        wants = f"{by} takes one word after it" if needs_key else f"{by} stands alone"
        raise ScalarError(f"{shown(text)} is no way to group nodes: {wants}", hint)
    return group


def parse_absolute(text: str) -> str:
    """An absolute path that does not climb."""
    _check_path(text)
    if not text.startswith("/"):
        raise ScalarError(f"the path {shown(text)} is not absolute", "begin it with a slash")
    return text.rstrip("/") or "/"


def parse_container_path(text: str) -> str:
    """Where a node appears in the container: a template of an absolute path."""
    _parse_template(text, template.NODE_VARIABLES)
    path = parse_absolute(text)
    if path in {"/", "/dev", "/proc", "/sys"}:
        raise ScalarError(f"a device cannot appear at {path}", "write it as in /dev/serial{index}")
    return path


def parse_mount_path(text: str) -> str:
    """A path to mount: a template of an absolute path, or one that begins with a node's path."""
    _parse_template(text, template.VARIABLES)
    if text.startswith(("{host_path}", "{container_path}")):
        _check_path(text)
        return text
    return parse_absolute(text)


def parse_template(text: str) -> str:
    """A template with all variables, as its text."""
    _parse_template(parse_text(text), template.VARIABLES)
    return text


def parse_network(text: str) -> str:
    """A network in CIDR notation, without host bits."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        right = ipaddress.ip_network(text, strict=False)
    except ValueError:
        hint = "write it as in 10.244.0.0/24 or fd00:10:244::/64"
        raise ScalarError(f"{shown(text)} is no network", hint) from None
    raise ScalarError(f"{shown(text)} has bits set beyond its prefix", f"write {right}")


def parse_address(text: str) -> str:
    """An IPv4 or IPv6 address."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ScalarError(f"{shown(text)} is no IP address") from None


def _check_path(text: str) -> None:
    if not text.isprintable():
        raise ScalarError(f"the path {shown(text)} has control characters")
    if ".." in text.split("/"):
        raise ScalarError(f"the path {shown(text)} climbs with ..", "write where it leads to")
    if len(text.encode()) > LONGEST_PATH:
        raise ScalarError(f"the path has more than {LONGEST_PATH} bytes")


def _parse_template(text: str, variables: frozenset[str]) -> None:
    try:
        template.parse(text, variables)
    except template.TemplateError as error:
        message, _, hint = str(error).rpartition("; ")
        raise ScalarError(message or hint, hint if message else "") from None
