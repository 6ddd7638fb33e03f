"""A session's node: made, given its network by `ringbolt install`, served by an agent.

As root one agent serves hardware and network from the node's namespaces: the kernel tells every
network namespace that root owns of devices that come and go. One that a user owns is told nothing;
there the network has an agent of its own and the other one stays outside.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import yaml

from ringbolt.sandbox.ability import Ability, Means
from ringbolt.sandbox.agent_process import AgentPlace, start_agent
from ringbolt.sandbox.cni_exec import Cni, Ended, Exec
from ringbolt.sandbox.cni_install import install, servable
from ringbolt.sandbox.flex_driver import FlexDrivers
from ringbolt.sandbox.node import Join, Node, NodeError, open_node
from ringbolt.sandbox.pod_network import NetworkError, PodNetwork
from ringbolt.sandbox.volume_manager import VolumeManager

_READY_DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class NodeSession:
    """`hardware`: the agent of the devices, and the node it runs on (None: beside it).

    Without a `network` pods have none; `lacks` says why, and what else is left out. `filters`: it
    has masquerade and host ports.
    """

    hardware: AgentPlace
    hardware_node: Node | None = None
    network_agent: AgentPlace | None = None
    network: PodNetwork | None = None
    lacks: tuple[str, ...] = ()
    filters: bool = False
    volumes: VolumeManager | None = None
    volume_join: Join = ()


async def open_node_session(
    place: AgentPlace, ability: Ability, undo: contextlib.AsyncExitStack
) -> NodeSession:
    """The node of a session whose agent's configuration is written already. Raises AgentError."""
    config = cast("dict[str, Any]", yaml.safe_load(place.config.read_text(encoding="utf-8")))
    if config.get("network") is None:
        lacks = ["pods' network: the configuration has no `network:`"]
        if config.get("volumes"):
            lacks.append("pods' volumes: they are mounted on a node, made for the network only")
        return NodeSession(place, lacks=tuple(lacks))
    try:
        return await _with_network(place, ability, config, undo)
    except NodeError as error:
        _write(place.config, {**config, "network": None})
        return NodeSession(place, lacks=(f"pods' network: {error}",))


async def _with_network(
    place: AgentPlace, ability: Ability, config: Mapping[str, Any], undo: contextlib.AsyncExitStack
) -> NodeSession:
    if ability.means is Means.NONE:
        raise NodeError("this user may make no namespaces")
    top = place.run.parent
    (top / "netns").mkdir(mode=0o755)
    apart = ability.means is Means.USER_NAMESPACE
    node = await undo.enter_async_context(open_node(top / "netns", user_namespace=apart))
    wanted = servable(config)
    served = yaml.safe_load(wanted.text)
    own = make_place(top / "network", {**served, "resources": []}) if apart else place
    if apart:
        _write(place.config, {**config, "network": None, "volumes": None})
    else:
        _write(place.config, served)
    installed = await install(own.config, top / "cni")
    cni = Cni(installed.conf_dir, (installed.bin_dir,), top / "cni" / "cache", _on(node, own))
    return NodeSession(
        place,
        None if apart else node,
        own if apart else None,
        PodNetwork(node, cni),
        (*wanted.lacks, *installed.lacks),
        wanted.filters,
        _volumes(node, own, installed.volume_dir, undo),
        node.join_mounts,
    )


def _volumes(
    node: Node, agent: AgentPlace, directory: Path, undo: contextlib.AsyncExitStack
) -> VolumeManager:
    """What mounts pods' volumes on the node, by the drivers in a directory."""

    async def run(argv: Sequence[str]) -> tuple[int, bytes]:
        ended = await node.run(argv, agent.environment)
        return ended.code, ended.stdout + ended.stderr

    drivers = FlexDrivers(directory, run)
    undo.callback(drivers.close)
    return VolumeManager(agent.kubelet, drivers, Path(f"/proc/{node.pid}"))


async def serve_network(session: NodeSession, undo: contextlib.AsyncExitStack) -> NodeSession:
    """Start the network's own agent where there is one and wait until pods can be attached."""
    if session.network is None:
        return session
    if session.network_agent:
        agent = await start_agent(session.network_agent, session.network.node)
        undo.push_async_callback(agent.stop)
    try:
        await session.network.wait_ready(_READY_DEADLINE_S)
    except NetworkError as error:
        return replace(session, network=None, lacks=(*session.lacks, f"pods' network: {error}"))
    return session


def make_place(top: Path, config: str | Mapping[str, Any]) -> AgentPlace:
    """An agent's configuration and directories below `top`."""
    for folder in (top, *(top / name for name in ("kubelet", "run", "state", "cdi"))):
        folder.mkdir(mode=0o755, exist_ok=True)
    path = top / "ringbolt.yaml"
    if isinstance(config, str):
        path.write_text(config, encoding="utf-8")
    else:
        _write(path, config)
    return AgentPlace(
        path, top / "kubelet", top / "run", top / "state", top / "cdi", top / "agent.log"
    )


def _on(node: Node, agent: AgentPlace) -> Exec:
    """Runs plugins on the node, in the environment of a runtime that knows this agent."""

    async def run(program: Path, variables: Mapping[str, str], stdin: bytes) -> Ended:
        return await node.run([str(program)], {**variables, **agent.environment}, stdin)

    return run


def _write(path: Path, config: Mapping[str, Any]) -> None:
    present = {key: value for key, value in config.items() if value is not None}
    path.write_text(yaml.safe_dump(present, sort_keys=False), encoding="utf-8")
