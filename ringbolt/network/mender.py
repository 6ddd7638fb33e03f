"""Puts right what somebody broke of a network: forwarding, bridge, packet filter; then its pods.

It looks at all of a network at once and changes only what differs, so it may be called at any
time. What it cannot put right it says. No pod waits for it.
"""

from collections.abc import Iterable, Sequence

from ringbolt.linux import link
from ringbolt.linux.link import Link
from ringbolt.network import ruleset, settings_record
from ringbolt.network.attachment import Fault, Key, Repaired
from ringbolt.network.bridge import (
    Bridge,
    bridge_faults,
    ensure_bridge,
    ensure_forwarding,
    forwarding_faults,
    versions_of,
)
from ringbolt.network.drift import look_at_node
from ringbolt.network.errors import NetworkError
from ringbolt.network.foreign_drop import find_drop, open_forward
from ringbolt.network.ground import Ground
from ringbolt.network.leases import Lease
from ringbolt.network.notice_filter import has_link_local
from ringbolt.network.plan import settings_with
from ringbolt.network.pod_mender import Findings, PodMender
from ringbolt.network.record import Record
from ringbolt.network.recorded import addresses_of
from ringbolt.network.ruleset_view import describe, lost_of
from ringbolt.network.settings import Mode, NetworkName, Settings
from ringbolt.network.signs import Landmarks, Signs


class Mender:
    """Of the networks that stand on `ground`."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def networks(self) -> dict[NetworkName, Settings]:
        """The settings of the networks that have pods, as they were when one was last attached."""
        texts = self._ground.leases.remembered()
        return {name: settings_record.from_json(text) for name, text in texts.items()}

    def landmarks(self, networks: Iterable[Settings]) -> Landmarks:
        """What of the node these networks stand on now."""
        known = tuple(networks)
        return Landmarks(
            frozenset(one.bridge for one in known if one.mode is Mode.BRIDGE),
            tuple(subnet for one in known for subnet in ruleset.subnets_of(one)),
            self._ground.look_for_uplinks(),
            any(has_link_local(one) for one in known),
        )

    def locate(self, signs: Signs) -> frozenset[Key]:
        """Which attachments the signs are about."""
        links = dict[str, Link]()
        if signs.netnsids:
            found = link.list_links(self._ground.node)
            links = {one.name: one for one in found if one.netnsid in signs.netnsids}
        if not links and not signs.addresses:
            return frozenset()
        leases = self._ground.leases.all()
        return frozenset(
            lease.key
            for lease in leases
            if lease.host_name in links or not signs.addresses.isdisjoint(lease.addresses)
        )

    def repair(self, settings: Settings, only: frozenset[Key] | None) -> Repaired:
        """Mend what differs from what was set up, and follow the uplink's MTU.

        `only` bounds the pods that are looked into. Raises nothing for what cannot be mended.
        """
        self._ground.look_for_uplinks()
        leases = self._ground.leases.all(settings.name)
        found = Findings(settings.name)
        if leases:
            records = [Record.from_json(lease.note) for lease in leases]
            given = (one for record in records for one in record.given)
            settings = settings_with(settings, given)
            self._repair_network(settings, leases, records, found, only)
        self._open_forward(settings, found)
        return found.repaired()

    def _repair_network(
        self,
        settings: Settings,
        leases: Sequence[Lease],
        records: Sequence[Record],
        found: Findings,
        only: frozenset[Key] | None,
    ) -> None:
        if not self._repair_bridge(settings, found):
            return
        self._repair_filter(settings, leases, records, found, only)
        if only is not None and not any(lease.key in only for lease in leases):
            return
        bridge = self._ground.bridge(settings)
        pods = PodMender(self._ground, settings, look_at_node(self._ground.node), bridge)
        for lease, record in zip(leases, records, strict=True):
            if only is None or lease.key in only:
                with self._ground.turns.if_free(lease.key) as is_mine:
                    if is_mine:
                        pods.repair(lease, record, found)

    # --- What all pods of a network share ---

    def _repair_bridge(self, settings: Settings, found: Findings) -> bool:
        """Bridge and forwarding; whether pods can be joined to it."""
        versions = versions_of(settings)
        if settings.mode is Mode.ROUTED or settings.gateway:
            found.attempt(forwarding_faults(versions), lambda: ensure_forwarding(versions))
        if settings.mode is Mode.ROUTED:
            return True
        node, mtu = self._ground.node, settings.mtu or self._ground.mtu()

        def ensure() -> Bridge:
            return ensure_bridge(node, settings, mtu)

        try:
            if not found.attempt(bridge_faults(node, settings), ensure):
                return False
            bridge = self._ground.bridge(settings)
        except (NetworkError, OSError) as error:
            found.fail(str(error))
            return False
        if bridge and bridge.mtu != mtu:
            words = f"{settings.bridge} has an MTU of {bridge.mtu}, not {mtu}"
            change = link.set_link(bridge.index, link.Change(mtu=mtu))
            found.attempt([words], lambda: node.request([change]))
        return True

    def _repair_filter(
        self,
        settings: Settings,
        leases: Sequence[Lease],
        records: Sequence[Record],
        found: Findings,
        only: frozenset[Key] | None,
    ) -> None:
        if not settings.masquerade and not any(record.ports for record in records):
            return
        firewall = self._ground.firewall
        try:
            faults = self._filter_faults(settings, leases, records)
        except (NetworkError, OSError) as error:
            found.fail(str(error))
            return
        found.attempt(faults, lambda: firewall.rebuild(settings))
        if only is None:
            self._prune(settings, found)

    def _prune(self, settings: Settings, found: Findings) -> None:
        """Take away host ports that lead to no pod of any network."""
        try:
            stray = sorted(self._ground.firewall.prune())
        except (NetworkError, OSError) as error:
            found.fail(str(error))
            return
        found.mended += [Fault(settings.name, f"{describe(one)} was no pod's") for one in stray]

    def _filter_faults(
        self, settings: Settings, leases: Sequence[Lease], records: Sequence[Record]
    ) -> list[str]:
        there = self._ground.firewall.look()
        if there is None:
            return [f"the packet filter's table {ruleset.TABLE} was removed"]
        wanted = {
            element
            for lease, record in zip(leases, records, strict=True)
            if self._ground.leases.is_held(lease)
            for element in ruleset.elements_of(record.ports, addresses_of(lease, record))
        }
        lost = sorted(wanted - there.ports)
        return [*lost_of(settings, there), *(f"{describe(one)} was removed" for one in lost)]

    def _open_forward(self, settings: Settings, found: Findings) -> None:
        firewall = self._ground.firewall
        try:
            for words in open_forward(firewall, settings):
                found.mended.append(Fault(settings.name, words))
            if drop := find_drop(firewall, settings):
                found.fail(drop)
        except (NetworkError, OSError) as error:
            found.fail(str(error))
