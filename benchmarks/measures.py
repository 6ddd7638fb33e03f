"""Each measurement: a small world, the figures that come out of it."""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import grpc
import psutil

from benchmarks import crowd
from benchmarks.figures import Figure, Times, below
from benchmarks.kernel_events import KernelEvents, kernel_events
from benchmarks.lab import Lab, lab
from protos import deviceplugin_v1beta1_pb2 as v1beta1
from protos import deviceplugin_v1beta1_pb2_grpc as v1beta1_grpc
from ringbolt.linux import loop

RESOURCE = "ringbolt.dev/bench"
DEVICES = 1000
FIRST_LOOP = 7000
POLL_S = 5.0
WAKE_UPS_A_MINUTE = 20
"""A few timers of 30 s or slower, each of which may take some switches to be done with."""
MIB = 1024 * 1024


def _many(folder: Path) -> str:
    """A configuration for 1,000 devices: plain paths, so that any machine has them."""
    nodes = folder / "nodes"
    nodes.mkdir(exist_ok=True)
    for number in range(DEVICES):
        (nodes / f"node{number:04}").touch()
    return f"resources: [{{name: {RESOURCE}, select: [{{path: {nodes}/*}}]}}]\n"


async def start(folder: Path, rounds: int) -> Sequence[Figure]:
    """From exec of the agent to its registration and to its first list of 1,000 devices."""
    configuration = _many(folder)
    registered, listed = list[float](), list[float]()
    for turn in range(rounds):
        async with lab(folder / f"start{turn}", configuration) as running:
            first = await running.registered(RESOURCE)
            registered.append((first.at_s - running.started_at_s) * 1000)
            full = await running.listed(RESOURCE, DEVICES)
            listed.append((full.at_s - running.started_at_s) * 1000)
    imports = await asyncio.to_thread(_import_ms)
    beside = f"python importing grpc.aio alone: {imports:.0f} ms"
    return [
        below("start to registered", Times(registered), "p99", 1000, beside),
        Figure("start to 1,000 devices listed", str(Times(listed))),
    ]


def _import_ms() -> float:
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", "import grpc.aio"], check=True)
    return (time.monotonic() - begin) * 1000


async def hot_plug(folder: Path, rounds: int) -> Sequence[Figure]:
    """From the kernel's uevent of a loop device to the new list at the kubelet."""
    configuration = f"resources: [{{name: {RESOURCE}, select: [{{kernel: loop7???}}]}}]\n"
    plugged, unplugged = list[float](), list[float]()
    async with lab(folder / "plug", configuration) as running:
        await running.listed(RESOURCE, 0)
        with kernel_events() as events:
            for number in range(FIRST_LOOP, FIRST_LOOP + rounds):
                plugged.append(await _plug(running, events, number))
                unplugged.append(await _unplug(running, events, number))
        walk_ms = await asyncio.to_thread(_walk_ms)
    return [
        _against_polling("uevent to list, plug", Times(plugged), walk_ms),
        _against_polling("uevent to list, unplug", Times(unplugged), walk_ms),
    ]


async def _plug(running: Lab, events: KernelEvents, number: int) -> float:
    mark = len(running.kubelet.log)
    await asyncio.to_thread(loop.add, number)
    event = await running.listed(RESOURCE, 1, mark)
    return (event.at_s - await events.at_s("add", f"loop{number}")) * 1000


async def _unplug(running: Lab, events: KernelEvents, number: int) -> float:
    """Until nothing healthy is listed; it leaves the list when the kubelet says that it is free.

    The kernel itself takes some 25 ms from LOOP_CTL_REMOVE to its event.
    """
    mark = len(running.kubelet.log)
    await asyncio.to_thread(loop.remove, number)
    event = await running.without_healthy(RESOURCE, mark)
    await running.listed(RESOURCE, 0, mark)
    return (event.at_s - await events.at_s("remove", f"loop{number}")) * 1000


def _walk_ms() -> float:
    """What a peer that polls does each time: look at every device node's status."""
    begin = time.monotonic()
    for path in Path("/dev").rglob("*"):
        path.lstat()
    return (time.monotonic() - begin) * 1000


