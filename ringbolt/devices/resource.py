"""What the configuration says of one resource, as frozen values with every default in one place.

Parsing and its errors live in `daemon.config`; judging nodes lives in `selector`.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NewType

from ringbolt.devices.pattern import Pattern
from ringbolt.devices.selector import Term

ResourceName = NewType("ResourceName", str)
"""`<prefix>/<name>`, a valid extended resource name (kubernetes core/v1 IsExtendedResourceName)."""


class GroupBy(enum.Enum):
    """How matched nodes become devices, where the configuration says it."""

    NODE = "node"
    """Each matched node is a device of its own."""
    PARENT = "parent"
    """Nodes under the nearest of self and ancestors whose devtype or subsystem is `Group.key`."""
    PROPERTY = "property"
    """All matched nodes with the same value of the udev property `Group.key`."""
    ALL = "all"
    """All matched nodes are one device."""


@dataclass(frozen=True, slots=True)
class Group:
    """`group:`, parsed."""

    by: GroupBy = GroupBy.NODE
    key: str = ""


class Policy(enum.Enum):
    """`allocate:` which devices to prefer (`allocation`)."""

    PACKED = "packed"
    SPREAD = "spread"
    NUMA = "numa"


class Check(enum.Enum):
    """`health.check`: what is asked of a device beyond its presence (`health`)."""

    PRESENCE = "presence"
    STAT = "stat"
    OPEN = "open"
    SYSFS = "sysfs"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Health:
    """`health:`; times in seconds. `attributes` are the sysfs patterns of `check: sysfs`."""

    check: Check = Check.STAT
    interval_s: float = 60.0
    failures: int = 3
    recoveries: int = 2
    timeout_s: float = 5.0
    attributes: Mapping[str, Pattern] = field(default_factory=dict[str, Pattern])
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """`container:` how a node appears in the container. None keeps what the host has.

    `path` is a template (`template`); `mode` is permission bits; `permissions` a subset of "rwm".
    """

    path: str | None = None
    permissions: str = "rw"
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None

    @property
    def needs_cdi(self) -> bool:
        """Only CDI can set owner and mode of an injected node without reconfiguring the runtime."""
        return (self.mode, self.uid, self.gid) != (None, None, None)


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One of `mounts:`; both paths are templates."""

    host: str
    container: str
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class PreStart:
    """`prestart:` what is done before every container start (opt in).

    `occupancy` refuses while another process has a member open; `usb_reset` resets the USB device;
    `settle_s` then waits for the nodes to be back; `command` runs last. All of it inside
    `timeout_s`, which stays below the kubelet's 30 s.
    """

    occupancy: bool = False
    usb_reset: bool = False
    settle_s: float = 0.0
    command: tuple[str, ...] = ()
    timeout_s: float = 25.0


@dataclass(frozen=True, slots=True)
class Resource:
    """One entry of `resources:`.

    A node is taken if any term of `select` holds and no term of `exclude` (`not:`) does.
    `group` None: as the terms imply (`grouping`). `inject` names the subsystems of the group's
    members to hand over; None: the matched nodes. `companions` are absolute paths that every
    device of the resource comes with, once for each container (/dev/kfd, /dev/nvidiactl).
    """

    name: ResourceName
    select: tuple[Term, ...]
    exclude: tuple[Term, ...] = ()
    group: Group | None = None
    inject: tuple[str, ...] | None = None
    companions: tuple[str, ...] = ()
    container: Container = Container()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    mounts: tuple[MountEntry, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    share: int = 1
    allocate: Policy = Policy.PACKED
    health: Health = Health()
    prestart: PreStart | None = None
