"""A kubelet in this process and an agent beside it, in a temporary directory of their own."""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import yaml

from ringbolt.sandbox.ability import Ability
from ringbolt.sandbox.agent_process import AgentProcess, start_agent
from ringbolt.sandbox.container_process import LogLine
from ringbolt.sandbox.events import Event, EventKind
from ringbolt.sandbox.generation import V1_36, Generation
from ringbolt.sandbox.kubelet import Kubelet
from ringbolt.sandbox.node_session import make_place, open_node_session, serve_network
from ringbolt.sandbox.runtime import Runtime

_REGISTERED_DEADLINE_S = 20.0


@dataclass(frozen=True, slots=True)
class Session:
    """What runs, where, and how long it took to start.

    `resources` are the names that the agent was configured with; `network_lacks` says what pods'
    network does without on this machine; `filters`: it has masquerade and host ports.
    """

    kubelet: Kubelet
    agent: AgentProcess
    runtime: Runtime
    resources: tuple[str, ...]
    kubelet_s: float
    registered_s: float
    network_lacks: tuple[str, ...] = ()
    filters: bool = False

    async def listed(self, mark: int = 0) -> float:
        """Wait until every resource is listed; the moment (time.monotonic) when the last was."""

        def all_listed() -> bool:
            return self._lists(mark).keys() >= set(self.resources)

        waiting = asyncio.create_task(self.kubelet.wait_for(all_listed, _REGISTERED_DEADLINE_S))
        await self.agent.unless_it_ends(waiting)
        return max(self._lists(mark).values(), default=time.monotonic())

    def _lists(self, mark: int) -> Mapping[str, float]:
        """Each resource's first list since `mark`."""
        found: dict[str, float] = {}
        for event in self.kubelet.log.of(EventKind.LIST, mark=mark):
            found.setdefault(event.resource, event.at_s)
        return found

    async def listing(
        self, resource: str, wanted: Callable[[Event], bool], mark: int, timeout_s: float
    ) -> float:
        """The moment of the first list of a resource since `mark` that is wanted."""
        event = await self.kubelet.wait_for_event(
            lambda event: (
                event.kind is EventKind.LIST and event.resource == resource and wanted(event)
            ),
            timeout_s,
            mark,
        )
        return event.at_s


def resource_names(config: str) -> tuple[str, ...]:
    """The names of the resources of a configuration that the agent has found no fault with."""
    whole = cast("dict[str, list[dict[str, str]]]", yaml.safe_load(config))
    return tuple(entry["name"] for entry in whole.get("resources") or ())


@contextlib.asynccontextmanager
async def open_session(
    config: str,
    ability: Ability,
    *,
    listener: Callable[[LogLine], None],
    generation: Generation = V1_36,
) -> AsyncGenerator[Session, None]:
    """Start both sides and wait until every resource of `config` is listed; stop and clean up.

    Raises AgentError, with what the agent said, and TimeoutError.
    """
    async with contextlib.AsyncExitStack() as undo:
        top = _make_top()
        undo.callback(shutil.rmtree, top, ignore_errors=True)
        place = make_place(top, config)
        node = await open_node_session(place, ability, undo)
        began = time.monotonic()
        kubelet = await undo.enter_async_context(Kubelet(place.kubelet, generation))
        started = time.monotonic()
        kubelet.volumes = node.volumes
        agent = await start_agent(place, node.hardware_node)
        undo.push_async_callback(agent.stop)
        directories = (Path("/etc/cdi"), place.cdi)
        runtime = Runtime(top / "containers", ability, directories, listener)
        names = resource_names(config)
        session = Session(kubelet, agent, runtime, names, started - began, 0.0)
        last = await session.listed()
        node = await serve_network(node, undo)
        yield replace(
            session,
            runtime=replace(runtime, network=node.network, volume_join=node.volume_join),
            registered_s=last - started,
            network_lacks=node.lacks,
            filters=node.filters,
        )


def _make_top() -> Path:
    # Short: a unix socket's path has 107 bytes.
    top = Path(tempfile.mkdtemp(prefix="ringbolt-"))
    top.chmod(0o755)
    (top / "containers").mkdir(mode=0o755)
    return top
