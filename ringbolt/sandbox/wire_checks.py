"""What in a plugin's messages breaks the contract, in sentences.

Pure. A kubelet swallows most of this silently; the embedded one says it aloud.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from protos import deviceplugin_v1beta1_pb2 as v1beta1

ID_LIMIT = 63
_HEALTHS = ("Healthy", "Unhealthy")


def check_list(
    resource: str,
    listed: Collection[v1beta1.Device],
    known: Mapping[str, Collection[str]],
    held: Collection[str],
) -> Iterator[str]:
    """`known` are the ids of every resource, `held` those of this one that containers have.

    A list without any device is a plugin's farewell, which says nothing about what is held.
    """
    ids = Counter(device.ID for device in listed)
    for id_, count in ids.items():
        if count > 1:
            yield f"{id_} is listed {count} times; ids are a set"
        if not 0 < len(id_) <= ID_LIMIT:
            yield f"{id_!r} has {len(id_)} characters; 1 to {ID_LIMIT} are allowed"
    for device in listed:
        yield from _check_device(device)
    for other, others in known.items():
        if other != resource:
            for id_ in ids.keys() & others:
                yield f"{id_} is an id of {other} too; pod status would mix up their health"
    for id_ in sorted(set(held) - ids.keys()) if ids else ():
        yield f"{id_} is held by a container and no longer listed; it would be reported Healthy"


def _check_device(device: v1beta1.Device) -> Iterator[str]:
    if device.health not in _HEALTHS:
        yield f"{device.ID} has health {device.health!r}; it is taken for Unhealthy"
    if device.HasField("topology"):
        nodes = [node.ID for node in device.topology.nodes]
        if not nodes:
            yield f"{device.ID} has an empty topology and is invisible to GetAllocatableResources"
        if any(node < 0 for node in nodes):
            yield f"{device.ID} names the NUMA node {min(nodes)}; leave the topology out"


def check_answer(answer: v1beta1.AllocateResponse) -> Iterator[str]:
    """What is wrong with an Allocate answer to one ContainerRequest."""
    count = len(answer.container_responses)
    if count != 1:
        yield f"{count} container responses to 1 request"
    for response in answer.container_responses:
        for spec in response.devices:
            if not spec.permissions or set(spec.permissions) - set("rwm"):
                yield f"{spec.container_path} has permissions {spec.permissions!r}"
            if not (spec.host_path.startswith("/") and spec.container_path.startswith("/")):
                yield f"{spec.host_path!r} -> {spec.container_path!r} is no pair of absolute paths"
