"""What the API server would know of a pod: its phase, and in 1.36 its devices' health."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from ringbolt.sandbox.device_manager import DeviceManager
from ringbolt.sandbox.pod import Pod


class Phase(enum.Enum):
    """`status.phase`; an admitted pod counts as running."""

    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(slots=True)
class PodRecord:
    """A pod on this node. `affinity` is each container's NUMA mask."""

    pod: Pod
    phase: Phase = Phase.RUNNING
    reason: str = ""
    message: str = ""
    affinity: dict[str, int | None] = field(default_factory=dict[str, int | None])
    pod_ips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PodStatus:
    """`health`: container to resource to device id to "Healthy" or "Unhealthy".

    That is `containerStatuses[].allocatedResourcesStatus[]`; init containers have none. `pod_ips`
    is `podIPs`, the first of them `podIP`.
    """

    phase: Phase
    reason: str
    message: str
    health: Mapping[str, Mapping[str, Mapping[str, str]]]
    pod_ips: tuple[str, ...] = ()


def pod_status(record: PodRecord, manager: DeviceManager) -> PodStatus:
    """The record with what the device manager adds."""
    health: dict[str, dict[str, dict[str, str]]] = {}
    for container in record.pod.containers if manager.generation.resource_health else ():
        for resource, held in manager.held.of(record.pod.uid, container.name).items():
            ids = {id_: manager.health(resource, id_) for id_ in sorted(held.ids)}
            health.setdefault(container.name, {})[resource] = ids
    return PodStatus(record.phase, record.reason, record.message, health, record.pod_ips)
