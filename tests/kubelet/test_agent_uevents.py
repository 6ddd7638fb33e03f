"""The agent hears of devices from the kernel itself."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ringbolt.linux import loop
from ringbolt.sandbox.device_table import Quantity
from ringbolt.sandbox.kubelet import Kubelet
from tests.kubelet.agent_process import RESOURCE, Agent, is_node, leads_to
from tests.kubelet.pods import asking
from tests.kubelet.test_agent_registration import WAIT_S, offers

pytestmark = pytest.mark.root

NUMBER = 7301


@pytest.fixture(autouse=True)
def _unplugged() -> Iterator[None]:
    if not Path(loop.CONTROL).exists():
        pytest.skip(f"needs loop devices, and there is no {loop.CONTROL}: modprobe loop")
    yield
    with suppress(OSError):
        loop.remove(NUMBER)


async def test_a_plugged_in_device_is_offered_and_an_unplugged_one_is_not(
    faultless: Kubelet, agent: Agent
) -> None:
    agent.configure(
        {"name": RESOURCE, "select": [{"subsystem": "block", "kernel": f"loop{NUMBER}"}]}
    )
    async with agent:
        await offers(faultless, 0)
        loop.add(NUMBER)
        await offers(faultless, 1)
        pod = asking(RESOURCE)
        admitted = await faultless.admit(pod)
        (node,) = admitted.containers["main"].devices
        assert leads_to(node.host_path) == node.container_path == f"/dev/loop{NUMBER}"
        loop.remove(NUMBER)
        wanted = Quantity(1, 0)
        await faultless.wait_for(lambda: faultless.node_status()[RESOURCE] == wanted, WAIT_S)
        loop.add(NUMBER)
        await offers(faultless, 1)
        assert faultless.admitted(pod.uid) == admitted
        assert is_node(node.host_path)
