"""The sandbox's pods mount volumes: the real agent and driver on a node, by each of two means."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from ringbolt.linux.mount import parse_mountinfo
from ringbolt.sandbox.ability import Ability, Means, find_ability
from ringbolt.sandbox.cni_install import servable
from ringbolt.sandbox.container_process import LogLine
from ringbolt.sandbox.pod import (
    ContainerSpec,
    FlexVolume,
    Pod,
    PodUid,
    RestartPolicy,
    Volume,
    VolumeMount,
)
from ringbolt.sandbox.pod_worker import PodFailedError, PodWorker, Progress, Step
from ringbolt.sandbox.session import Session, open_session
from ringbolt.sandbox.volume_manager import VolumeManager
from tests.kernel.container_lab import NAMESPACED

DEADLINE_S = 60
MIB = 1 << 20
CONFIG: dict[str, Any] = {
    "resources": [],
    "network": {"name": "lab", "ranges": [[{"subnet": "10.77.0.0/24"}]], "masquerade": True},
    "volumes": {"allow": [{"namespaces": ["*"], "kinds": ["tmpfs", "loop"], "max_size": "1Gi"}]},
}
SCRATCH = FlexVolume("ringbolt.dev/volume", "scratch", options={"kind": "tmpfs", "size": "8Mi"})


@pytest.fixture(params=["root", "user namespace"])
def ability(request: pytest.FixtureRequest, need_program: Any) -> Ability:
    need_program("ip", "iproute2")
    if lacks := servable(CONFIG).lacks:
        pytest.skip("; ".join(lacks))
    if request.param == "user namespace":
        return NAMESPACED
    return as_root()


def as_root() -> Ability:
    found = find_ability()
    if found.means is not Means.ROOT:
        pytest.skip("needs real root: run as root")
    return found


@asynccontextmanager
async def session(ability: Ability, written: list[str]) -> AsyncGenerator[Session]:
    def hear(line: LogLine) -> None:
        written.append(line.text)

    async with open_session(yaml.safe_dump(CONFIG), ability, listener=hear) as opened:
        yield opened


def volumes_of(opened: Session) -> VolumeManager:
    assert opened.kubelet.volumes is not None
    return opened.kubelet.volumes


def loop(name: str = "data", *, readonly: bool = False, **options: str) -> FlexVolume:
    told = {"kind": "loop", "name": name, **options}
    return FlexVolume("ringbolt.dev/volume", "data", options=told, readonly=readonly)


def pod(name: str, script: str, flex: FlexVolume) -> Pod:
    mounts = (VolumeMount("v", "/v"),)
    spec = ContainerSpec("c", command=("sh", "-c", script), volume_mounts=mounts)
    volumes = (Volume("v", flex=flex),)
    never = RestartPolicy.NEVER
    return Pod(name, "default", PodUid(name), (spec,), volumes=volumes, restart_policy=never)


async def run(opened: Session, wanted: Pod) -> int:
    worker = PodWorker(opened.kubelet, opened.runtime, patience_s=5.0)
    return (await asyncio.wait_for(worker.run(wanted), DEADLINE_S)).exit_code


def mounted(manager: VolumeManager) -> list[str]:
    """What is mounted below the kubelet's directory, where the node sees it."""
    text = (manager.process / "mountinfo").read_text()
    inside = f"{manager.root}/"
    return [one.target for one in parse_mountinfo(text) if one.target.startswith(inside)]


def allow_to_go_on(folder: Path) -> None:
    (folder / "go").touch()


async def test_a_pod_writes_into_memory_and_nothing_is_left(ability: Ability) -> None:
    written: list[str] = []
    async with session(ability, written) as opened:
        script = "echo x > /v/x && cat /v/x && awk '$2==\"/v\" {print $3, $4}' /proc/mounts"
        assert await run(opened, pod("one", script, SCRATCH)) == 0
        assert written[0] == "x"
        assert written[1].startswith("tmpfs rw,nosuid,nodev")
        assert mounted(volumes_of(opened)) == []
        assert not (volumes_of(opened).root / "pods/one").exists()


async def test_what_the_agent_refuses_is_why_the_pod_fails(ability: Ability) -> None:
    async with session(ability, []) as opened:
        large = FlexVolume("ringbolt.dev/volume", "s", options={"kind": "tmpfs", "size": "2Gi"})
        with pytest.raises(PodFailedError, match=r"FailedMount: .*volumes.allow gives"):
            await run(opened, pod("one", "true", large))
        assert not (volumes_of(opened).root / "pods/one").exists()


@pytest.mark.root
async def test_another_pod_finds_what_one_wrote_and_may_only_read_it() -> None:
    written: list[str] = []
    async with session(as_root(), written) as opened:
        script = "echo letter > /v/x"
        assert await run(opened, pod("one", script, loop(size="64Mi"))) == 0
        await opened.kubelet.restart()
        script = "cat /v/x; ! touch /v/y"
        assert await run(opened, pod("two", script, loop(readonly=True))) == 0
        assert written[0] == "letter"
        assert mounted(volumes_of(opened)) == []


@pytest.mark.root
async def test_a_pod_keeps_its_volume_over_the_kubelets_restart() -> None:
    written: list[str] = []
    async with session(as_root(), written) as opened:
        began = asyncio.Event()

        def observe(progress: Progress) -> None:
            if progress.step is Step.STARTED:
                began.set()

        worker = PodWorker(opened.kubelet, opened.runtime, observer=observe)
        script = "until [ -e /v/go ]; do sleep 0.05; done; echo still there > /v/x; cat /v/x"
        running = asyncio.create_task(worker.run(pod("one", script, loop(size="64Mi"))))
        await asyncio.wait_for(began.wait(), DEADLINE_S)
        await opened.kubelet.restart()
        manager = volumes_of(opened)
        target = manager.root / "pods/one/volumes/ringbolt.dev~volume/data"
        assert str(target) in mounted(manager)
        allow_to_go_on(Path(f"{manager.process}/root{target}"))
        assert (await asyncio.wait_for(running, DEADLINE_S)).exit_code == 0
        assert written == ["still there"]
        assert mounted(manager) == []
