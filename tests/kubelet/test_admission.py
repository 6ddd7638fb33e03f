"""The embedded kubelet's admissions: who gets what, and the words for who does not."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protos import deviceplugin_v1beta1_pb2 as v1beta1
from ringbolt.sandbox.allocator import AllocationError
from ringbolt.sandbox.device_table import Quantity
from ringbolt.sandbox.events import EventKind
from ringbolt.sandbox.generation import V1_20, V1_36, Generation
from ringbolt.sandbox.kubelet import AdmissionError, Kubelet
from ringbolt.sandbox.pod_records import Phase
from ringbolt.sandbox.run_options import HostDevice
from ringbolt.sandbox.settings import Settings, TopologyPolicy
from tests.kubelet.conftest import QUICK
from tests.kubelet.fake_plugin import FakePlugin, answer, device
from tests.kubelet.pods import THING, container, pod_of, pod_with, sidecar
from tests.kubelet.test_registration import WAIT_S, kubelet_socket, offers, registered


@pytest.fixture
async def plugin(kubelet: Kubelet) -> AsyncIterator[FakePlugin]:
    async with FakePlugin(kubelet.plugins_directory / "fake.sock") as running:
        running.options = v1beta1.DevicePluginOptions(
            pre_start_required=True, get_preferred_allocation_available=True
        )
        await running.register(kubelet_socket(kubelet))
        await offers(kubelet, Quantity(3, 3))
        yield running


async def rejection(kubelet: Kubelet, things: int) -> str:
    pod = pod_with(things)
    with pytest.raises(AdmissionError) as error:
        await kubelet.admit(pod)
    status = kubelet.pod_status(pod.uid)
    assert status.phase is Phase.FAILED
    assert status.message == kubelet.generation.rejection_prefix + error.value.message
    return f"{status.reason}: {error.value.message}"


async def test_the_answer_reaches_the_container(kubelet: Kubelet, plugin: FakePlugin) -> None:
    pod = pod_with(2)
    admitted = await kubelet.admit(pod)
    ids = kubelet.holdings(pod.uid, "main")[THING]
    assert admitted.containers["main"].env == {"THING_IDS": ",".join(sorted(ids))}
    assert [sorted(asked) for asked in plugin.allocations] == [sorted(ids)]


async def test_too_many(kubelet: Kubelet, plugin: FakePlugin) -> None:
    await kubelet.admit(pod_with(2))
    assert await rejection(kubelet, 2) == (
        "UnexpectedAdmissionError: Allocate failed due to requested number of devices unavailable "
        "for example.com/thing. Requested: 2, Available: 1, which is unexpected"
    )
    assert plugin.allocations[1:] == []


async def test_none_healthy(kubelet: Kubelet, plugin: FakePlugin) -> None:
    plugin.show(device("a", health="Unhealthy"))
    await offers(kubelet, Quantity(1, 0))
    words = {
        V1_20: "requested number of devices unavailable for example.com/thing. "
        "Requested: 1, Available: 0",
        V1_36: "no healthy devices present; cannot allocate unhealthy devices example.com/thing",
    }
    assert words[kubelet.generation] in await rejection(kubelet, 1)


async def test_an_unknown_resource_is_no_reason_to_reject(kubelet: Kubelet) -> None:
    admitted = await kubelet.admit(pod_with(1))
    assert admitted.containers["main"].env == {}
    assert kubelet.lacks(pod_with(1)) == ("Insufficient example.com/thing",)


async def test_a_pod_waits_until_it_fits(kubelet: Kubelet) -> None:
    async with registered(kubelet):
        first, second = pod_with(3), pod_with(1)
        await kubelet.place(first, WAIT_S)
        with pytest.raises(TimeoutError):
            await kubelet.place(second, 0.01)
        await kubelet.remove(first.uid)
        await kubelet.place(second, WAIT_S)


async def test_preference_is_asked_once_and_intersected(
    kubelet: Kubelet, plugin: FakePlugin
) -> None:
    plugin.preferred = ("c", "made-up")
    pod = pod_with(2)
    await kubelet.admit(pod)
    assert "c" in kubelet.holdings(pod.uid, "main")[THING] <= {"a", "b", "c"}
    assert [(sorted(p.available_deviceIDs), p.allocation_size) for p in plugin.preferences] == [
        (["a", "b", "c"], 2)
    ]


async def test_a_failing_preference_fails_the_pod(kubelet: Kubelet, plugin: FakePlugin) -> None:
    plugin.preferred = None
    assert await rejection(kubelet, 1) == (
        "UnexpectedAdmissionError: Allocate failed due to device plugin GetPreferredAllocation "
        "rpc failed with err: rpc error: code = Internal desc = lost a device, which is unexpected"
    )


async def test_no_container_response_is_an_error(kubelet: Kubelet, plugin: FakePlugin) -> None:
    async def nothing(_request: v1beta1.AllocateRequest) -> v1beta1.AllocateResponse:
        return v1beta1.AllocateResponse()

    plugin.allocate = nothing
    assert "no containers return in allocation response" in await rejection(kubelet, 1)


@pytest.mark.usefixtures("plugin")
async def test_init_containers_hand_their_devices_on(kubelet: Kubelet) -> None:
    init = (container("first", thing=2), container("second", thing=1))
    pod = pod_of(container(thing=3), init=init)
    await kubelet.admit(pod)
    first, second, main = (
        kubelet.holdings(pod.uid, name)[THING] for name in ("first", "second", "main")
    )
    assert second < first < main == {"a", "b", "c"}


async def test_a_sidecar_keeps_its_device(root: Path) -> None:
    async with Kubelet(root, V1_36) as kubelet, registered(kubelet):
        pod = pod_of(container(thing=2), init=(sidecar("proxy", thing=1),))
        await kubelet.admit(pod)
        proxy, main = (kubelet.holdings(pod.uid, name)[THING] for name in ("proxy", "main"))
        assert not proxy & main


async def test_pre_start_runs_before_every_start(kubelet: Kubelet, plugin: FakePlugin) -> None:
    pod = pod_with(2)
    await kubelet.admit(pod)
    assert plugin.pre_starts == []
    await kubelet.run_options(pod.uid, "main")
    await kubelet.run_options(pod.uid, "main")
    assert plugin.pre_starts == [sorted(kubelet.holdings(pod.uid, "main")[THING])] * 2


async def test_a_failing_pre_start_stops_the_start(kubelet: Kubelet, plugin: FakePlugin) -> None:
    async def fail() -> None:
        raise RuntimeError("in use")

    plugin.pre_start = fail
    pod = pod_with(1)
    await kubelet.admit(pod)
    with pytest.raises(AllocationError, match="PreStartContainer rpc failed with err: rpc error"):
        await kubelet.run_options(pod.uid, "main")


async def test_answers_are_replayed_verbatim_after_a_restart(
    kubelet: Kubelet, plugin: FakePlugin
) -> None:
    async def nodes(_request: v1beta1.AllocateRequest) -> v1beta1.AllocateResponse:
        spec = v1beta1.DeviceSpec(host_path="/run/x", container_path="/dev/x", permissions="rw")
        return answer(devices=[spec], cdi_devices=[v1beta1.CDIDevice(name="example.com/thing=a")])

    plugin.allocate = nodes
    pod = pod_with(1)
    before = await kubelet.admit(pod)
    await kubelet.restart()
    assert kubelet.admitted(pod.uid) == before
    assert before.containers["main"].devices == (HostDevice("/run/x", "/dev/x", "rw"),)
    cdi = before.containers["main"].cdi_devices
    assert cdi == (("example.com/thing=a",) if kubelet.generation is V1_36 else ())
    assert len(plugin.allocations) == 1


@pytest.mark.usefixtures("plugin")
async def test_a_reboot_admits_pods_before_their_plugin_is_there(kubelet: Kubelet) -> None:
    pod = pod_with(1)
    await kubelet.admit(pod)
    await kubelet.restart(reboot=True)
    status = kubelet.pod_status(pod.uid)
    assert status.phase is (Phase.RUNNING if kubelet.generation is V1_20 else Phase.FAILED)
    if status.phase is Phase.FAILED:
        assert "no healthy devices present; cannot allocate unhealthy devices" in status.message


async def test_the_first_answer_wins_and_the_loser_is_named(
    kubelet: Kubelet, plugin: FakePlugin
) -> None:
    async def same(request: v1beta1.AllocateRequest) -> v1beta1.AllocateResponse:
        return answer(envs={"ID": request.container_requests[0].devices_ids[0]})

    async with FakePlugin(kubelet.plugins_directory / "other.sock", "example.com/other") as other:
        plugin.allocate = other.allocate = same
        other.devices = (device("o"),)
        await other.register(kubelet_socket(kubelet))
        await kubelet.wait_for(lambda: "example.com/other" in kubelet.node_status(), WAIT_S)
        pod = pod_of(container(thing=1, other=1))
        admitted = await kubelet.admit(pod)
        (conflict,) = kubelet.log.of(EventKind.CONFLICT)
        assert f"env ID: {admitted.containers['main'].env['ID']!r} stays" in conflict.text


async def test_an_id_that_vanishes_while_its_allocate_runs_would_crash_1_36(
    kubelet: Kubelet, plugin: FakePlugin
) -> None:
    async def vanish(_request: v1beta1.AllocateRequest) -> v1beta1.AllocateResponse:
        mark = len(kubelet.log)
        plugin.show(device("new"))
        await kubelet.wait_for(lambda: kubelet.log.of(EventKind.LIST, THING, mark), WAIT_S)
        return answer()

    plugin.allocate = vanish
    await kubelet.admit(pod_with(1))
    said = " ".join(event.text for event in kubelet.log.of(EventKind.VIOLATION))
    assert ("kubelet would crash here" in said) is (kubelet.generation is V1_36)


async def test_health_reaches_pod_status_and_a_missing_device_counts_as_healthy(
    kubelet: Kubelet, plugin: FakePlugin
) -> None:
    pod = pod_with(3)
    await kubelet.admit(pod)
    plugin.show(device("a", health="Unhealthy"), device("b"))
    await offers(kubelet, Quantity(2, 1))
    health = kubelet.pod_status(pod.uid).health
    if kubelet.generation is V1_20:
        assert health == {}
    else:
        assert health == {"main": {THING: {"a": "Unhealthy", "b": "Healthy", "c": "Healthy"}}}
    said = [event.text for event in kubelet.log.of(EventKind.VIOLATION)]
    assert said == ["c is held by a container and no longer listed; it would be reported Healthy"]


@pytest.mark.parametrize("policy", [TopologyPolicy.RESTRICTED, TopologyPolicy.SINGLE_NUMA_NODE])
async def test_devices_of_one_node_or_none(
    root: Path, generation: Generation, policy: TopologyPolicy
) -> None:
    settings = Settings(numa_nodes=(0, 1), policy=policy, timings=QUICK)
    async with Kubelet(root, generation, settings) as kubelet, registered(kubelet) as plugin:
        plugin.show(device("a", 0), device("b", 1), device("c", 0), device("d", 1))
        await offers(kubelet, Quantity(4, 4))
        pods = [pod_with(2), pod_with(1)]
        for pod in pods:
            await kubelet.admit(pod)
        assert set(kubelet.holdings(pods[0].uid, "main")[THING]) in ({"a", "c"}, {"b", "d"})
        assert await rejection(kubelet, 2) == (
            "TopologyAffinityError: Resources cannot be allocated with Topology locality"
        )
