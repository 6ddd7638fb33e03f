"""Says how what is attached fares, and takes back what is dead: check, collect, status."""

from dataclasses import replace

from ringbolt.linux import link
from ringbolt.network import pool, ruleset, wiring
from ringbolt.network.attachment import Attach, Attached, Collected, Key
from ringbolt.network.bridge import find_bridge
from ringbolt.network.collection import death_of, orphans_of
from ringbolt.network.drift import ANY_MTU, look_at_ends, node_drift, pod_drift
from ringbolt.network.errors import (
    DegradedError,
    DriftError,
    ExhaustedError,
    UnknownContainerError,
)
from ringbolt.network.foreign_drop import find_drop
from ringbolt.network.ground import Ground
from ringbolt.network.leases import Lease
from ringbolt.network.recorded import (
    attachment_of,
    namespace_lives,
)
from ringbolt.network.settings import Mode, Settings
from ringbolt.network.wiring import NodeSite, PodSocket


class Upkeep:
    """Of the networks that stand on `ground`."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def check(self, attach: Attach, attached: Attached) -> None:
        """Compare the kernel with what was set up.

        A hardware address that a plugin behind us chose is in `attached`; the node then knows the
        pod by that one. Raises DriftError with all differences, UnknownContainerError.
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
        own = replace(self._ground.plan(attach, lease, bridge), mtu=ANY_MTU)
        plan = replace(own, mac=_mac_told(attach, attached) or own.mac)
        with PodSocket(self._ground.visitors, attach.netns_fd) as inside:
            index = bridge.index if bridge else None
            if plan.mac != own.mac:
                wiring.follow_mac(NodeSite(self._ground.node, index), inside.get(), plan)
            view = look_at_ends(self._ground.node, plan, index)
            faults = [*node_drift(view, plan, index), *pod_drift(inside.get(), plan)]
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
            if lease.network == settings.name
            and (why := death_of(lease, links, valid, now, lives=namespace_lives))
        ]
        failures: list[OSError] = []
        taken: list[tuple[Lease, str]] = []
        marked = wiring.doom(self._ground.node, *orphans)
        for lease, why in deaths:
            try:
                marked |= self._take_back(lease, settings, why, taken)
            except OSError as error:
                failures.append(error)
        if marked:
            self._ground.sweeper.sweep()
        if valid is not None and self._ground.firewall.is_there(settings):
            self._ground.firewall.prune()
        if failures:
            raise failures[0]
        gone = tuple(attachment_of(lease) for lease, _why in taken)
        return Collected(gone, tuple(why for _lease, why in taken), orphans)

    def _take_back(
        self, lease: Lease, settings: Settings, why: str, taken: list[tuple[Lease, str]]
    ) -> bool:
        """Take one lease back, unless a call has it in hand or did so; whether links are marked."""
        with self._ground.turns.if_free(lease.key) as is_free:
            if not is_free or not self._ground.leases.is_held(lease):
                return False
            marked = self._ground.remove(lease)
            self._ground.leases.release(lease, settings.cool_down_s, why)
        taken.append((lease, why))
        return marked

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
        self._check_filter(settings)

    def _check_filter(self, settings: Settings) -> None:
        """Raise DegradedError where pods are cut off by a packet filter, ours or another's."""
        ground = self._ground
        needs_table = settings.masquerade and ground.leases.has_any(settings.name)
        if needs_table and not ground.firewall.is_there(settings):
            raise DegradedError(
                f"the packet filter's table {ruleset.TABLE} was removed: pods are not "
                "masqueraded and have no host ports until it is made again"
            )
        if drop := find_drop(ground.firewall, settings):
            raise DegradedError(drop)


def _mac_told(attach: Attach, attached: Attached) -> str:
    """The hardware address that the result of the whole chain gives the pod's end, "" for none."""
    macs = (one.mac for one in attached.interfaces if one.sandbox and one.name == attach.ifname)
    return next(macs, "")