def _against_polling(what: str, times: Times, walk_ms: float) -> Figure:
    """A device appears anywhere between two polls, so half a period is a poller's median."""
    polled_ms = POLL_S * 1000 / 2 + walk_ms
    ratio = polled_ms / times.p50
    return below(
        what, times, "p50", 20, f"polling each {POLL_S:g} s: {polled_ms:.0f} ms, {ratio:.0f}x"
    )


async def calls(folder: Path, rounds: int) -> Sequence[Figure]:
    """The kubelet's calls over the real unix socket, with 1,000 devices."""
    async with lab(folder / "calls", _many(folder)) as running:
        ids = sorted((await running.listed(RESOURCE, DEVICES)).devices)
        async with grpc.aio.insecure_channel(f"unix:{running.socket()}") as channel:
            stub = v1beta1_grpc.DevicePluginStub(channel)
            order = random.Random(1)

            async def floor() -> None:
                await stub.GetDevicePluginOptions(v1beta1.Empty())

            async def allocate() -> None:
                asked = v1beta1.ContainerAllocateRequest(devices_ids=[order.choice(ids)])
                await stub.Allocate(v1beta1.AllocateRequest(container_requests=[asked]))

            async def prefer() -> None:
                asked = v1beta1.ContainerPreferredAllocationRequest(
                    available_deviceIDs=ids, allocation_size=8
                )
                request = v1beta1.PreferredAllocationRequest(container_requests=[asked])
                await stub.GetPreferredAllocation(request)

            empty = await _timed(floor, rounds)
            beside = f"empty call: {empty}"
            return [
                below("Allocate", await _timed(allocate, rounds), "p99", 3, beside),
                below("GetPreferredAllocation", await _timed(prefer, rounds), "p99", 10, beside),
            ]


async def _timed(call: Callable[[], Awaitable[None]], rounds: int) -> Times:
    times = list[float]()
    for _ in range(rounds):
        begin = time.monotonic()
        await call()
        times.append((time.monotonic() - begin) * 1000)
    return Times(times)


async def rest(folder: Path, window_s: float) -> Sequence[Figure]:
    """Memory with 1,000 devices and 110 pods, and how often the agent wakes with both at rest."""
    async with (
        crowd.inhabited(folder) as there,
        lab(folder / "rest", _many(folder), there.prefix) as running,
    ):
        await running.listed(RESOURCE, DEVICES)
        await there.attach(folder / "rest/run/agent.sock")
        await asyncio.sleep(20)  # a young kubelet is asked again, calls have deadlines: no rest
        before = _wake_ups(running.agent)
        await asyncio.sleep(window_s)
        after = _wake_ups(running.agent)
        memory = running.agent.memory_full_info()
    resident = memory.rss / MIB
    ours, grpcs = (
        sum(after[key] - before.get(key, 0) for key in after if (key[1] == "python") is mine)
        * (60 / window_s)
        for mine in (True, False)
    )
    polls = f"a poll each {POLL_S:g} s: {60 / POLL_S:.0f} at least"
    return [
        Figure(
            f"memory (RSS), {DEVICES} devices, {there.attached} pods",
            f"{resident:.1f} MiB",
            "<= 64 MiB",
            resident <= 64,
            f"PSS {memory.pss / MIB:.1f} MiB; three Go daemons together: about 100 MB",
        ),
        Figure(
            f"wake-ups at rest, {there.attached} pods",
            f"{ours:.0f} a minute",
            "timers >= 30 s only",
            ours <= WAKE_UPS_A_MINUTE,
            f"over {window_s:g} s; {polls}; the threads of gRPC's own library: {grpcs:.0f}",
        ),
    ]


def _wake_ups(process: psutil.Process) -> dict[tuple[str, str], int]:
    """Voluntary context switches, each a wake-up from waiting, by thread id and thread name."""
    found = dict[tuple[str, str], int]()
    for thread in Path(f"/proc/{process.pid}/task").iterdir():
        status = dict(line.split(":", 1) for line in (thread / "status").read_text().splitlines())
        name = "python" if status["Name"].strip().startswith("python") else "native"
        found[thread.name, name] = int(status["voluntary_ctxt_switches"])
    return found
