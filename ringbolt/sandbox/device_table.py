"""The devices the kubelet knows: by resource, healthy or not, and what the node may offer of them.

Plain state without I/O. Source: kubelet pkg/kubelet/cm/devicemanager/manager.go, GetCapacity,
genericDeviceUpdateCallback, markResourceUnhealthy.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from protos import deviceplugin_v1beta1_pb2 as v1beta1
from ringbolt.sandbox.endpoint import Endpoint

HEALTHY = "Healthy"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A resource in the node's status."""

    capacity: int
    allocatable: int


def numa_nodes(device: v1beta1.Device) -> tuple[int, ...]:
    """The NUMA nodes a device names; an empty topology names none."""
    return tuple(node.ID for node in device.topology.nodes)


@dataclass(slots=True)
class DeviceTable:
    """`devices` keeps what was listed last even when the resource is dropped, as the kubelet does.

    `healthy` having a key means that the resource is registered: from its first list message on, or
    since it was read from the checkpoint.
    """

    grace_s: float
    endpoints: dict[str, Endpoint] = field(default_factory=dict[str, Endpoint])
    devices: dict[str, dict[str, v1beta1.Device]] = field(
        default_factory=dict[str, dict[str, v1beta1.Device]]
    )
    healthy: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    unhealthy: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    dropped: set[str] = field(default_factory=set[str])
    """Resources the node once offered; they stay in its status as 0 for ever."""

    def replace(self, resource: str, listed: Iterable[v1beta1.Device]) -> None:
        """Take a list message: it is the whole truth of its resource; ids are a set."""
        devices = {device.ID: device for device in listed}
        healthy = {id_ for id_, device in devices.items() if device.health == HEALTHY}
        self.devices[resource] = devices
        self.healthy[resource] = healthy
        self.unhealthy[resource] = devices.keys() - healthy

    def mark_unhealthy(self, resource: str) -> None:
        """All of a resource at once, when its stream ends."""
        healthy = self.healthy.get(resource, set())
        self.unhealthy.setdefault(resource, set()).update(healthy)
        self.healthy[resource] = set()

    def remember(self, resource: str, endpoint: Endpoint) -> None:
        """A resource found in the checkpoint: known, with nothing to offer."""
        self.healthy[resource] = set()
        self.unhealthy[resource] = set()
        self.endpoints[resource] = endpoint

    def has_topology(self, resource: str) -> bool:
        """One device that names a NUMA node makes the whole resource an aligned one."""
        return any(map(numa_nodes, self.devices.get(resource, {}).values()))

    def drop_expired(self, now_s: float) -> bool:
        """Forget the resources whose endpoint stopped longer than the grace period ago."""
        expired = {r for r in self.healthy.keys() | self.unhealthy if self._expired(r, now_s)}
        for resource in expired:
            self.endpoints.pop(resource, None)
            self.healthy.pop(resource, None)
            self.unhealthy.pop(resource, None)
        self.dropped |= expired
        return bool(expired)

    def _expired(self, resource: str, now_s: float) -> bool:
        endpoint = self.endpoints.get(resource)
        if endpoint is None:
            return True
        return endpoint.stopped_s is not None and now_s - endpoint.stopped_s > self.grace_s

    def status(self) -> Mapping[str, Quantity]:
        """Capacity (all listed) and allocatable (the healthy) of each resource."""
        status = dict.fromkeys(self.dropped, Quantity(0, 0))
        for resource in self.healthy.keys() | self.unhealthy:
            healthy = len(self.healthy.get(resource, ()))
            unhealthy = len(self.unhealthy.get(resource, ()))
            status[resource] = Quantity(healthy + unhealthy, healthy)
        return dict(sorted(status.items()))
