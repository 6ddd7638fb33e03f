"""Who may have which volumes: rules of the node's operator over what a pod asks for. Pure.

Nothing is allowed without a rule. Whoever wrote the pod is not trusted: paths must lie below the
operator's roots, options must be harmless or allowed by name.
"""

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from ringbolt.volumes.errors import RefusedError
from ringbolt.volumes.helper import Helper
from ringbolt.volumes.mount_options import Options, always, option_name, parse_options
from ringbolt.volumes.spec import (
    Device,
    Directory,
    Image,
    Kind,
    Overlay,
    Tmpfs,
    is_ephemeral,
    size_of,
)
from ringbolt.volumes.volume import Tenant, Volume


@dataclass(frozen=True, slots=True)
class Rule:
    """What pods of the namespaces (globs) may have.

    `max_size` in bytes, None is no limit. `options` are globs over mount options that are allowed
    beside the harmless ones. `readonly`: they may only read. `trusted`: they may ask for `suid` and
    `dev`, which give a volume's setuid programs and device nodes their meaning. `devices` are globs
    over `serial=...`, `wwn=...` and so on, that device volumes must be named by. `roots` are those
    of the policy's, or directories in them, that paths of the host must lie in; none is all.
    """

    kinds: frozenset[Kind]
    namespaces: tuple[str, ...] = ("*",)
    max_size: int | None = None
    options: tuple[str, ...] = ()
    readonly: bool = False
    trusted: bool = False
    devices: tuple[str, ...] = ("*",)
    roots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """`roots` are the host's directories that volumes made of host paths may lie in.

    `helpers` are the programs that may serve `fuse` volumes.
    """

    roots: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    helpers: tuple[Helper, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """The volume as it is allowed: sizes filled in, read-only where the rule demands it.

    `attributes` are MOUNT_ATTR_* of each of its mounts, `options` the superblock's. `max_size` is
    what a volume may have that is made without a size asked for; of one that exists its own holds.
    """

    volume: Volume
    attributes: int
    options: tuple[str, ...]
    max_size: int | None


def permit(policy: Policy, volume: Volume, tenant: Tenant, harmless: frozenset[str]) -> Grant:
    """What the first rule that allows it grants; `harmless` are options of its kind.

    Each is a name, or a name with the one value that is harmless.

    Raises RefusedError with the reason of every rule that is about the kind and namespace.
    """
    options = parse_options(volume.options)
    if volume.namespace != tenant.namespace:
        raise RefusedError(f"pods of {tenant.namespace} may not have volumes of {volume.namespace}")
    if where := _outside(policy, volume):
        raise RefusedError(where)
    reasons: list[str] = []
    for rule in policy.rules:
        if volume.kind not in rule.kinds or not _names(rule.namespaces, tenant.namespace):
            continue
        reason = _objection(rule, volume, options, harmless)
        if not reason:
            return _granted(rule, volume, options)
        if reason not in reasons:
            reasons.append(reason)
    raise RefusedError(
        "; ".join(reasons)
        or f"no rule of volumes.allow gives {volume.kind.value} volumes to {tenant.namespace}"
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """What one rule says; `number` counts from 1. Empty `reason`: it allows it."""

    number: int
    rule: Rule
    reason: str


def judge(
    policy: Policy, volume: Volume, tenant: Tenant, harmless: frozenset[str]
) -> tuple[Judged, ...]:
    """What every rule says of it, also of what is refused whatever the rules say."""
    options = parse_options(volume.options)
    found: list[Judged] = []
    for number, rule in enumerate(policy.rules, 1):
        if volume.kind not in rule.kinds:
            reason = f"it is not about {volume.kind.value} volumes"
        elif not _names(rule.namespaces, tenant.namespace):
            reason = f"it is not about the namespace {tenant.namespace}"
        else:
            where = _outside(policy, volume)
            reason = where or _objection(rule, volume, options, harmless)
        found.append(Judged(number, rule, reason))
    return tuple(found)


def _names(globs: tuple[str, ...], text: str) -> bool:
    return any(fnmatchcase(text, glob) for glob in globs)


def _outside(policy: Policy, volume: Volume) -> str:
    """Why a path of the host is out of bounds; empty if it is not."""
    path = host_path(volume)
    if path and root_of(policy.roots, path) is None:
        return f"{path} is below none of volumes.roots"
    return ""


def host_path(volume: Volume) -> str:
    """What of the host a volume is made of; empty: nothing."""
    match volume.spec:
        case Directory(path=path) | Image(path=path):
            return path
        case Overlay(lower=lower):
            return lower or ""
        case _:
            return ""


def root_of(roots: tuple[str, ...], path: str) -> str | None:
    """The innermost root that a path is or lies below."""
    found = [root for root in roots if path == root or path.startswith(root.rstrip("/") + "/")]
    return max(found, key=len, default=None)


def _objection(rule: Rule, volume: Volume, options: Options, harmless: frozenset[str]) -> str:
    size = size_of(volume.spec)
    if rule.max_size is not None and size is not None and size > rule.max_size:
        return f"{size} bytes are more than the {rule.max_size} that volumes.allow gives"
    spec = volume.spec
    if isinstance(spec, Device) and not _names(rule.devices, f"{spec.key.value}={spec.value}"):
        return f"volumes.allow gives no device of {spec.key.value} {spec.value!r}"
    path = host_path(volume)
    if path and rule.roots and root_of(rule.roots, path) is None:
        return f"{path} is below none of the roots that volumes.allow gives"
    if options.trust and not rule.trusted:
        return "the options suid and dev need a rule that is trusted"
    for option in options.superblock:
        safe = option in harmless or option_name(option) in harmless
        if not safe and not _names(rule.options, option):
            return f"mount option {option_name(option)} is not allowed for {volume.kind.value}"
    return ""


def _granted(rule: Rule, volume: Volume, options: Options) -> Grant:
    spec = volume.spec
    readonly = volume.readonly or rule.readonly or options.readonly or isinstance(spec, Image)
    # What a kind makes without a size would be limited by nothing else.
    if isinstance(spec, Tmpfs | Overlay) and is_ephemeral(spec) and spec.size is None:
        spec = replace(spec, size=rule.max_size)
    attributes = always(volume.block) & ~options.trust | options.attributes
    granted = replace(volume, spec=spec, readonly=readonly)
    return Grant(granted, attributes, options.superblock, rule.max_size)
