"""The agent as a real process against the embedded kubelet, and the kubelet itself."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ringbolt.sandbox.events import EventKind
from ringbolt.sandbox.generation import GENERATIONS, Generation
from ringbolt.sandbox.kubelet import Kubelet
from ringbolt.sandbox.settings import Settings, Timings
from tests.kubelet.agent_process import Agent, Nodes

QUICK = Timings(reconcile_s=0.05, first_back_off_s=0.05, longest_back_off_s=0.2, dial_s=2.0)


@pytest.fixture(autouse=True)
def _tidy(no_process_remains: None) -> None:
    """No test of this layer leaves a process, a mount or a loop device behind."""


@pytest.fixture
def root() -> Iterator[Path]:
    """A kubelet's directory with a path short enough for unix sockets."""
    with tempfile.TemporaryDirectory(prefix="rb-") as folder:
        yield Path(folder) / "kubelet"


@pytest.fixture(params=list(GENERATIONS.values()), ids=lambda generation: generation.name)
def generation(request: pytest.FixtureRequest) -> Generation:
    """Each kubelet generation in turn."""
    found: Generation = request.param
    return found


@pytest.fixture
def nodes(root: Path) -> Nodes:
    """Device nodes for the agent to find."""
    return Nodes(root.parent / "dev")


@pytest.fixture
def agent(root: Path) -> Agent:
    """The real agent, to be configured and started."""
    return Agent(root.parent, root)


@pytest.fixture
def faultless(kubelet: Kubelet) -> Iterator[Kubelet]:
    """That kubelet; nothing that breaks the contract may reach it."""
    yield kubelet
    broken = (EventKind.VIOLATION, EventKind.CONFLICT, EventKind.FAULT)
    assert [str(event) for event in kubelet.log.since() if event.kind in broken] == []


@pytest.fixture
async def kubelet(root: Path, generation: Generation) -> AsyncIterator[Kubelet]:
    """A running kubelet of that generation."""
    async with Kubelet(root, generation, Settings(timings=QUICK)) as running:
        yield running
