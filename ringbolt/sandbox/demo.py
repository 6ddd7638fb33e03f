"""The demo: both sides started on this machine's hardware, pods run on it, a device replugged.

The order of events and what they are worth saying; how it looks is `report`'s.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import yaml

from ringbolt.sandbox.ability import Ability, Means, find_ability
from ringbolt.sandbox.agent_process import list_devices
from ringbolt.sandbox.events import Event
from ringbolt.sandbox.examples import example
from ringbolt.sandbox.network_demo import NetworkDemo
from ringbolt.sandbox.pod import Pod
from ringbolt.sandbox.pod_file import load_pods
from ringbolt.sandbox.pod_worker import PodFailedError, PodWorker, Progress, Step
from ringbolt.sandbox.report import Report
from ringbolt.sandbox.session import Session, open_session
from ringbolt.sandbox.stage import Stage, open_stage
from ringbolt.sandbox.volume_demo import VolumeDemo

T = TypeVar("T")

_ROUNDS = 10
_CHANGE_DEADLINE_S = 10.0


async def run_demo(report: Report) -> int:
    """Show the main job; 0 if all that this user may do worked."""
    ability = await asyncio.to_thread(find_ability)
    with contextlib.ExitStack() as undo:
        stage = open_stage(ability, undo)
        config = _configuration(stage)
        report.machine(ability, stage.lacks)
        report.doing("starting the kubelet and the agent")
        async with open_session(config, ability, listener=report.log_line) as session:
            return await _Demo(report, session, stage, ability).run()


@dataclass(frozen=True, slots=True)
class _Demo:
    report: Report
    session: Session
    stage: Stage
    ability: Ability

    async def run(self) -> int:
        report, session = self.report, self.session
        report.took("embedded kubelet: start", session.kubelet_s)
        report.took("agent: start until every resource is listed", session.registered_s)
        report.devices(await self._timed("ringbolt devices: one look", self._look()))
        failed = 0
        (first,) = load_pods(example("fuse-and-tun.yaml"))
        (second,) = load_pods(example(self.stage.pod))
        failed += await self._pod("fuse-and-tun.yaml", first)
        failed += await self._pod(self.stage.pod, self._with_the_rest(first, second))
        self.report.network()
        failed += await NetworkDemo(session, report).run()
        volumes = VolumeDemo(session, report, self.ability)
        report.volumes()
        failed += await volumes.write()
        await self._replug()
        await self._restart_kubelet()
        await self._timed("agent: SIGTERM until it ended", session.agent.stop())
        failed += await volumes.find_again()
        report.summary(failed)
        return 1 if failed else 0

    async def _look(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await list_devices(self.session.agent.place))["devices"]
        return found

    def _with_the_rest(self, first: Pod, second: Pod) -> Pod:
        """The second pod, asking also for one of each that the machine has and none asks for."""
        status = self.session.kubelet.node_status()
        asked = first.containers[0].limits
        rest = {name: 1 for name in status if name not in asked and status[name].allocatable}
        main = second.containers[0]
        return replace(second, containers=(replace(main, limits={**rest, **main.limits}),))

    async def _pod(self, name: str, pod: Pod) -> int:
        """Run one pod; 1 if it failed although all it needs is there."""
        report = self.report
        report.pod(f"examples/{name}", pod)
        if self.ability.means is Means.NONE:
            return await self._allocate_only(pod)
        if lacking := self.session.kubelet.lacks(pod):
            report.left_out(f"not run: this machine has too little of it ({', '.join(lacking)})")
            return 0
        worker = PodWorker(self.session.kubelet, self.session.runtime, observer=report.progress)
        try:
            outcome = await worker.run(pod)
        except PodFailedError as error:
            report.failed(str(error))
            return 1
        return 1 if outcome.exit_code else 0

    async def _allocate_only(self, pod: Pod) -> int:
        """What remains without any namespace: the kubelet's half."""
        kubelet = self.session.kubelet
        if lacking := kubelet.lacks(pod):
            self.report.left_out(f"this machine has too little of it ({', '.join(lacking)})")
            return 0
        began = time.monotonic()
        admitted = await kubelet.admit(pod)
        took = time.monotonic() - began
        self.report.progress(Progress(Step.ADMITTED, pod, took_s=took, admitted=admitted))
        await kubelet.remove(pod.uid)
        self.report.left_out("admitted but not run; why stands at the top")
        return 0

    async def _replug(self) -> None:
        """Take the stage's device away and bring it back, and see the kubelet's list change."""
        stage, resource = self.stage, self.stage.resource
        self.report.replug(stage.what, _ROUNDS)
        for _ in range(_ROUNDS):
            took = await self._change(resource, stage.take_away, _none_healthy)
            self.report.took("device taken away until the kubelet's list says so", took)
            took = await self._change(resource, stage.bring_back, _some_healthy)
            self.report.took("device back until the kubelet's list says so", took)

    async def _change(
        self, resource: str, change: Callable[[], float], wanted: Callable[[Event], bool]
    ) -> float:
        mark = len(self.session.kubelet.log)
        began = await asyncio.to_thread(change)
        at_s = await self.session.listing(resource, wanted, mark, _CHANGE_DEADLINE_S)
        return at_s - began

    async def _restart_kubelet(self) -> None:
        self.report.kubelet_restart()
        mark = len(self.session.kubelet.log)
        await self.session.kubelet.restart()
        began = time.monotonic()
        last = await self.session.listed(mark)
        self.report.took("kubelet restarted until every resource is back", last - began)

    async def _timed(self, what: str, work: Awaitable[T]) -> T:
        began = time.monotonic()
        result = await work
        self.report.took(what, time.monotonic() - began)
        return result


def _configuration(stage: Stage) -> str:
    """The example's configuration with the stage's resource added."""
    config = yaml.safe_load(example("agent.yaml").read_text(encoding="utf-8"))
    config["resources"].append(stage.configuration())
    return yaml.safe_dump(config, sort_keys=False)


def _none_healthy(event: Event) -> bool:
    return "Healthy" not in event.devices.values()


def _some_healthy(event: Event) -> bool:
    return "Healthy" in event.devices.values()
