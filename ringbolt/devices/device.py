"""The allocatable device and the Snapshot of all of them: what every user of this room looks at.

A Snapshot is immutable and versioned: `assemble` makes the next one, the daemon's `inventory`
owns the newest.
"""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NewType

from ringbolt.devices.resource import Resource, ResourceName
from ringbolt.devices.tree import Node, SysPath, Tree

DeviceId = NewType("DeviceId", str)
"""One physical device within one resource: at most 56 of [A-Za-z0-9_-], begins with a letter."""

UnitId = NewType("UnitId", str)
"""What is advertised: DeviceId (replica 0) or DeviceId "." replica number; <= 63 characters."""


class State(enum.Enum):
    """HEALTHY can be allocated; UNHEALTHY is present but fails its check."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Member:
    """One device node (or directory, for plain paths such as /dev/snd) that the pod is given.

    `name` is unique within the device, stable over replug and reboot (never a kernel number) and a
    valid file name; the stable link is <run-dir>/devices/<DeviceId>/<name>.
    """

    name: str
    dev_node: str
    subsystem: str
    sys_path: SysPath | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """One allocatable device of one resource.

    `anchor` is the physical device (the USB device, the PCI function, else the node itself) and
    None for a plain path that udev does not know; `numa_node` None where unknown; `pcie_root` the
    root port's address ("0000:00:1c.0") or ""; `properties` are the anchor's udev properties
    overlaid with the first matched node's. `reason` says in words why the state is not HEALTHY.
    """

    id: DeviceId
    resource: ResourceName
    members: tuple[Member, ...]
    anchor: Node | None = None
    matched: tuple[SysPath, ...] = ()
    numa_node: int | None = None
    pcie_root: str = ""
    properties: Mapping[str, str] = field(default_factory=dict[str, str])
    state: State = State.HEALTHY
    reason: str = ""
    share: int = 1

    def units(self) -> Iterator[UnitId]:
        """The ids under which the device is advertised, replica 0 first."""
        yield UnitId(self.id)
        for replica in range(1, self.share):
            yield UnitId(f"{self.id}.{replica}")


def device_of(unit: str) -> DeviceId:
    """The DeviceId of an advertised id, with or without a replica number."""
    head, dot, replica = unit.rpartition(".")
    return DeviceId(head if dot and replica.isdigit() else unit)


@dataclass(frozen=True, slots=True)
class Gone:
    """A unit that is no longer there while a pod holds it: it stays listed until it is released."""

    unit: UnitId
    resource: ResourceName
    reason: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything known at one moment.

    `devices` and `gone` have an entry, maybe empty, for every resource of `resources`.
    """

    version: int
    tree: Tree
    resources: Mapping[ResourceName, Resource]
    devices: Mapping[ResourceName, tuple[Device, ...]]
    gone: Mapping[ResourceName, tuple[Gone, ...]]
