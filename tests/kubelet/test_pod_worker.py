"""A pod's whole life: a plugin, the kubelet, the runtime, and a program that looks at its world."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from protos import deviceplugin_v1beta1_pb2 as v1beta1
from ringbolt.sandbox.ability import Means, find_ability
from ringbolt.sandbox.container_process import LogLine
from ringbolt.sandbox.device_table import Quantity
from ringbolt.sandbox.kubelet import Kubelet
from ringbolt.sandbox.pod import ContainerSpec, Pod, RestartPolicy, Volume, VolumeMount
from ringbolt.sandbox.pod_worker import PodFailedError, PodWorker
from ringbolt.sandbox.runtime import Runtime
from tests.kubelet.fake_plugin import FakePlugin, answer
from tests.kubelet.pods import pod_of
from tests.kubelet.test_registration import kubelet_socket, offers

SCRATCH = VolumeMount("scratch", "/scratch")


@pytest.fixture
async def plugin(kubelet: Kubelet) -> AsyncIterator[FakePlugin]:
    async with FakePlugin(kubelet.plugins_directory / "fake.sock") as running:
        running.options = v1beta1.DevicePluginOptions(pre_start_required=True)
        await running.register(kubelet_socket(kubelet))
        await offers(kubelet, Quantity(3, 3))
        yield running


@pytest.fixture
def lines() -> list[LogLine]:
    return []


@pytest.fixture
def worker(kubelet: Kubelet, plugin: FakePlugin, tmp_path: Path, lines: list[LogLine]) -> PodWorker:
    assert plugin.options.pre_start_required
    ability = find_ability()
    if ability.means is Means.NONE:
        pytest.skip(ability.lacks[0])
    runtime = Runtime(tmp_path / "run", ability, (), lines.append)
    return PodWorker(kubelet, runtime, patience_s=0.1, first_back_off_s=0.0)


def script(text: str, name: str = "main", things: int = 0) -> ContainerSpec:
    limits = {"example.com/thing": things} if things else {}
    return ContainerSpec(name, command=("sh", "-c", text), limits=limits, volume_mounts=(SCRATCH,))


def pod(*specs: ContainerSpec, init: tuple[ContainerSpec, ...] = ()) -> Pod:
    return replace(
        pod_of(*specs, init=init),
        volumes=(Volume("scratch"),),
        restart_policy=RestartPolicy.ON_FAILURE,
    )


def give_fuse(plugin: FakePlugin) -> None:
    async def fuse(_: v1beta1.AllocateRequest) -> v1beta1.AllocateResponse:
        spec = v1beta1.DeviceSpec(
            host_path="/dev/null", container_path="/dev/thing", permissions="rw"
        )
        return answer(devices=[spec], envs={"THING": "/dev/thing"})

    plugin.allocate = fuse


async def test_a_restart_replays_the_answer_and_asks_for_pre_start_again(
    worker: PodWorker, plugin: FakePlugin, lines: list[LogLine]
) -> None:
    give_fuse(plugin)
    text = "echo $THING; : <>$THING; mkdir /scratch/once 2>/dev/null && exit 5; exit 0"
    outcome = await worker.run(pod(script(text, things=1)))
    assert outcome.exit_codes == {"main": 0}
    assert [line.text for line in lines] == ["/dev/thing", "/dev/thing"]
    assert len(plugin.pre_starts) == 2
    assert len(plugin.allocations) <= 1


async def test_init_containers_come_first_and_one_by_one(
    worker: PodWorker, lines: list[LogLine]
) -> None:
    first, second = script("echo 1 >/scratch/f", "one"), script("cat /scratch/f; echo 2", "two")
    await worker.run(pod(script("echo 3"), init=(first, second)))
    assert [line.text for line in lines] == ["1", "2", "3"]


async def test_a_sidecar_runs_beside_and_ends_with_the_pod(worker: PodWorker) -> None:
    sidecar = replace(
        script("touch /scratch/up; exec sleep 1000", "side"), restart_policy=RestartPolicy.ALWAYS
    )
    waits = script("while [ ! -e /scratch/up ]; do sleep 0.01; done")
    assert (await worker.run(pod(waits, init=(sidecar,)))).exit_code == 0


async def test_a_pod_that_does_not_fit_is_told_what_is_missing(worker: PodWorker) -> None:
    with pytest.raises(PodFailedError, match=r"Pending: .*1 Insufficient example\.com/thing"):
        await worker.run(pod(script("true", things=4)))


async def test_a_device_that_is_gone_fails_the_container_and_frees_what_it_held(
    worker: PodWorker, plugin: FakePlugin, kubelet: Kubelet
) -> None:
    async def gone(_: v1beta1.AllocateRequest) -> v1beta1.AllocateResponse:
        spec = v1beta1.DeviceSpec(host_path="/dev/none", container_path="/dev/x", permissions="rw")
        return answer(devices=[spec])

    plugin.allocate = gone
    asked = pod(script("true", things=3))
    with pytest.raises(PodFailedError, match=r"CreateContainerError: .*lstat /dev/none: no such"):
        await worker.run(asked)
    assert kubelet.lacks(asked) == ()


async def test_a_failing_pre_start_fails_the_start(worker: PodWorker, plugin: FakePlugin) -> None:
    async def busy() -> None:
        raise RuntimeError("the device is busy")

    plugin.pre_start = busy
    with pytest.raises(PodFailedError, match="PreStartContainer rpc failed"):
        await worker.run(pod(script("true", things=1)))


async def test_cancelling_asks_the_program_to_end(worker: PodWorker, lines: list[LogLine]) -> None:
    up = asyncio.Event()

    def heard(line: LogLine) -> None:
        lines.append(line)
        up.set()

    worker = replace(worker, runtime=replace(worker.runtime, listener=heard))
    text = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 1000 & wait; done"
    running = asyncio.create_task(worker.run(pod(script(text))))
    await asyncio.wait_for(up.wait(), 30)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [line.text for line in lines] == ["up", "bye"]
