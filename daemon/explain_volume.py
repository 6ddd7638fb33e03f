"""What `ringbolt explain volume` and `explain path` say: for programs, and for people by lines."""

import difflib
from collections.abc import Iterator

from daemon.pods_command import age
from daemon.volumes_command import size
from daemon.volumes_report import Row, volume
from ringbolt.linux.mount import MountPoint
from ringbolt.volumes.inspection import Inspected, Inspection
from ringbolt.volumes.mount_options import option_name
from ringbolt.volumes.policy import Judged
from ringbolt.volumes.tracing import PathTrace, Place, Traced

_CLOSE = 3


def find(found: Inspection, which: str) -> list[Inspected]:
    """The volumes that go by this name."""
    return [one for one in found.volumes if which in names(one)]


def names(one: Inspected) -> frozenset[str]:
    """All that a volume may be called."""
    asked = one.status.volume
    full = f"{asked.namespace}/{one.name}" if asked and one.name else ""
    return frozenset(filter(None, (str(one.status.volume_id), one.name, full)))


def describe_unknown(found: Inspection, which: str) -> Iterator[str]:
    """What is known instead."""
    yield f"{which}: no such volume; `ringbolt volumes` lists them"
    known = sorted({name for one in found.volumes for name in names(one)})
    if close := difflib.get_close_matches(which, known, n=_CLOSE):
        yield f"  did you mean {' or '.join(close)}?"


def explained(one: Traced) -> Row:
    """A volume for programs: as `ringbolt volumes` has it, and all that is behind it."""
    asked = one.inspected.status.volume
    return volume(one.inspected) | {
        "options": [option_name(each) for each in asked.options] if asked else [],
        "subdir": asked.subdir if asked else "",
        "backing": one.backing or None,
        "places": [_place(each) for each in one.places],
        "rules": [_rule(each) for each in one.rules],
        "namespaces": [
            {
                "namespace": each.namespace,
                "pid": each.pid,
                "command": each.command,
                "targets": [point.target for point in each.points],
            }
            for each in one.showers
        ],
        "openers": [
            {"pid": each.pid, "command": each.command, "files": each.files} for each in one.users
        ],
    }


def _place(one: Place) -> Row:
    tenant = one.published.publication.tenant if one.published else None
    return {
        "target": one.target,
        "pod": f"{tenant.namespace}/{tenant.pod}" if tenant else None,
        "mounts": [_mount(point) for point in one.points],
        "guarded": one.guarded,
        "wantedFlags": list(one.wanted) if one.wanted is not None else None,
        "flags": list(one.has),
    }


def _mount(point: MountPoint) -> Row:
    return {
        "id": point.mount_id,
        "device": f"{point.device[0]}:{point.device[1]}",
        "type": point.fstype,
        "source": point.source,
        "root": point.root,
        "target": point.target,
        "options": sorted(point.options),
        "superOptions": sorted(point.super_options),
    }


def _rule(one: Judged) -> Row:
    return {"number": one.number, "allows": not one.reason, "reason": one.reason}


def path_row(one: PathTrace) -> Row:
    """A path for programs."""
    return {
        "path": one.path,
        "resolved": one.resolved,
        "mount": _mount(one.point) if one.point else None,
        "stacked": one.stacked,
        "backing": one.backing or None,
        "volume": str(one.volume_id) if one.volume_id else None,
        "role": one.role,
    }


def describe_path(row: Row) -> Iterator[str]:
    """The same for people."""
    yield row["path"] if row["path"] == row["resolved"] else f"{row['path']} -> {row['resolved']}"
    if point := row["mount"]:
        yield f"  lies on {point['target']}: {_mounted(point)}"
        if row["backing"]:
            yield f"  which is the file {row['backing']}"
        if row["stacked"] > 1:
            yield f"  amiss: {row['stacked']} mounts lie on each other there"
    if row["volume"]:
        yield f"  of the volume {row['volume']}: {row['role']}"
    else:
        yield "  it is none of Ringbolt's"


def _mounted(point: Row) -> str:
    root = "" if point["root"] == "/" else f", its {point['root']}"
    return f"{point['type']} {point['source']}{root} ({','.join(point['options'])})"


def describe(row: Row) -> Iterator[str]:
    """A volume for people, line by line."""
    name = "/".join(filter(None, (row["namespace"], row["name"]))) or "nothing is remembered of it"
    yield f"{row['id']}: {name}"
    for one in row["ailments"]:
        yield f"  amiss: {one['what']}: {one['toDo']}"
    if row["sizeBytes"] is not None:
        yield f"  size: {size(row['sizeBytes'])}, used {size(row['usedBytes'])}"
    if row["device"]:
        yield f"  device: {row['device']}{' over ' + row['backing'] if row['backing'] else ''}"
    if row["options"]:
        yield f"  options: {','.join(row['options'])}"
    if row["lock"]:
        yield f"  under way: {row['lock']['call']}, for {age(row['lock']['ageSeconds'])}"
    for one in row["places"]:
        yield from _describe_place(one)
    yield from _describe_rules(row["rules"])
    for one in row["namespaces"]:
        who = f"{one['command'] or '?'} (pid {one['pid']}) and what shares its mounts"
        yield f"  seen by {who}: {' '.join(one['targets'])}"
    for one in row["openers"]:
        yield f"  open: {one['files']} files by {one['command'] or '?'} (pid {one['pid']})"


def _describe_place(one: Row) -> Iterator[str]:
    who = f"for {one['pod']}" if one["pod"] else "staged"
    if not one["mounts"]:
        yield f"  {who} at {one['target']}: not mounted"
    for depth, point in enumerate(reversed(one["mounts"])):
        under = "under that " if depth else f"{who} at {one['target']}: "
        yield f"  {under}{_mounted(point)}"
    if one["wantedFlags"] is not None and one["mounts"] and one["wantedFlags"] != one["flags"]:
        yield f"    amiss: {','.join(one['wantedFlags'])} is wanted, not {','.join(one['flags'])}"
    if one["guarded"] is False:
        yield "    not guarded: should the mount go, pods would write to the host"


def _describe_rules(rules: list[Row]) -> Iterator[str]:
    for one in rules:
        if one["allows"]:
            yield f"  rule {one['number']} of volumes.allow gives it"
            return
        yield f"  rule {one['number']} of volumes.allow does not: {one['reason']}"
    if rules:
        yield "  no rule gives it any more: it stays until it is unmounted"
