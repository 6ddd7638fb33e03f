"""The agent against the embedded kubelet: devices, their health, and what containers get."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc.aio
import pytest

from protos import deviceplugin_v1beta1_pb2 as v1beta1
from protos import deviceplugin_v1beta1_pb2_grpc as v1beta1_grpc
from ringbolt.sandbox.allocator import AllocationError
from ringbolt.sandbox.device_table import Quantity
from ringbolt.sandbox.events import EventKind
from ringbolt.sandbox.generation import V1_36
from ringbolt.sandbox.kubelet import AdmissionError, Kubelet
from ringbolt.sandbox.pod import ContainerSpec
from ringbolt.sandbox.run_options import HostDevice
from tests.kubelet.agent_process import RESOURCE, SECOND, Agent, Nodes, is_node, leads_to
from tests.kubelet.pods import asking, pod_of
from tests.kubelet.test_agent_registration import WAIT_S, offers

pytestmark = pytest.mark.root


@pytest.fixture
async def serving(faultless: Kubelet, agent: Agent, nodes: Nodes) -> AsyncIterator[Agent]:
    """A running agent that serves ttyX0 and ttyX1."""
    nodes.add("ttyX0", "ttyX1")
    agent.configure(nodes.resource("ttyX*"))
    async with agent:
        await offers(faultless, 2)
        yield agent


@pytest.fixture
def socket(faultless: Kubelet, serving: Agent) -> Path:
    """Where the agent serves its one resource."""
    assert serving.logged
    (found,) = faultless.plugins_directory.glob("rb-*.sock")
    return found


@pytest.fixture
async def plugin(socket: Path) -> AsyncIterator["v1beta1_grpc.DevicePluginAsyncStub"]:
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        yield v1beta1_grpc.DevicePluginStub(channel)


async def lists_until(kubelet: Kubelet, count: int, healthy: int) -> None:
    wanted = Quantity(count, healthy)
    await kubelet.wait_for(lambda: kubelet.node_status()[RESOURCE] == wanted, WAIT_S)


async def test_a_container_gets_exactly_its_node(
    faultless: Kubelet, serving: Agent, nodes: Nodes
) -> None:
    admitted = await faultless.admit(asking(RESOURCE))
    options = admitted.containers["main"]
    (node,) = options.devices
    inside = node.container_path
    assert inside in {f"{nodes.folder}/ttyX0", f"{nodes.folder}/ttyX1"}
    assert node == HostDevice(node.host_path, inside, "rw")
    assert Path(node.host_path).is_relative_to(serving.folder / "run")
    assert leads_to(node.host_path) == inside
    assert options.env == {"RINGBOLT_PORT": inside}
    assert (options.mounts, options.annotations, options.cdi_devices) == ((), {}, ())


async def test_two_resources_in_one_container_do_not_collide(
    faultless: Kubelet, serving: Agent, nodes: Nodes
) -> None:
    nodes.add("hidX0")
    serving.configure(nodes.resource("ttyX*"), nodes.resource("hidX*", SECOND))
    await offers(faultless, 1, SECOND)
    both = ContainerSpec("main", limits={RESOURCE: 2, SECOND: 1})
    admitted = await faultless.admit(pod_of(both))
    options = admitted.containers["main"]
    assert len(options.devices) == 3
    assert len({node.container_path for node in options.devices}) == 3
    assert len(options.env) >= 2


async def test_a_new_node_is_listed(faultless: Kubelet, serving: Agent, nodes: Nodes) -> None:
    nodes.add("ttyX2")
    await offers(faultless, 3)
    nodes.remove("ttyX2")
    await lists_until(faultless, 2, 2)
    assert serving.logged


async def test_a_held_device_that_goes_is_unhealthy_and_comes_back(
    faultless: Kubelet, serving: Agent, nodes: Nodes
) -> None:
    pod = asking(RESOURCE, 2)
    admitted = await faultless.admit(pod)
    nodes.remove("ttyX0")
    await lists_until(faultless, 2, 1)
    with pytest.raises(AdmissionError, match="requested number of devices unavailable"):
        await faultless.admit(asking(RESOURCE))
    if faultless.generation is V1_36:
        states = sorted(faultless.pod_status(pod.uid).health["main"][RESOURCE].values())
        assert states == ["Healthy", "Unhealthy"]
    nodes.add("ttyX0")
    await offers(faultless, 2)
    assert faultless.admitted(pod.uid) == admitted
    assert [is_node(node.host_path) for node in admitted.containers["main"].devices] == [True, True]
    assert serving.logged


async def test_a_device_lost_while_the_agent_was_dead_stays_listed(
    faultless: Kubelet, serving: Agent, nodes: Nodes
) -> None:
    pod = asking(RESOURCE, 2)
    await faultless.admit(pod)
    await serving.kill()
    nodes.remove("ttyX0")
    await serving.start()
    await lists_until(faultless, 2, 1)


async def test_new_rules_of_health_count_at_once(
    faultless: Kubelet, serving: Agent, nodes: Nodes
) -> None:
    strict = {"check": "command", "command": ["/bin/false"], "interval": "1h", "failures": 1}
    serving.configure(nodes.resource("ttyX*", health=strict))
    await lists_until(faultless, 2, 0)
    serving.configure(nodes.resource("ttyX*"))
    await lists_until(faultless, 2, 2)
    assert len(faultless.log.of(EventKind.STREAM_OPENED)) == 1


@pytest.mark.parametrize("generation", [V1_36], ids=["1.36"])
async def test_a_lost_device_leaves_once_it_is_released(
    faultless: Kubelet, serving: Agent, nodes: Nodes
) -> None:
    pod = asking(RESOURCE, 2)
    await faultless.admit(pod)
    nodes.remove("ttyX0")
    await lists_until(faultless, 2, 1)
    await faultless.remove(pod.uid)
    wanted = Quantity(1, 1)
    # The agent asks every 30 s who holds what, and trusts an answer of its own for 15 s.
    await faultless.wait_for(lambda: faultless.node_status()[RESOURCE] == wanted, 90)
    assert serving.logged


@pytest.mark.parametrize("generation", [V1_36], ids=["1.36"])
async def test_no_id_is_dropped_under_a_running_allocate(
    faultless: Kubelet, serving: Agent, nodes: Nodes
) -> None:
    for turn in range(25):
        pod = asking(RESOURCE, 2)
        admission = asyncio.create_task(faultless.place(pod, WAIT_S))
        for _ in range(turn % 8):
            await asyncio.sleep(0)
        nodes.remove("ttyX0")
        try:
            await admission
        except AdmissionError as error:
            assert error.reason == "UnexpectedAdmissionError"  # noqa: PT017  either is right
        nodes.add("ttyX0")
        await faultless.remove(pod.uid)
        await lists_until(faultless, 2, 2)
    assert serving.logged


async def test_every_stream_gets_every_list(
    faultless: Kubelet, nodes: Nodes, plugin: "v1beta1_grpc.DevicePluginAsyncStub"
) -> None:
    async with AsyncExitStack() as stack:
        streams = [plugin.ListAndWatch(v1beta1.Empty()) for _ in range(3)]
        for stream in streams:
            stack.callback(stream.cancel)
        firsts = [await anext(aiter(stream)) for stream in streams]
        assert [len(first.devices) for first in firsts] == [2, 2, 2]
        streams[0].cancel()
        nodes.add("ttyX2")
        for stream in streams[1:]:
            assert len((await anext(aiter(stream))).devices) == 3
        await offers(faultless, 3)


async def test_a_reader_that_stalls_holds_nobody_up(
    faultless: Kubelet, serving: Agent, nodes: Nodes, socket: Path
) -> None:
    serving.configure(nodes.resource("ttyX*", share=2000))
    await offers(faultless, 4000)
    options = (("grpc.http2.lookahead_bytes", 1), ("grpc.http2.bdp_probe", 0))
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
        stalled = v1beta1_grpc.DevicePluginStub(channel).ListAndWatch(v1beta1.Empty())
        await stalled.initial_metadata()
        for number in range(2, 10):
            nodes.add(f"ttyX{number}")
            await offers(faultless, 2000 * (number + 1))
        stalled.cancel()


def _ids(kubelet: Kubelet) -> list[str]:
    return list(kubelet.log.of(EventKind.LIST, RESOURCE)[-1].devices)


def _bad_allocations(ids: list[str]) -> Iterator[list[list[str]]]:
    yield [["nobody-knows-me"]]
    yield [[ids[0], "nobody-knows-me"]]
    yield [[""]]
    yield [["x" * 100_000]]
    yield [["../../etc/passwd"]]
    yield [[f"{ids[0]}.7"]]
    yield [[f"id-{number}" for number in range(20_000)]]
    yield [["\u00e4\U0001f50c\n\0"]]


async def test_malformed_allocations_are_clean_errors(
    faultless: Kubelet, nodes: Nodes, plugin: "v1beta1_grpc.DevicePluginAsyncStub"
) -> None:
    for containers in _bad_allocations(_ids(faultless)):
        asked = [v1beta1.ContainerAllocateRequest(devices_ids=ids) for ids in containers]
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await plugin.Allocate(v1beta1.AllocateRequest(container_requests=asked))
        assert error.value.code() in {
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.INVALID_ARGUMENT,
        }
        assert RESOURCE in (error.value.details() or "")
        assert "Traceback" not in (error.value.details() or "")
    nodes.add("ttyX2")
    await offers(faultless, 3)
    assert len(faultless.log.of(EventKind.STREAM_OPENED)) == 1


async def test_as_many_answers_as_requests(
    faultless: Kubelet, plugin: "v1beta1_grpc.DevicePluginAsyncStub"
) -> None:
    first, second = _ids(faultless)
    shapes: list[list[list[str]]] = [
        [],
        [[]],
        [[first], [second]],
        [[first, second]],
        [[first], []],
    ]
    for asked in shapes:
        request = v1beta1.AllocateRequest(
            container_requests=[v1beta1.ContainerAllocateRequest(devices_ids=ids) for ids in asked]
        )
        answer = await plugin.Allocate(request)
        found = [len(response.devices) for response in answer.container_responses]
        assert found == [len(ids) for ids in asked]


async def test_preferences_never_fail(
    faultless: Kubelet, plugin: "v1beta1_grpc.DevicePluginAsyncStub"
) -> None:
    first, second = _ids(faultless)
    odd = [
        ([first, second], [], 1),
        ([first, second], [second], 1),
        ([first], [second], 2),
        ([], [], 0),
        ([], [], 5),
        ([first], [], -1),
        (["nobody"], ["else"], 1),
        ([first] * 3, [first], 2),
        ([first, second], [], 2**31 - 1),
    ]
    for available, must_include, size in odd:
        request = v1beta1.PreferredAllocationRequest(
            container_requests=[
                v1beta1.ContainerPreferredAllocationRequest(
                    available_deviceIDs=available,
                    must_include_deviceIDs=must_include,
                    allocation_size=size,
                )
            ]
        )
        answer = await plugin.GetPreferredAllocation(request)
        assert len(answer.container_responses) == 1
        assert len(answer.container_responses[0].deviceIDs) <= max(size, len(must_include))


async def test_lists_stay_below_the_kubelets_limit(
    faultless: Kubelet, serving: Agent, nodes: Nodes
) -> None:
    nodes.add(*(f"ttyX{number}" for number in range(2, 8)))
    serving.configure(nodes.resource("ttyX*", share=10_000))
    await serving.says(
        "list cut at the kubelet's limit of 4 MiB; lower `share` of the resource", WAIT_S
    )
    listed = await faultless.wait_for_event(
        lambda e: e.kind is EventKind.LIST and len(e.devices) > 20_000, WAIT_S
    )
    assert len(listed.devices) < 80_000
    assert len(faultless.log.of(EventKind.STREAM_OPENED)) == 1


async def test_pre_start_actions_run_before_every_start(
    faultless: Kubelet, serving: Agent, nodes: Nodes
) -> None:
    """Adding the actions to a served resource is a new registration: its options change."""
    starts, forbidden = serving.folder / "starts", serving.folder / "forbidden"
    command = ["/bin/sh", "-c", f"echo once >> {starts}; test ! -e {forbidden}"]
    serving.configure(nodes.resource("ttyX*", prestart={"command": command}))
    await faultless.wait_for(
        lambda: len(faultless.log.of(EventKind.REGISTERED, RESOURCE)) == 2, WAIT_S
    )
    await offers(faultless, 2)
    pod = asking(RESOURCE)
    await faultless.admit(pod)
    for _ in range(2):
        await faultless.run_options(pod.uid, "main")
    assert starts.read_text() == "once\n" * 2
    forbidden.touch()
    with pytest.raises(AllocationError, match="PreStartContainer rpc failed with err: rpc error"):
        await faultless.run_options(pod.uid, "main")


async def test_owner_and_mode_come_by_cdi_and_the_node_by_both_ways(
    faultless: Kubelet, serving: Agent, nodes: Nodes
) -> None:
    nodes.add("hidX0")
    serving.configure(
        nodes.resource("ttyX*"), nodes.resource("hidX*", SECOND, container={"mode": "0660"})
    )
    await offers(faultless, 1, SECOND)
    admitted = await faultless.admit(asking(SECOND))
    options = admitted.containers["main"]
    assert len(options.devices) == 1
    assert len(options.cdi_devices) == (1 if faultless.generation is V1_36 else 0)
    for name in options.cdi_devices:
        kind, _, device = name.partition("=")
        specs = [json.loads(path.read_text()) for path in (serving.folder / "cdi").glob("*.json")]
        (found,) = [spec for spec in specs if spec["kind"] == kind]
        assert device in [entry["name"] for entry in found["devices"]]
