"""The rooms behind the exec doors: pods' networks and volumes, and all that looks after them.

Put together by the agent once it offers its devices: loading this takes as long as all of that, and
a kubelet that waits for devices need not wait for it. Nothing is decided here.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cni.late_network import LateNetwork
from daemon.config import Config
from daemon.directory_watch import DirectoryWatch
from daemon.exec_door import measured, open_cni_door, open_volume_door
from daemon.exec_lead import Lead
from daemon.exec_server import ExecServer
from daemon.frame import Kind
from daemon.install_keeper import InstallKeeper
from daemon.metrics import Metrics
from daemon.network_care import NetworkCare
from daemon.network_metrics import NetworkMetrics
from daemon.volume_care import VolumeCare
from daemon.volume_count import VolumeCount
from daemon.volume_health import VolumeHealth
from daemon.volume_metrics import VolumeMetrics
from ringbolt.network.network import Network
from ringbolt.volumes.paths import Places


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the rooms keep what is theirs, and where launchers meet the agent."""

    run_dir: Path
    state_dir: Path
    kubelet_dir: Path
    socket: Path


class ExecRooms:
    """Made within the event loop; `run` serves."""

    def __init__(self, paths: Paths, watch: DirectoryWatch, metrics: Metrics) -> None:
        self._run_dir = paths.run_dir
        self._metrics = metrics
        network_metrics = NetworkMetrics(metrics.registry)
        self._network = LateNetwork(self._open_network)
        self._keeper = InstallKeeper(paths.state_dir, watch)
        self._volumes = VolumeCare(Places(paths.run_dir, paths.state_dir, paths.kubelet_dir))
        self._count = VolumeCount(self._volumes.measure)
        self._health = VolumeHealth(self._volumes.room, VolumeMetrics(metrics.registry))
        lead = Lead()
        doors = {
            Kind.CNI: open_cni_door(self._network, lead.aside),
            Kind.FLEXVOLUME: open_volume_door(self._volumes),
        }
        timed = {kind: measured(door, network_metrics) for kind, door in doors.items()}
        self._server = ExecServer(paths.socket, timed, lead)
        self._care = NetworkCare(
            self._network, paths.run_dir, network_metrics, lambda: self._server.is_busy
        )
        watch.subscribe(self._server.spool.directory, self._server.nudge)

    def adopt(self, config: Config) -> None:
        """Go on by this configuration."""
        self._care.adopt(config.network)
        self._volumes.adopt(config.volumes)

    async def run(self) -> None:
        """Serve calls and look after pods until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for work in self._endless():
                tasks.create_task(work)

    async def measure(self) -> None:
        """Bring the numbers up to date that are looked up when somebody asks."""
        self._metrics.volumes(await self._count.now())

    def close(self) -> None:
        """Let go of the network's room. Blocks."""
        self._network.close()

    def _endless(self) -> tuple[Coroutine[Any, Any, None], ...]:
        return (
            _guarded(self._server.run(), "exec calls"),
            _guarded(self._care.run(), "pods' networks"),
            _guarded(self._keeper.run(), "what was installed"),
            _guarded(self._volumes.run(), "pods' volumes"),
            _guarded(self._health.run(), "the volumes' health"),
        )

    def _open_network(self) -> Network:
        room = Network(self._run_dir)
        self._care.notice_opened()
        return room


async def _guarded(work: Coroutine[Any, Any, None], name: str) -> None:
    await work
    raise RuntimeError(f"{name} ended although it should run for ever")
