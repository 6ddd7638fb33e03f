"""`ringbolt explain`: why a device is served or not, what a pod has, what a volume or path is.

What is said of a device is here, of a pod in `explain_pod`, of volumes in `explain_volume`.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from daemon.command_options import (
    CNI_CONF_DIR,
    CONFIG,
    KUBELET_DIR,
    OUTPUT_TEXT,
    RUN_DIR,
    STATE_DIR,
)
from daemon.refusal import telling_refusals
from daemon.showing import show
from daemon.survey import survey
from ringbolt.devices import explain as room
from ringbolt.devices.clauses import Finding
from ringbolt.devices.device import Device, Snapshot, device_of
from ringbolt.devices.resource import Resource
from ringbolt.devices.tree import Node, SysPath


@click.group()
def explain() -> None:
    """Say why something is as it is."""


@explain.command()
@click.argument("which", metavar="NODE|ID")
@CONFIG
@KUBELET_DIR
@STATE_DIR
def device(which: str, config: Path, kubelet_dir: Path, state_dir: Path) -> None:
    """Explain a device. Name it by /dev node, link, sysfs path, kernel name or device id."""
    with telling_refusals():
        found = survey(config, kubelet_dir, state_dir)
    lines = list(describe(found.snapshot, which))
    for line in (*lines, *_notes(found.lacks)):
        click.echo(line, err=not lines)
    if not lines:
        click.echo(
            f"ringbolt explain: {which}: no such device node, link, sysfs path or device id; "
            "`ringbolt devices --all` lists them",
            err=True,
        )
        sys.exit(1)


@explain.command()
@click.argument("which", metavar="NAMESPACE/NAME|NAME|CONTAINER-ID|ADDRESS")
@RUN_DIR
@CNI_CONF_DIR
@OUTPUT_TEXT
def pod(which: str, run_dir: Path, cni_conf_dir: Path, output: str) -> None:
    """Explain a pod's network: every kernel object that it has, and what is amiss."""
    from daemon import explain_pod, pods_command  # noqa: PLC0415 - a device needs none of it

    found, lacks = pods_command.look(run_dir, cni_conf_dir)
    asked = explain_pod.find(found, which)
    if not asked:
        for line in (*explain_pod.describe_unknown(found, which), *_notes(lacks)):
            click.echo(line if line.startswith(" ") else f"ringbolt explain: {line}", err=True)
        sys.exit(1)
    rows = [explain_pod.explain(one) for one in asked]
    if output != "text":
        show({"attachments": rows, "lacks": lacks}, output)
        return
    for line in (*(line for row in rows for line in explain_pod.describe(row)), *_notes(lacks)):
        click.echo(line)


@explain.command()
@click.argument("which", metavar="ID|NAME|NAMESPACE/NAME")
@RUN_DIR
@STATE_DIR
@KUBELET_DIR
@OUTPUT_TEXT
def volume(which: str, output: str, **places: Path) -> None:
    """Explain a volume: where it is mounted, for whom, by which rule, who uses it."""
    from daemon import explain_volume, volumes_command  # noqa: PLC0415
    from ringbolt.volumes.paths import Places  # noqa: PLC0415
    from ringbolt.volumes.tracing import trace_volume  # noqa: PLC0415

    found, ground, lacks = volumes_command.look(Places(**places))
    asked = explain_volume.find(found, which)
    if not asked:
        for line in (*explain_volume.describe_unknown(found, which), *_notes(lacks)):
            click.echo(line if line.startswith(" ") else f"ringbolt explain: {line}", err=True)
        sys.exit(1)
    rows = [explain_volume.explained(trace_volume(ground, one)) for one in asked]
    if output != "text":
        show({"volumes": rows, "lacks": lacks}, output)
        return
    for line in (*(line for row in rows for line in explain_volume.describe(row)), *_notes(lacks)):
        click.echo(line)


@explain.command()
@click.argument("which", metavar="PATH")
@RUN_DIR
@STATE_DIR
@KUBELET_DIR
@OUTPUT_TEXT
def path(which: str, output: str, **places: Path) -> None:
    """Explain a path: which mount it lies on, of which volume, for whom."""
    from daemon import explain_volume, volumes_command  # noqa: PLC0415
    from ringbolt.volumes.paths import Places  # noqa: PLC0415
    from ringbolt.volumes.tracing import trace_path, trace_volume  # noqa: PLC0415

    found, ground, lacks = volumes_command.look(Places(**places))
    row = explain_volume.path_row(trace_path(ground, found, which))
    asked = explain_volume.find(found, row["volume"]) if row["volume"] else []
    rows = [explain_volume.explained(trace_volume(ground, one)) for one in asked]
    if output != "text":
        show({"path": row, "volumes": rows, "lacks": lacks}, output)
        return
    lines = (line for one in rows for line in explain_volume.describe(one))
    for line in (*explain_volume.describe_path(row), *lines, *_notes(lacks)):
        click.echo(line)


