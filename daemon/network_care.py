"""Looks after pods' networks while nobody calls: mends, takes back, measures, and logs each of it.

The kernel's notices lead to a look soon, a timer to one now and then. One socket hears pods'
namespaces too; a socket in each would keep a dead pod's namespace alive. What is wrong, and what is
to be done about it, is the room's to decide.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic

from cni.codes import CniError
from cni.late_network import LateNetwork
from daemon.cni_conflist import settings_of
from daemon.lean import structlog
from daemon.network_metrics import NetworkMetrics
from daemon.network_notices import NetworkNotices
from daemon.options import NetworkOptions
from ringbolt.network import pool
from ringbolt.network.attachment import Attachment, Collected, Fault, Key
from ringbolt.network.errors import NetworkError
from ringbolt.network.foreign_drop import find_legacy
from ringbolt.network.ledger import ledger_path
from ringbolt.network.network import Network
from ringbolt.network.settings import NetworkName, Settings
from ringbolt.network.signs import Signs

PERIOD_S = 60.0
GAP_S = 2.0
"""At least so long between two looks, so that churn does not keep us looking."""
_EVERYWHERE = Signs(node=True)

_log = structlog.get_logger()


class NetworkCare:
    """For the configured network, and for those that have pods, as they were when one came.

    `is_busy`: whether a pod is being attached or detached, which shall not wait for this.
    """

    def __init__(
        self,
        network: LateNetwork[Network],
        run_dir: Path,
        metrics: NetworkMetrics,
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._network = network
        self._run_dir = run_dir
        self._metrics = metrics
        self._configured: Settings | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked = asyncio.Event()
        self._signs = _EVERYWHERE
        self._notices = NetworkNotices(self._heed, is_busy)
        self._is_open = False
        self._told = frozenset[str]()

    def adopt(self, options: NetworkOptions | None) -> None:
        """Take the configuration's network from now on; None where it has none."""
        try:
            self._configured = settings_of(options) if options else None
        except CniError as error:
            _log.warning("the configured network is not served", error=str(error))
            self._configured = None
        self._heed(_EVERYWHERE)

    def notice_opened(self) -> None:
        """The room was opened, by whomever, in any thread."""
        if self._loop:
            with suppress(RuntimeError):  # the loop has closed
                self._loop.call_soon_threadsafe(self._heed, _EVERYWHERE)
        self._is_open = True

    async def run(self) -> None:
        """Look after them until cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                signs, self._signs = self._signs, Signs()
                self._asked.clear()
                if self._is_needed():
                    await self._look(signs)
                await self._wait()
        finally:
            self._notices.close()

    async def _wait(self) -> None:
        looked = monotonic()
        try:
            async with asyncio.timeout(PERIOD_S):
                await self._asked.wait()
        except TimeoutError:
            self._signs = _EVERYWHERE
        await asyncio.sleep(max(0.0, looked + GAP_S - monotonic()))

    def _heed(self, signs: Signs) -> None:
        self._signs |= signs
        self._asked.set()

    def _is_needed(self) -> bool:
        """Whether there is a network, or an earlier agent may have left pods that have one."""
        return bool(self._configured) or self._is_open or ledger_path(self._run_dir).exists()

    async def _look(self, signs: Signs) -> None:
        try:
            await asyncio.to_thread(self._look_now, signs)
        except (NetworkError, OSError, ValueError) as error:
            self._tell_once([f"pods' networks are not looked after: {error}"])

    # --- In a thread ---

    def _look_now(self, signs: Signs) -> None:
        room = self._network.room()
        only = None if signs.node else room.locate(signs)
        if only is not None and not only and not signs.filter:
            return
        networks = self._known(room)
        if self._loop:
            marks = room.landmarks(networks.values())
            self._loop.call_soon_threadsafe(self._notices.listen, marks)
        failed = [
            _words(fault) for one in networks.values() for fault in self._mend(room, one, only)
        ]
        for settings in networks.values() if signs.node else ():
            self._report_collected(settings.name, room.collect(settings, None))
        if legacy := find_legacy():
            failed.append(legacy)
        self._tell_once(failed)
        self._measure(room, networks.values())

    def _known(self, room: Network) -> Mapping[NetworkName, Settings]:
        known = room.networks()
        if configured := self._configured:
            known[configured.name] = configured
        return known

    def _mend(
        self, room: Network, settings: Settings, only: frozenset[Key] | None
    ) -> Iterable[Fault]:
        repaired = room.repair(settings, only)
        for one in repaired.mended:
            self._metrics.mended(one.network)
            _log.warning("network mended", network=one.network, was=one.words, **_pod(one))
        return repaired.failed

    def _report_collected(self, network: NetworkName, gone: Collected) -> None:
        for one, why in zip(gone.attachments, gone.reasons, strict=True):
            self._metrics.reclaimed(network)
            _log.warning("address reclaimed", network=network, reason=why, **_facts(one))
        for name in gone.links:
            _log.warning("link removed", network=network, link=name, reason="no pod has it")

    def _tell_once(self, failed: Iterable[str]) -> None:
        """Log what cannot be mended when it appears, and not again while it lasts."""
        now = frozenset(failed)
        for words in sorted(now - self._told):
            _log.error("network not as it should be", lack=words)
        for words in sorted(self._told - now):
            _log.info("network as it should be again", lacked=words)
        self._told = now

    def _measure(self, room: Network, networks: Iterable[Settings]) -> None:
        self._metrics.forget_networks()
        for one in networks:
            self._metrics.attached(one.name, len(room.attachments(one.name)))
            for ranges in one.ranges:
                usage = room.leases.usage(one.name, ranges, one.reserved)
                self._metrics.addresses(one.name, pool.describe(ranges), usage)


def _pod(fault: Fault) -> dict[str, object]:
    return _facts(fault.attachment) if fault.attachment else {}


def _facts(one: Attachment) -> dict[str, object]:
    facts: dict[str, object] = {
        "container_id": one.key.container_id,
        "ifname": one.key.ifname,
        "addresses": [str(each) for each in one.addresses],
    }
    pod = f"{one.pod.namespace}/{one.pod.name}" if one.pod.name else ""
    return {"pod": pod, **facts} if pod else facts


def _words(fault: Fault) -> str:
    whose = ""
    if one := fault.attachment:
        whose = f"{one.pod.namespace}/{one.pod.name}: " if one.pod.name else f"{one.key[0]}: "
    return f"{fault.network}: {whose}{fault.words}"
