"""Which container holds which devices, and the plugin's answer that goes with them, kept verbatim.

Plain state without I/O. Source: kubelet pkg/kubelet/cm/devicemanager/pod_devices.go.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from protos import deviceplugin_v1beta1_pb2 as v1beta1


@dataclass(frozen=True, slots=True)
class Allocation:
    """What one container holds of one resource; `by_node` maps NUMA node (or -1) to ids."""

    by_node: Mapping[int, tuple[str, ...]]
    answer: v1beta1.ContainerAllocateResponse

    @property
    def ids(self) -> frozenset[str]:
        """All ids."""
        return frozenset(id_ for ids in self.by_node.values() for id_ in ids)


@dataclass(frozen=True, slots=True)
class Holding:
    """An Allocation with its place."""

    pod: str
    container: str
    resource: str
    allocation: Allocation


@dataclass(slots=True)
class PodDevices:
    """Keyed by (pod uid, container name) and by resource, in the order of allocation."""

    _held: dict[tuple[str, str], dict[str, Allocation]] = field(
        default_factory=dict[tuple[str, str], dict[str, Allocation]]
    )

    def __iter__(self) -> Iterator[Holding]:
        for (pod, container), held in self._held.items():
            for resource, allocation in held.items():
                yield Holding(pod, container, resource, allocation)

    def insert(self, holding: Holding) -> None:
        """Write down an allocation; one of the same place and resource is replaced."""
        place = self._held.setdefault((holding.pod, holding.container), {})
        place[holding.resource] = holding.allocation

    def keep_only(self, pods: Collection[str]) -> bool:
        """Forget every other pod. True if there was one."""
        gone = [place for place in self._held if place[0] not in pods]
        for place in gone:
            del self._held[place]
        return bool(gone)

    def of(self, pod: str, container: str) -> Mapping[str, Allocation]:
        """By resource; empty if nothing is held."""
        return self._held.get((pod, container), {})

    def ids(self, pod: str, container: str, resource: str) -> frozenset[str] | None:
        """None if nothing was ever allocated there."""
        allocation = self.of(pod, container).get(resource)
        return None if allocation is None else allocation.ids

    def allocated(self) -> dict[str, set[str]]:
        """All ids in use, by resource."""
        used: dict[str, set[str]] = {}
        for holding in self:
            used.setdefault(holding.resource, set()).update(holding.allocation.ids)
        return used
