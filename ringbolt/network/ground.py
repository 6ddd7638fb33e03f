"""What every call of the room stands on: the open kernel, the leases, the bridges found so far.

Looks and plans for all, and takes back for all; who attaches and who looks after what is attached
come on top of it.
"""

import threading
from contextlib import ExitStack
from pathlib import Path

from ringbolt.linux.netlink import Socket
from ringbolt.linux.visitors import Visitors
from ringbolt.network import ruleset, settings_record, wiring
from ringbolt.network.attachment import Attach
from ringbolt.network.bridge import (
    Bridge,
    ensure_bridge,
    ensure_forwarding,
    find_again,
    versions_of,
)
from ringbolt.network.errors import InvalidError
from ringbolt.network.firewall import Firewall
from ringbolt.network.leases import Lease, Leases
from ringbolt.network.ledger import Ledger
from ringbolt.network.plan import DEFAULT_MTU, Plan, check_mtu, plan_attachment
from ringbolt.network.record import Record
from ringbolt.network.recorded import addresses_of, names_of
from ringbolt.network.settings import Mode, NetworkName, Settings
from ringbolt.network.sweeper import Sweeper
from ringbolt.network.turns import Turns
from ringbolt.network.uplink import find_uplinks


class Ground:
    """Close it. Raises NotAvailableError, OSError."""

    def __init__(self, run_dir: Path, *, coalesce: bool) -> None:
        with ExitStack() as undo:
            self.node = undo.enter_context(Socket())
            self.visitors = Visitors()
            undo.callback(self.visitors.close)
            self.leases = Leases(Ledger(run_dir))
            undo.callback(self.leases.close)
            self.sweeper = undo.enter_context(Sweeper(coalesce=coalesce))
            self.firewall = Firewall(self._recorded_ports)
            undo.callback(self.firewall.close)
            self._bridges: dict[tuple[NetworkName, str], tuple[Settings, Bridge]] = {}
            self._uplinks: dict[int, int] | None = None
            self._remembered: dict[NetworkName, Settings] = {}
            self.turns = Turns()
            self._turn = threading.Lock()
            self._undo = undo.pop_all()

    def close(self) -> None:
        """Delete what is marked for it and let go of everything."""
        self._undo.close()

    def remember(self, settings: Settings) -> None:
        """Keep the settings with the leases, where they are others than before."""
        known = self._remembered.get(settings.name)
        if known is not settings and known != settings:
            self.leases.remember(settings.name, settings_record.to_json(settings))
            self._remembered[settings.name] = settings

    def plan(self, attach: Attach, lease: Lease, bridge: Bridge | None) -> Plan:
        """What the attachment shall be. Raises InvalidError."""
        plan = plan_attachment(attach, lease, self.mtu(), bridge.mac if bridge else "")
        if fault := check_mtu(plan.mtu, plan.versions):
            raise InvalidError(f"{fault}: set mtu, or use IPv4 alone")
        return plan

    def mtu(self) -> int:
        """The uplink's MTU, as it was when it was looked for."""
        if self._uplinks is None:
            self._uplinks = find_uplinks(self.node)
        return min(self._uplinks.values(), default=DEFAULT_MTU)

    def look_for_uplinks(self) -> dict[int, int]:
        """Find out the uplinks and their MTUs anew."""
        self._uplinks = find_uplinks(self.node)
        return self._uplinks

    def bridge(self, settings: Settings) -> Bridge | None:
        """The bridge of these settings, looked at by one question for its name."""
        if settings.mode is Mode.ROUTED:
            ensure_forwarding(versions_of(settings))
            return None
        which = settings.name, settings.bridge
        known = self._bridges.get(which)
        if known and (known[0] is settings or known[0] == settings):
            found = find_again(self.node, settings.bridge, known[1])
            if found:
                return found
        with self._turn:
            found = ensure_bridge(self.node, settings, settings.mtu or self.mtu())
            self._bridges[which] = settings, found
        return found

    def remove(self, lease: Lease) -> bool:
        """Everything of a lease but the lease; whether there are links to sweep."""
        record = Record.from_json(lease.note)
        addresses = addresses_of(lease, record)
        if record.ports:
            self.firewall.close_ports(record.ports, addresses)
        if record.mode is Mode.BRIDGE:
            wiring.forget_neighbours(self.node, record.bridge, addresses)
        return wiring.doom(self.node, *names_of(lease, record))

    def _recorded_ports(self) -> list[ruleset.Element]:
        found: list[ruleset.Element] = []
        for lease in self.leases.all():
            record = Record.from_json(lease.note)
            found += ruleset.elements_of(record.ports, addresses_of(lease, record))
        return found
