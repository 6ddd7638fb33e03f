"""The kubelet's PodResources API, asked who holds which device. Wire to values, nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc

from protos import podresources_v1_pb2 as v1
from protos import podresources_v1_pb2_grpc as v1_grpc
from ringbolt.devices.device import UnitId
from ringbolt.devices.resource import ResourceName

Holdings = Mapping[ResourceName, Mapping[UnitId, "Holder"]]


class PodResourcesError(Exception):
    """The kubelet could not be asked; the message says at which socket and why."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The container that holds a device."""

    namespace: str
    pod: str
    container: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.pod}/{self.container}"


async def read_holdings(socket: Path, *, timeout_s: float = 1.0) -> Holdings:
    """Who holds what, by one List call (kubelet pkg/kubelet/apis/podresources).

    A channel, with a pool of its own, is made for each call: a kept one backs off for minutes after
    a kubelet restart.
    Raises PodResourcesError.
    """
    try:
        socket.stat()  # noqa: ASYNC240 - one call
    except FileNotFoundError:
        raise PodResourcesError(
            f"{socket}: no such socket; mount the kubelet's pod-resources directory"
        ) from None
    except OSError as error:
        raise PodResourcesError(f"{socket}: {error.strerror}") from error
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
        try:
            answer = await v1_grpc.PodResourcesListerStub(channel).List(
                v1.ListPodResourcesRequest(), timeout=timeout_s
            )
        except grpc.aio.AioRpcError as error:
            raise PodResourcesError(f"{socket}: List: {error.code().name}") from error
    return _parse(answer)


def _parse(answer: v1.ListPodResourcesResponse) -> Holdings:
    """One ContainerDevices entry may stand for each id (1.36) or for many (1.20): add them up."""
    holdings: dict[ResourceName, dict[UnitId, Holder]] = {}
    for pod in answer.pod_resources:
        for container in pod.containers:
            holder = Holder(pod.namespace, pod.name, container.name)
            for devices in container.devices:
                units = holdings.setdefault(ResourceName(devices.resource_name), {})
                units.update((UnitId(unit), holder) for unit in devices.device_ids)
    return holdings