def _notes(lacks: Iterable[str]) -> Iterator[str]:
    return (f"note: {lack}" for lack in lacks)


def describe(snapshot: Snapshot, which: str) -> Iterator[str]:
    """What is to be said of the node or device, line by line; nothing where there is none."""
    for node in _nodes(snapshot, which):
        yield from _describe(node)
        if not snapshot.resources:
            yield "  no resource is configured"
        for resource in snapshot.resources.values():
            yield from _judge(snapshot, resource, node)
    yield from _plain(snapshot, which)


def _nodes(snapshot: Snapshot, which: str) -> Iterator[Node]:
    by_id = {
        SysPath(path)
        for device in _devices(snapshot)
        if device.id == device_of(which)
        for path in device.matched
    }
    asked = {which, which.removeprefix("/sys"), *_behind(which)}
    for node in snapshot.tree:
        names = (node.dev_node, *node.links, node.sys_path, node.kernel)
        if not asked.isdisjoint(names) or node.sys_path in by_id:
            yield node


def _behind(which: str) -> Iterator[str]:
    """Where a path leads: /sys/class and our stable links are links that udev knows nothing of."""
    if which.startswith("/"):
        real = os.path.realpath(which)
        yield from (real, real.removeprefix("/sys"))


def _describe(node: Node) -> Iterator[str]:
    yield f"{node.dev_node or node.sys_path}"
    facts = {
        "subsystem": node.subsystem,
        "devtype": node.devtype,
        "driver": node.driver,
        "links": " ".join(node.links),
        "sysfs": node.sys_path,
    }
    for name, fact in facts.items():
        if fact:
            yield f"  {name}: {fact}"
    if not node.initialized:
        yield "  udev has not finished with it yet: it is left aside until then"


def _judge(snapshot: Snapshot, resource: Resource, node: Node) -> Iterator[str]:
    explanation = room.explain(resource, node, snapshot.tree)
    serving = [d for d in snapshot.devices[resource.name] if node.sys_path in d.matched]
    if explanation.taken:
        term = explanation.selected_by
        yield f"  {resource.name}: taken by select[{term.index if term else 0}]"
        yield from _outcome(serving)
        return
    if explanation.excluded_by:
        yield f"  {resource.name}: left out by not[{explanation.excluded_by.index}]"
        yield from _findings(explanation.excluded_by.findings, "    ")
        return
    yield f"  {resource.name}: not taken"
    for device in snapshot.devices[resource.name]:
        if any(member.sys_path == node.sys_path for member in device.members):
            yield f"    but given with device {device.id}, as part of its group"
    for judged in explanation.select:
        yield f"    select[{judged.index}] fails"
        yield from _findings(judged.failures, "      ")


def _outcome(serving: Iterable[Device]) -> Iterator[str]:
    offered = False
    for device in serving:
        offered = True
        nodes = " ".join(member.dev_node for member in device.members)
        yield f"    device {device.id} ({device.state.value}), gives {nodes}"
    if not offered:
        yield "    not offered: nothing to hand over (see `inject` and `group`)"


def _findings(findings: Iterable[Finding], indent: str) -> Iterator[str]:
    for finding in findings:
        mark = "holds" if finding.holds else "fails"
        found = finding.found or "nothing"
        yield f"{indent}{finding.clause}: wanted {finding.wanted}, found {found}: {mark}"
        yield from _findings(finding.nested, f"{indent}  ")


def _plain(snapshot: Snapshot, which: str) -> Iterator[str]:
    for device in _devices(snapshot):
        paths = [member.dev_node for member in device.members]
        if device.anchor is None and (which in paths or device.id == device_of(which)):
            yield f"{' '.join(paths)}"
            yield f"  {device.resource}: taken as a plain path, device {device.id}"


def _devices(snapshot: Snapshot) -> Iterator[Device]:
    for devices in snapshot.devices.values():
        yield from devices
