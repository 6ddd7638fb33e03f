"""Looks after what is attached: check, collect, status, repair. Nothing here is in a pod's way."""

import os
from contextlib import ExitStack
from dataclasses import replace

from ringbolt.linux import link
from ringbolt.network import pool, ruleset, wiring
from ringbolt.network.attachment import Attach, Attached, Collected, Key
from ringbolt.network.bridge import Bridge, find_bridge
from ringbolt.network.collection import death_of, orphans_of
from ringbolt.network.drift import ANY_MTU, find_drift, mend
from ringbolt.network.errors import (
    DegradedError,
    DriftError,
    ExhaustedError,
    UnknownContainerError,
)
from ringbolt.network.ground import Ground
from ringbolt.network.leases import Lease
from ringbolt.network.plan import settings_with
from ringbolt.network.record import Record
from ringbolt.network.recorded import (
    attach_of,
    attachment_of,
    open_namespace_of,
)
from ringbolt.network.settings import Mode, Settings
from ringbolt.network.wiring import PodSocket, Site


class Upkeep:
    """Of the networks that stand on `ground`."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def check(self, attach: Attach, attached: Attached) -> None:
        """Compare the kernel with what was set up.

        Raises DriftError with all differences, UnknownContainerError.
        """
        settings = attach.settings
        lease = self._ground.leases.find(settings.name, attach.key)
        if lease is None:
            raise UnknownContainerError(f"{attach.container_id} has no {attach.ifname} here")
        bridge = None
        if settings.mode is Mode.BRIDGE:
            bridge = find_bridge(self._ground.node, settings.bridge)
            if bridge is None:
                raise DriftError(f"the bridge {settings.bridge} is gone or down")
        plan = replace(self._ground.plan(attach, lease, bridge), mtu=ANY_MTU)
        with PodSocket(self._ground.visitors, attach.netns_fd) as inside:
            site = Site(
                self._ground.node, inside.get(), attach.netns_fd, bridge.index if bridge else None
            )
            faults = list(find_drift(site, plan))
        mine = {one.address for one in plan.addresses}
        foreign = [one for one in attached.addresses if one.address not in mine]
        faults += [f"{one.address} was never given to it" for one in foreign]
        if (settings.masquerade or plan.ports) and not self._ground.firewall.is_there(settings):
            faults.append(f"the packet filter's table {ruleset.TABLE} was removed")
        if faults:
            raise DriftError("; ".join(faults))

    def collect(self, settings: Settings, valid: frozenset[Key] | None) -> Collected:
        """Take back what is dead: all but `valid`, or for None what provably is.

        Raises nothing for what is gone; what else fails is raised after all has been tried.
        """
        bridge = (
            find_bridge(self._ground.node, settings.bridge)
            if settings.mode is Mode.BRIDGE
            else None
        )
        links = {one.name: one for one in link.list_links(self._ground.node)}
        # In this order: a link is made after its lease, so none of these is too young for it.
        leases = self._ground.leases.all()
        index = bridge.index if bridge else None
        orphans = orphans_of(settings.name, links.values(), leases, valid, bridge=index)
        now = self._ground.leases.now()
        deaths = [
            (lease, why)
            for lease in leases
            if lease.network == settings.name and (why := death_of(lease, links, valid, now))
        ]
        failures: list[OSError] = []
        marked = wiring.doom(self._ground.node, *orphans)
        for lease, _why in deaths:
            try:
                marked |= self._ground.remove(lease)
            except OSError as error:
                failures.append(error)
                continue
            self._ground.leases.release(lease, settings.cool_down_s)
        if marked:
            self._ground.sweeper.sweep()
        if valid is not None and self._ground.firewall.is_there(settings):
            self._ground.firewall.prune()
        if failures:
            raise failures[0]
        gone = tuple(attachment_of(lease) for lease, _why in deaths)
        return Collected(gone, tuple(why for _lease, why in deaths), orphans)

    def status(self, settings: Settings) -> None:
        """Raise unless a pod could be attached now and those attached have what they need.

        Raises ExhaustedError, DegradedError, NotAvailableError.
        """
        for slot, ranges in enumerate(settings.ranges):
            if self._ground.leases.has_free(settings.name, ranges, settings.reserved):
                continue
            self.collect(settings, None)
            if not self._ground.leases.has_free(settings.name, ranges, settings.reserved):
                raise ExhaustedError(
                    f"range {slot}: no IP addresses available in range set: "
                    f"{pool.describe(ranges)}: delete pods, or widen the range"
                )
        if not settings.masquerade:
            return
        if self._ground.leases.has_any(settings.name) and not self._ground.firewall.is_there(
            settings
        ):
            raise DegradedError(
                f"the packet filter's table {ruleset.TABLE} was removed: pods are not masqueraded "
                "and have no host ports until the next pod is attached"
            )
        for chain in self._ground.firewall.foreign_drops():
            if settings.open_forward:
                self._ground.firewall.accept_in(chain, ruleset.links_of(settings))
            elif not self._ground.firewall.mentions(chain, ruleset.links_of(settings), settings):
                raise DegradedError(
                    f"the packet filter's chain {chain} drops what the node forwards, and so what "
                    f"pods send and get: accept {ruleset.links_of(settings)} there, or set "
                    "openForward"
                )

    def repair(self, settings: Settings) -> tuple[str, ...]:
        """Mend what differs from what was set up, and follow the uplink's MTU; what it was.

        Looks at every pod of the network: for when the kernel told of a change, or a slow timer.
        Goes on after a pod that cannot be mended, and raises the first such OSError in the end.
        """
        self._ground.look_for_mtu()
        leases = self._ground.leases.all(settings.name)
        if not leases:
            return ()
        records = [Record.from_json(lease.note) for lease in leases]
        settings = settings_with(settings, (one for record in records for one in record.given))
        found: list[str] = []
        failures: list[OSError] = []
        if settings.masquerade and self._ground.firewall.ensure(settings):
            found.append(f"the packet filter's table {ruleset.TABLE} was removed")
        bridge = self._ground.bridge(settings)
        if bridge and bridge.mtu != (mtu := settings.mtu or self._ground.mtu()):
            self._ground.node.request([link.set_link(bridge.index, link.Change(mtu=mtu))])
            found.append(f"{settings.bridge} has an MTU of {bridge.mtu}, not {mtu}")
        for lease in leases:
            try:
                found += self._repair(settings, lease, bridge)
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return tuple(found)

    def _repair(self, settings: Settings, lease: Lease, bridge: Bridge | None) -> list[str]:
        """Mend one pod, if its namespace can be opened by the path that the runtime told."""
        record = Record.from_json(lease.note)
        with ExitStack() as undo:
            netns_fd = open_namespace_of(lease, record)
            if netns_fd is None:
                return []
            undo.callback(os.close, netns_fd)
            plan = self._ground.plan(attach_of(settings, lease, record, netns_fd), lease, bridge)
            pod = undo.enter_context(PodSocket(self._ground.visitors, netns_fd))
            site = Site(self._ground.node, pod.get(), netns_fd, bridge.index if bridge else None)
            faults = find_drift(site, plan)
            if faults and (ends := wiring.find_ends(site, plan)):
                mend(site, plan)
                wiring.configure_node_end(site, plan, ends)
                wiring.configure_pod_end(site, plan, ends)
                return [f"{plan.alias or lease.key.container_id}: {fault}" for fault in faults]
        return []
