"""A resource's devices as the list the kubelet gets: values to wire, nothing else."""

from collections.abc import Iterable, Iterator

from daemon.lean import structlog
from protos import deviceplugin_v1beta1_pb2 as v1beta1
from ringbolt.devices.device import Device, Gone, Snapshot, State
from ringbolt.devices.resource import ResourceName

HEALTH = {State.HEALTHY: "Healthy", State.UNHEALTHY: "Unhealthy"}
"""The one table from states to the kubelet's constants (deviceplugin/v1beta1/constants.go)."""

LIMIT_BYTES = 4 * 1024 * 1024 - 64 * 1024
"""The kubelet's gRPC client refuses messages beyond 4 MiB and loses the stream with it."""

EMPTY = v1beta1.ListAndWatchResponse()

_log = structlog.get_logger()


def listing(snapshot: Snapshot, resource: ResourceName) -> v1beta1.ListAndWatchResponse:
    """The full list: held units that are gone first, so that a cut at the limit spares them."""
    devices = [
        *_gone(snapshot.gone.get(resource, ())),
        *_present(snapshot.devices.get(resource, ())),
    ]
    answer = v1beta1.ListAndWatchResponse(devices=devices)
    if answer.ByteSize() <= LIMIT_BYTES:
        return answer
    fitting = len(devices) * LIMIT_BYTES // answer.ByteSize()
    while True:
        answer = v1beta1.ListAndWatchResponse(devices=devices[:fitting])
        if answer.ByteSize() <= LIMIT_BYTES:
            break
        fitting = fitting * 99 // 100
    _log.error(
        "list cut at the kubelet's limit of 4 MiB; lower `share` of the resource",
        resource=resource,
        units=len(devices),
        listed=fitting,
    )
    return answer


def _gone(units: Iterable[Gone]) -> Iterator[v1beta1.Device]:
    for gone in units:
        yield v1beta1.Device(ID=gone.unit, health=HEALTH[State.UNHEALTHY])


def _present(devices: Iterable[Device]) -> Iterator[v1beta1.Device]:
    for device in devices:
        topology = _topology(device.numa_node)
        for unit in device.units():
            yield v1beta1.Device(ID=unit, health=HEALTH[device.state], topology=topology)


def _topology(numa_node: int | None) -> v1beta1.TopologyInfo | None:
    """None rather than empty: an empty TopologyInfo hides the device from PodResources."""
    if numa_node is None:
        return None
    return v1beta1.TopologyInfo(nodes=[v1beta1.NUMANode(ID=numa_node)])
