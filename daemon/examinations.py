"""Runs the configured health checks on time and tells the inventory which devices are unfit.

What a check does and when a device counts as unfit is `ringbolt.devices.health`; here are only the
clock and the threads. A check that hangs in its driver is left behind, counts as failed, and no
other check waits for it.
"""

import asyncio
import contextlib
import functools
from collections.abc import Sequence

from daemon.inventory import Inventory
from daemon.lean import structlog
from daemon.offload import in_thread
from ringbolt.devices import health
from ringbolt.devices.device import Device, DeviceId, Snapshot
from ringbolt.devices.health import Judgement, Verdict
from ringbolt.devices.resource import Check, Health

AT_ONCE = 16
"""Checks that run at the same time, each in a thread of its own."""
TOGETHER_S = 5.0
"""How long all checks that only stat may take in one thread, before each gets its own."""

_Due = tuple[Device, Health]
_STAT_ONLY = frozenset({Check.PRESENCE, Check.STAT})
_log = structlog.get_logger()


class Examinations:
    """Owner of every device's judgement. A device is examined when it appears, then on time."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._rules: dict[DeviceId, Health] = {}
        self._judgements: dict[DeviceId, Judgement] = {}
        self._due: dict[DeviceId, float] = {}
        self._alone: set[DeviceId] = set()
        self._hanging: set[DeviceId] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Examine until cancelled; nothing wakes it but a check's time or a new Snapshot."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                snapshot = self._inventory.snapshot
                self._forget(snapshot)
                for device, rules in await self._examine_together(self._take_due(snapshot)):
                    self._alone.add(device.id)
                    tasks.create_task(self._examine_alone(device, rules))
                self._inventory.judge(self._unfit())
                await self._next(snapshot.version)

    def _forget(self, snapshot: Snapshot) -> None:
        """A device that comes back begins anew, and so does one that is under new rules."""
        rules = {
            device.id: snapshot.resources[name].health
            for name, devices in snapshot.devices.items()
            for device in devices
        }
        for stale in [id_ for id_, old in self._rules.items() if rules.get(id_) != old]:
            self._due.pop(stale, None)
            self._judgements.pop(stale, None)
        self._rules = rules

    def _take_due(self, snapshot: Snapshot) -> list[_Due]:
        now = self._now()
        due: list[_Due] = []
        for name, devices in snapshot.devices.items():
            rules = snapshot.resources[name].health
            for device in devices:
                if self._due.get(device.id, 0.0) <= now:
                    # On a grid, so that devices that came one by one are examined together.
                    self._due[device.id] = (now // rules.interval_s + 1) * rules.interval_s
                    if device.id not in self._alone:
                        due.append((device, rules))
        return due

    async def _examine_together(self, due: Sequence[_Due]) -> list[_Due]:
        """Examine those whose check only stats; the answer is who needs a thread of its own."""
        quick = [
            (device, rules)
            for device, rules in due
            if rules.check in _STAT_ONLY and device.id not in self._hanging
        ]
        looking = functools.partial(_look_at_all, quick)
        try:
            verdicts = await in_thread(looking, timeout_s=TOGETHER_S) if quick else []
        except TimeoutError:  # one of them lies on a file system that does not answer
            quick, verdicts = [], []
        for (device, rules), verdict in zip(quick, verdicts, strict=True):
            self._judge(device, rules, verdict)
        looked_at = {device.id for device, _rules in quick}
        return [(device, rules) for device, rules in due if device.id not in looked_at]

    async def _examine_alone(self, device: Device, rules: Health) -> None:
        try:
            verdict = await self._look(device, rules)
        finally:
            self._alone.discard(device.id)
        if self._rules.get(device.id) == rules:  # it is still there, and judged by these
            self._judge(device, rules, verdict)
            self._inventory.judge(self._unfit())

    def _judge(self, device: Device, rules: Health, verdict: Verdict) -> None:
        previous = self._judgements.get(device.id, Judgement())
        judgement = health.judge(previous, verdict, rules)
        self._judgements[device.id] = judgement
        if judgement.fit != previous.fit:
            log = _log.bind(device=device.id, resource=device.resource)
            log.warning("health changed", fit=judgement.fit, reason=judgement.reason)

    async def _look(self, device: Device, rules: Health) -> Verdict:
        if device.id in self._hanging:
            return Verdict(ok=False, reason="an earlier check has not come back yet")
        check = functools.partial(self._check, device, rules)
        async with self._slots:
            try:
                return await in_thread(check, timeout_s=rules.timeout_s + 1)
            except TimeoutError:
                return Verdict(ok=False, reason=f"the check hangs for over {rules.timeout_s} s")

    def _check(self, device: Device, rules: Health) -> Verdict:
        """In the check's own thread; set operations are atomic."""
        self._hanging.add(device.id)
        try:
            return health.check(device, rules)
        finally:
            self._hanging.discard(device.id)

    def _unfit(self) -> dict[DeviceId, str]:
        return {id_: j.reason for id_, j in self._judgements.items() if not j.fit}

    async def _next(self, version: int) -> None:
        wait_s = min(self._due.values(), default=float("inf")) - self._now()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if wait_s == float("inf") else max(wait_s, 0.0)):
                await self._inventory.newer_than(version)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _look_at_all(items: Sequence[_Due]) -> list[Verdict]:
    return [health.check(device, rules) for device, rules in items]
