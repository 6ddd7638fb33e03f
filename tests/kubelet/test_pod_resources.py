"""The embedded kubelet's PodResources service."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest

from protos import podresources_v1_pb2 as v1
from protos import podresources_v1_pb2_grpc as v1_grpc
from ringbolt.sandbox.device_table import Quantity
from ringbolt.sandbox.events import EventKind
from ringbolt.sandbox.generation import V1_20, V1_36
from ringbolt.sandbox.kubelet import Kubelet
from tests.kubelet.fake_plugin import device
from tests.kubelet.pods import THING, container, pod_of, pod_with, sidecar
from tests.kubelet.test_registration import offers, registered


@pytest.fixture
async def lister(kubelet: Kubelet) -> AsyncIterator["v1_grpc.PodResourcesListerAsyncStub"]:
    socket = kubelet.root / "pod-resources" / "kubelet.sock"
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        yield v1_grpc.PodResourcesListerStub(channel)


def entries(pod: v1.PodResources) -> dict[str, list[tuple[list[str], list[int]]]]:
    """By container: the ids and the nodes of each entry, sorted."""
    return {
        found.name: sorted(
            (sorted(devices.device_ids), [node.ID for node in devices.topology.nodes])
            for devices in found.devices
        )
        for found in pod.containers
    }


async def test_says_who_holds_what(
    kubelet: Kubelet, lister: "v1_grpc.PodResourcesListerAsyncStub"
) -> None:
    async with registered(kubelet) as plugin:
        plugin.show(device("a", 0), device("b", 0), device("c"))
        await offers(kubelet, Quantity(3, 3))
        await kubelet.admit(pod_with(3))
        (pod,) = (await lister.List(v1.ListPodResourcesRequest())).pod_resources
        assert entries(pod) == {
            "main": [(["a", "b", "c"], [0])]
            if kubelet.generation is V1_20
            else [(["a"], [0]), (["b"], [0]), (["c"], [])]
        }


async def test_pods_that_have_ended(
    kubelet: Kubelet, lister: "v1_grpc.PodResourcesListerAsyncStub"
) -> None:
    async with registered(kubelet):
        pod = pod_with(1)
        await kubelet.admit(pod)
        kubelet.finish(pod.uid)
        listed = (await lister.List(v1.ListPodResourcesRequest())).pod_resources
        if kubelet.generation is V1_36:
            assert list(listed) == []
        else:
            assert [entries(found) for found in listed] == [{"main": []}]


async def test_sidecars_are_listed_from_1_36_on(
    kubelet: Kubelet, lister: "v1_grpc.PodResourcesListerAsyncStub"
) -> None:
    async with registered(kubelet):
        init = (sidecar("proxy", thing=1), container("setup", thing=1))
        await kubelet.admit(pod_of(container(thing=2), init=init))
        (pod,) = (await lister.List(v1.ListPodResourcesRequest())).pod_resources
        names = ["main"] if kubelet.generation is V1_20 else ["proxy", "main"]
        assert [found.name for found in pod.containers] == names


async def test_get_and_allocatable_exist_from_1_36_on(
    kubelet: Kubelet, lister: "v1_grpc.PodResourcesListerAsyncStub"
) -> None:
    wanted = v1.GetPodResourcesRequest(pod_name="ghost", pod_namespace="default")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await lister.Get(wanted)
    if kubelet.generation is V1_20:
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
        return
    assert error.value.code() is grpc.StatusCode.UNKNOWN
    assert error.value.details() == "pod ghost in namespace default not found"
    async with registered(kubelet):
        pod = pod_with(1)
        await kubelet.admit(pod)
        wanted.pod_name = pod.name
        found = (await lister.Get(wanted)).pod_resources
        (held,) = kubelet.holdings(pod.uid, "main")[THING]
        assert entries(found) == {"main": [([held], [])]}


@pytest.mark.parametrize("generation", [V1_36], ids=["1.36"])
async def test_an_empty_topology_hides_a_device_from_the_allocatable(
    kubelet: Kubelet, lister: "v1_grpc.PodResourcesListerAsyncStub"
) -> None:
    async with registered(kubelet) as plugin:
        hidden = device("hidden", 0)
        hidden.topology.ClearField("nodes")
        plugin.show(hidden, device("plain"), device("wide", 0, 1), device("x", health="Unhealthy"))
        await offers(kubelet, Quantity(4, 3))
        answer = await lister.GetAllocatableResources(v1.AllocatableResourcesRequest())
        seen = sorted(
            (*devices.device_ids, *(node.ID for node in devices.topology.nodes))
            for devices in answer.devices
        )
        assert seen == [("plain",), ("wide", 0), ("wide", 1)]
        said = [event.text for event in kubelet.log.of(EventKind.VIOLATION)]
        assert said == ["hidden has an empty topology and is invisible to GetAllocatableResources"]


async def test_calls_beyond_the_burst_are_refused_from_1_36_on(
    kubelet: Kubelet, lister: "v1_grpc.PodResourcesListerAsyncStub"
) -> None:
    refused: set[str | None] = set()
    for _ in range(200):
        calls = [lister.List(v1.ListPodResourcesRequest()) for _ in range(30)]
        for call in calls:
            if await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                refused.add(await call.details())
        if refused or kubelet.generation is V1_20:
            break
    assert refused == (set() if kubelet.generation is V1_20 else {"rejected by rate limit"})


async def test_the_socket_is_made_anew(kubelet: Kubelet, root: Path) -> None:
    socket = root / "pod-resources" / "kubelet.sock"
    before = socket.stat().st_ctime_ns
    await kubelet.restart()
    assert socket.stat().st_ctime_ns > before
