"""The agent against the embedded kubelet: it is registered, and stays so whatever happens."""

from pathlib import Path

import pytest

from ringbolt.sandbox.device_table import Quantity
from ringbolt.sandbox.events import EventKind
from ringbolt.sandbox.generation import Generation
from ringbolt.sandbox.kubelet import Kubelet
from ringbolt.sandbox.settings import Settings
from tests.kubelet.agent_process import RESOURCE, SECOND, Agent, Nodes, is_node
from tests.kubelet.conftest import QUICK
from tests.kubelet.pods import asking

pytestmark = pytest.mark.root

WAIT_S = 20.0


async def offers(kubelet: Kubelet, count: int, resource: str = RESOURCE) -> None:
    wanted = Quantity(count, count)
    await kubelet.wait_for(lambda: kubelet.node_status().get(resource) == wanted, WAIT_S)


@pytest.fixture(params=["kubelet.sock", "plugins_registry"])
def route(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def serving(agent: Agent, nodes: Nodes, route: str) -> Agent:
    """An agent with two devices, not started."""
    nodes.add("ttyX0", "ttyX1")
    agent.configure(nodes.resource("ttyX*"), registration=route)
    return agent


async def test_registers_and_lists(faultless: Kubelet, serving: Agent) -> None:
    async with serving:
        await offers(faultless, 2)
        assert len(faultless.log.of(EventKind.LIST)) == 1


async def test_waits_for_a_kubelet_that_comes_later(
    root: Path, generation: Generation, serving: Agent
) -> None:
    async with serving:
        await serving.says("agent started", WAIT_S)
        async with Kubelet(root, generation, Settings(timings=QUICK)) as kubelet:
            await offers(kubelet, 2)


async def test_a_kubelet_restart_loses_nothing(faultless: Kubelet, serving: Agent) -> None:
    async with serving:
        pod = asking(RESOURCE)
        before = await faultless.place(pod, WAIT_S)
        for _ in range(3):
            await faultless.restart()
            await offers(faultless, 2)
        after = faultless.admitted(pod.uid)
        assert after == before
        (node,) = after.containers["main"].devices
        assert is_node(node.host_path)
        await faultless.place(asking(RESOURCE), WAIT_S)


async def test_an_agent_restart_loses_nothing(faultless: Kubelet, serving: Agent) -> None:
    async with serving:
        pod = asking(RESOURCE)
        before = await faultless.place(pod, WAIT_S)
        for end in (serving.kill, serving.terminate):
            await end()
            await faultless.wait_for(
                lambda: faultless.node_status()[RESOURCE].allocatable == 0, WAIT_S
            )
            await serving.start()
            await offers(faultless, 2)
        (node,) = before.containers["main"].devices
        assert is_node(node.host_path)
        health = faultless.pod_status(pod.uid).health
        assert set(health.get("main", {}).get(RESOURCE, {}).values()) <= {"Healthy"}


async def test_a_rolling_update_with_a_surge_loses_nothing(
    faultless: Kubelet, serving: Agent
) -> None:
    successor = Agent(serving.folder, serving.kubelet_dir)
    async with serving:
        await offers(faultless, 2)
        mark = len(faultless.log)
        async with successor:
            await faultless.wait_for_event(lambda e: e.kind is EventKind.LIST, WAIT_S, mark)
            assert await serving.terminate() == 0
            await faultless.wait_for_event(lambda e: e.kind is EventKind.STREAM_ENDED, WAIT_S, mark)
            await offers(faultless, 2)
            lists = [e for e in faultless.log.since(mark) if e.kind is EventKind.LIST]
            assert {len(event.devices) for event in lists} == {2}


async def test_says_farewell_with_an_empty_list(faultless: Kubelet, serving: Agent) -> None:
    async with serving:
        await offers(faultless, 2)
        mark = len(faultless.log)
        assert await serving.terminate() == 0
        await faultless.wait_for(lambda: faultless.log.of(EventKind.DISCONNECTED), WAIT_S)
    ended = [
        (event.kind, len(event.devices))
        for event in faultless.log.since(mark)
        if event.kind in (EventKind.LIST, EventKind.STREAM_ENDED)
    ]
    assert ended == [(EventKind.LIST, 0), (EventKind.STREAM_ENDED, 0)]
    for folder in (faultless.plugins_directory, faultless.root / "plugins_registry"):
        assert [path.name for path in folder.glob("rb-*")] == []


async def test_a_removed_socket_is_made_anew(faultless: Kubelet, serving: Agent) -> None:
    async with serving:
        await offers(faultless, 2)
        for _ in range(2):
            mark = len(faultless.log)
            for path in faultless.root.glob("*/rb-*.sock"):
                path.unlink()
            await faultless.wait_for_event(lambda e: e.kind is EventKind.LIST, WAIT_S, mark)
            await offers(faultless, 2)


@pytest.mark.parametrize("route", ["kubelet.sock"])
async def test_a_kubelet_that_wipes_nothing(faultless: Kubelet, serving: Agent) -> None:
    async with serving:
        await offers(faultless, 2)
        faultless.faults.skip_wipes = 1
        await faultless.restart()
        await offers(faultless, 2)


@pytest.mark.parametrize("route", ["kubelet.sock"])
async def test_a_kubelet_that_forgets_to_listen(faultless: Kubelet, serving: Agent) -> None:
    faultless.faults.skip_streams = 1
    async with serving:
        await offers(faultless, 2)
    assert len(faultless.log.of(EventKind.REGISTERED)) >= 2


@pytest.mark.parametrize("route", ["kubelet.sock"])
async def test_a_kubelet_that_refuses_at_first(faultless: Kubelet, serving: Agent) -> None:
    faultless.faults.refuse = 3
    async with serving:
        await offers(faultless, 2)
    assert len(faultless.log.of(EventKind.REFUSED)) == 3


@pytest.mark.parametrize("route", ["kubelet.sock"])
async def test_a_kubelet_that_hangs_up(faultless: Kubelet, serving: Agent) -> None:
    async with serving:
        await offers(faultless, 2)
        await faultless.disconnect(RESOURCE)
        await faultless.wait_for(
            lambda: len(faultless.log.of(EventKind.REGISTERED, RESOURCE)) == 2, WAIT_S
        )
        await offers(faultless, 2)


async def test_resources_come_and_go_with_the_configuration(
    faultless: Kubelet, serving: Agent, nodes: Nodes, route: str
) -> None:
    first = nodes.resource("ttyX*")
    nodes.add("hidX0")
    async with serving as agent:
        await offers(faultless, 2)
        agent.configure(first, nodes.resource("hidX*", SECOND), registration=route)
        await offers(faultless, 1, SECOND)
        agent.configure(first, nodes.resource("hidX*", SECOND, share=3), registration=route)
        await offers(faultless, 3, SECOND)
        agent.configure(first, registration=route)
        await offers(faultless, 0, SECOND)
        assert len(faultless.log.of(EventKind.STREAM_OPENED, RESOURCE)) == 1
        assert len(faultless.log.of(EventKind.LIST, RESOURCE)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "resources: [{name: ringbolt.dev/port, selct: []}]",
        "resources: [{name: kubernetes.io/port, select: [{path: /dev/null}]}]",
        "{",
    ],
)
@pytest.mark.parametrize("route", ["kubelet.sock"])
async def test_a_bad_configuration_is_refused(
    faultless: Kubelet, serving: Agent, nodes: Nodes, text: str
) -> None:
    async with serving as agent:
        await offers(faultless, 2)
        agent.write(text)
        await agent.says("configuration refused", WAIT_S)
        nodes.add("ttyX2")
        await offers(faultless, 3)
        assert len(faultless.log.of(EventKind.STREAM_OPENED, RESOURCE)) == 1
