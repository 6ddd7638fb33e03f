"""docs/output.md names every key and every metric that programs are given, and no other."""

import re
from pathlib import Path

from daemon import report
from daemon.metrics import Metrics
from daemon.network_metrics import NetworkMetrics
from daemon.volume_metrics import VolumeMetrics
from ringbolt.devices.device import Device, DeviceId, Gone, Member, Snapshot, UnitId
from ringbolt.devices.resource import Resource, ResourceName
from ringbolt.devices.tree import Node, SysPath, Tree

TEXT = (Path(__file__).parents[3] / "docs/output.md").read_text()
NAME = ResourceName("lab.dev/a")
FREE = Node(SysPath("/devices/b"), "b", "tty", "", "", "/dev/b", (), frozenset(), {})
SNAPSHOT = Snapshot(
    1,
    Tree([FREE], lambda _path, _name: None),
    {NAME: Resource(NAME, ())},
    {NAME: (Device(DeviceId("a"), NAME, (Member("a", "/dev/a", "tty"),)),)},
    {NAME: (Gone(UnitId("c"), NAME, "unplugged"),)},
)


def told(beginning: str, end: str) -> set[str]:
    """The names in the first column of the tables between two texts."""
    part = TEXT.partition(beginning)[2].partition(end)[0]
    rows = re.findall(r"^\| (`.*?) \|", part, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_every_key_of_a_device_is_told() -> None:
    present, gone = report.rows(SNAPSHOT, {NAME: {UnitId("c"): "default/pod/main"}})
    assert present.keys() == gone.keys() == told("A device:", "An unserved node")
    for key in (*present["nodes"][0], *gone["heldBy"][0]):
        assert f"`{key}`" in TEXT


def test_every_key_of_an_unserved_node_is_told() -> None:
    (node,) = report.unserved(SNAPSHOT)
    line = TEXT.partition("An unserved node has")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", line)) == node.keys()


def test_every_metric_is_told() -> None:
    metrics = Metrics()
    NetworkMetrics(metrics.registry)
    VolumeMetrics(metrics.registry)
    exposed = re.findall(r"^# TYPE (\w+) ", metrics.exposition().decode(), re.MULTILINE)
    assert told("| metric |", "## Exit codes") == {m for m in exposed if not m.endswith("_created")}
