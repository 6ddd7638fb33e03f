"""Has the room of volumes as configured, and has it put right what it finds at the start.

Nothing is decided here. What stands at the start is looked at in a thread of its own: a mount whose
server is gone may hang it, and must hang neither the agent nor its end.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Mapping

from daemon import volume_propagation
from daemon.device_finder import DeviceFinder
from daemon.lean import structlog
from daemon.options import VolumeOptions
from daemon.volume_policy import volume_policy
from daemon.volume_servers import tend_servers
from ringbolt.devices.scan import Scanner
from ringbolt.volumes.abilities import find_abilities
from ringbolt.volumes.errors import VolumeError
from ringbolt.volumes.kinds import all_kinds, open_volumes
from ringbolt.volumes.outcome import Reconciled
from ringbolt.volumes.paths import Places
from ringbolt.volumes.policy import Policy
from ringbolt.volumes.setting import Setting, write_setting
from ringbolt.volumes.volumes import Volumes

_log = structlog.get_logger()


class VolumeCare:
    """The room of one agent."""

    def __init__(self, places: Places) -> None:
        self._setting = Setting(places, Policy())
        self._find = DeviceFinder(Scanner())
        self._turn = threading.Lock()
        self._opened: Volumes | None = None

    def room(self) -> Volumes:
        """The room, opened by the first who needs it. Raises OSError."""
        with self._turn:
            if self._opened is None:
                self._opened = open_volumes(self._setting, self._find)
            return self._opened

    def adopt(self, options: VolumeOptions | None) -> None:
        """Allow what the configuration does from now on; what is mounted stays."""
        subvolumes = options.subvolumes if options else None
        self._setting = Setting(self._setting.places, volume_policy(options), subvolumes)
        with self._turn:
            if self._opened:
                self._opened.adopt(self._setting.policy, all_kinds(self._setting, self._find))
        try:
            write_setting(self._setting)
        except OSError as error:
            _log.warning("`python -m flexvolume` cannot serve beside the agent", error=str(error))

    def measure(self) -> Mapping[tuple[str, str], int]:
        """How many volumes there are, by kind and by whether they are mounted."""
        with self._turn:
            opened = self._opened
        found = opened.list() if opened else ()
        states = ("mounted" if one.publications or one.staged else "unused" for one in found)
        return Counter((one.kind.value, state) for one, state in zip(found, states, strict=True))

    async def run(self) -> None:
        """Put right what is left of a killed agent or a reboot; then only be there."""
        threading.Thread(target=self._look, name="volumes", daemon=True).start()
        await asyncio.Event().wait()

    def _look(self) -> None:
        try:
            self._tell_lacks()
            _tell(self.room().reconcile())
        except (VolumeError, OSError) as error:
            _log.error("what was left of volumes is not put right", error=str(error))
        try:
            tend_servers(self.room(), self._setting.places.run_dir)
        except (VolumeError, OSError) as error:
            _log.error("volumes' servers are not looked after", error=str(error))

    def _tell_lacks(self) -> None:
        if not self._setting.policy.rules:
            return
        if lack := volume_propagation.find_lack(self._setting.places.kubelet_dir):
            _log.warning("this node lacks", lack=lack)
        wanted = {kind for rule in self._setting.policy.rules for kind in rule.kinds}
        for found in find_abilities(all_kinds(self._setting, self._find)):
            for lack in filter(None, (found.lack, *found.partly)) if found.kind in wanted else ():
                _log.warning("this node lacks", lack=f"{found.kind.value} volumes: {lack}")


def _tell(found: Reconciled) -> None:
    """One line for each thing that was put right, or that somebody should look at."""
    for target in found.guards:
        _log.warning("volume: guard taken off", target=str(target), reason="nothing is mounted")
    for target in found.dropped:
        _log.warning("volume: record dropped", target=str(target), reason="nothing is mounted")
    for volume_id in found.unstaged:
        _log.warning("volume: unstaged", volume_id=volume_id, reason="no pod uses it")
    for target in found.orphans:
        _log.warning("volume: mounted, though nothing is remembered of it", target=str(target))
    for words in found.remarks:
        _log.warning("volume: could not be looked at", reason=words)
