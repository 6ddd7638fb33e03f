"""The room's door: attach, detach, check, collect. Each call walks look, plan, apply once.

Synchronous; any thread may call it, and other processes may do the same beside it. What is
recorded is asked first, but the kernel has the last word.
"""

import os
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

from ringbolt.linux import link, network_namespace
from ringbolt.linux.netlink import Socket
from ringbolt.network import pool, ruleset, shaping, wiring
from ringbolt.network.attachment import (
    UNLIMITED,
    Attach,
    Attached,
    Attachment,
    Collected,
    Detach,
    Key,
    Pod,
)
from ringbolt.network.bridge import Bridge, ensure_bridge, ensure_forwarding, find_bridge
from ringbolt.network.collection import death_of, orphans_of
from ringbolt.network.drift import ANY_MTU, find_drift, mend
from ringbolt.network.errors import (
    ConflictError,
    DegradedError,
    DriftError,
    ExhaustedError,
    InvalidError,
    UnknownContainerError,
)
from ringbolt.network.firewall import Firewall, route_localhost
from ringbolt.network.host_local import read_store
from ringbolt.network.leases import NOWHERE, Acquired, Lease, Leases, Netns, Request
from ringbolt.network.ledger import Ledger
from ringbolt.network.names import ifb_name
from ringbolt.network.plan import Plan, check_mtu, plan_attachment, plan_result
from ringbolt.network.record import Record
from ringbolt.network.recorded import (
    addresses_of,
    attach_of,
    attachment_of,
    names_of,
    open_namespace_of,
)
from ringbolt.network.settings import Mode, NetworkName, Settings
from ringbolt.network.sweeper import Sweeper
from ringbolt.network.uplink import find_uplink_mtu
from ringbolt.network.wiring import PodSocket, Site


class Network:
    """The networks of this node. Close it, or use it in `with`.

    `run_dir` holds the leases. `coalesce`: links are deleted by a thread of this object, many at
    once; without, by each call before it returns. Raises NotAvailableError, OSError.
    """

    def __init__(self, run_dir: Path, *, coalesce: bool = True) -> None:
        with ExitStack() as undo:
            self._node = undo.enter_context(Socket())
            self.leases = Leases(Ledger(run_dir))
            undo.callback(self.leases.close)
            self._sweeper = undo.enter_context(Sweeper(coalesce=coalesce))
            self._firewall = Firewall(self._recorded_ports)
            undo.callback(self._firewall.close)
            self._bridges: dict[Settings, Bridge] = {}
            self._uplink_mtu: int | None = None
            self._turn = threading.Lock()
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete what is marked for it and let go of everything."""
        self._undo.close()

    def add(self, attach: Attach) -> Attached:
        """Attach a pod; the same call again answers the same.

        Raises ExhaustedError, ConflictError, InvalidError, TryAgainError, NotAvailableError, and
        OSError of the kernel; then nothing of it is left.
        """
        versions = _versions(attach)
        with PodSocket(attach.netns_fd, versions) as inside, ExitStack() as undo:
            bridge = self._bridge(attach.settings)
            got = self._acquire(attach)
            if got.fresh:
                undo.callback(self._release, got.lease)
            if got.replaced:
                self._remove(got.replaced)
                self._sweeper.sweep()
            plan = self._plan(attach, got.lease, bridge)
            index = bridge.index if bridge else None
            site = Site(self._node, inside.get(), attach.netns_fd, index)
            plan = self._apply(site, plan, got, undo)
            self._filter(attach.settings, plan, undo)
            undo.pop_all()
        return plan_result(plan, bridge.mtu if bridge else 0)

    def delete(self, detach: Detach) -> None:
        """Take everything back; content with whatever is gone already.

        Raises TryAgainError or NotAvailableError if the lease could not be given back.
        """
        with ExitStack() as undo:
            inside = None
            if detach.netns_fd is not None:
                inside = undo.enter_context(PodSocket(detach.netns_fd))
            lease = self.leases.find(detach.settings.name, detach.key)
            if inside:
                unknown = lease is None or lease.netns == NOWHERE
                wiring.free_name(inside.get(), detach.ifname, delete=unknown)
            if lease is None:
                return
            marked = self._remove(lease)
            self.leases.release(lease, detach.settings.cool_down_s)
        if marked:
            self._sweeper.sweep()

    def check(self, attach: Attach, attached: Attached) -> None:
        """Compare the kernel with what was set up.

        Raises DriftError with all differences, UnknownContainerError.
        """
        settings = attach.settings
        lease = self.leases.find(settings.name, attach.key)
        if lease is None:
            raise UnknownContainerError(f"{attach.container_id} has no {attach.ifname} here")
        bridge = None
        if settings.mode is Mode.BRIDGE:
            bridge = find_bridge(self._node, settings.bridge)
            if bridge is None:
                raise DriftError(f"the bridge {settings.bridge} is gone or down")
        plan = replace(self._plan(attach, lease, bridge), mtu=ANY_MTU)
        with PodSocket(attach.netns_fd) as inside:
            site = Site(self._node, inside.get(), attach.netns_fd, bridge.index if bridge else None)
            faults = list(find_drift(site, plan))
        mine = {one.address for one in plan.addresses}
        foreign = [one for one in attached.addresses if one.address not in mine]
        faults += [f"{one.address} was never given to it" for one in foreign]
        if (settings.masquerade or plan.ports) and not self._firewall.is_there(settings):
            faults.append(f"the packet filter's table {ruleset.TABLE} was removed")
        if faults:
            raise DriftError("; ".join(faults))

    def collect(self, settings: Settings, valid: frozenset[Key] | None) -> Collected:
        """Take back what is dead: all but `valid`, or for None what provably is.

        Raises nothing for what is gone; what else fails is raised after all has been tried.
        """
        bridge = find_bridge(self._node, settings.bridge) if settings.mode is Mode.BRIDGE else None
        links = {one.name: one for one in link.list_links(self._node)}
        # In this order: a link is made after its lease, so none of these is too young for it.
        leases = self.leases.all()
        index = bridge.index if bridge else None
        orphans = orphans_of(settings.name, links.values(), leases, valid, bridge=index)
        now = self.leases.now()
        deaths = [
            (lease, why)
            for lease in leases
            if lease.network == settings.name and (why := death_of(lease, links, valid, now))
        ]
        failures: list[OSError] = []
        marked = wiring.doom(self._node, *orphans)
        for lease, _why in deaths:
            try:
                marked |= self._remove(lease)
            except OSError as error:
                failures.append(error)
                continue
            self.leases.release(lease, settings.cool_down_s)
        if marked:
            self._sweeper.sweep()
        if valid is not None and self._firewall.is_there(settings):
            self._firewall.prune()
        if failures:
            raise failures[0]
        gone = tuple(attachment_of(lease) for lease, _why in deaths)
        return Collected(gone, tuple(why for _lease, why in deaths), orphans)

    def status(self, settings: Settings) -> None:
        """Raise unless a pod could be attached now and those attached have what they need.

        Raises ExhaustedError, DegradedError, NotAvailableError.
        """
        for slot, ranges in enumerate(settings.ranges):
            if self.leases.has_free(settings.name, ranges, settings.reserved):
                continue
            self.collect(settings, None)
            if not self.leases.has_free(settings.name, ranges, settings.reserved):
                raise ExhaustedError(
                    f"range {slot}: no IP addresses available in range set: "
                    f"{pool.describe(ranges)}: delete pods, or widen the range"
                )
        if not settings.masquerade:
            return
        if self.leases.has_any(settings.name) and not self._firewall.is_there(settings):
            raise DegradedError(
                f"the packet filter's table {ruleset.TABLE} was removed: pods are not masqueraded "
                "and have no host ports until the next pod is attached"
            )
        for chain in self._firewall.foreign_drops():
            if settings.open_forward:
                self._firewall.accept_in(chain, ruleset.links_of(settings))
            elif not self._firewall.mentions(chain, ruleset.links_of(settings), settings):
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
        self._uplink_mtu = find_uplink_mtu(self._node)
        leases = self.leases.all(settings.name)
        if not leases:
            return ()
        found: list[str] = []
        failures: list[OSError] = []
        if settings.masquerade and self._firewall.ensure(settings):
            found.append(f"the packet filter's table {ruleset.TABLE} was removed")
        bridge = self._bridge(settings)
        if bridge and bridge.mtu != (mtu := settings.mtu or self._mtu()):
            self._node.request([link.set_link(bridge.index, link.Change(mtu=mtu))])
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
            plan = self._plan(attach_of(settings, lease, record, netns_fd), lease, bridge)
            pod = undo.enter_context(PodSocket(netns_fd))
            site = Site(self._node, pod.get(), netns_fd, bridge.index if bridge else None)
            faults = find_drift(site, plan)
            if faults and wiring.is_connected(site, plan):
                mend(site, plan)
                wiring.configure_node_end(site, plan)
                wiring.configure_pod_end(site, plan)
                return [f"{plan.alias or lease.key.container_id}: {fault}" for fault in faults]
        return []

    def import_host_local(self, settings: Settings, directory: Path) -> int:
        """Take over the addresses in host-local's directory of this network; how many pods.

        Repeated it adds what is new. Raises OSError, TryAgainError, NotAvailableError.
        """
        note = Record(Pod(), "", settings.mode, settings.bridge).to_json()
        store = read_store(directory)
        adopt = self.leases.adopt
        return sum(adopt(settings.name, key, store[key], note) for key in store)

    def attachments(self, network: NetworkName | None = None) -> tuple[Attachment, ...]:
        """What is attached, the oldest first; of one network or of all."""
        return tuple(attachment_of(lease) for lease in self.leases.all(network))

    def _acquire(self, attach: Attach) -> Acquired:
        """A lease; where none is left, after what the dead still hold was taken back."""
        request = _request(attach)
        try:
            return self.leases.acquire(request)
        except (ExhaustedError, ConflictError):
            if not self.collect(attach.settings, None).attachments:
                raise
        return self.leases.acquire(request)

    def _apply(self, site: Site, plan: Plan, got: Acquired, undo: ExitStack) -> Plan:
        lease = got.lease

        def another(old: Plan) -> Plan:
            nonlocal lease
            lease = self.leases.rename(lease)
            return replace(old, host_name=lease.host_name)

        if got.fresh or not wiring.is_connected(site, plan):
            plan = wiring.connect(site, plan, another)
            undo.callback(self._undo_links, plan)
        else:
            mend(site, plan)
        wiring.configure_node_end(site, plan)
        wiring.configure_pod_end(site, plan)
        if plan.bandwidth != UNLIMITED:
            shaping.shape(site.node, plan.host_name, plan.bandwidth, plan.mtu)
        return plan

    def _filter(self, settings: Settings, plan: Plan, undo: ExitStack) -> None:
        """Masquerade and host ports."""
        if not settings.masquerade and not plan.ports:
            return
        self._firewall.ensure(settings)
        if plan.ports:
            addresses = tuple(one.address.ip for one in plan.addresses)
            undo.callback(self._firewall.close_ports, plan.ports, addresses)
            self._firewall.open_ports(plan.ports, addresses)
            if ruleset.needs_localhost(plan.ports, addresses):
                bridged = plan.mode is Mode.BRIDGE
                route_localhost(plan.bridge if bridged else plan.host_name)

    def _recorded_ports(self) -> list[ruleset.Element]:
        found: list[ruleset.Element] = []
        for lease in self.leases.all():
            record = Record.from_json(lease.note)
            found += ruleset.elements_of(record.ports, addresses_of(lease, record))
        return found

    def _plan(self, attach: Attach, lease: Lease, bridge: Bridge | None) -> Plan:
        plan = plan_attachment(attach, lease, self._mtu(), bridge.mac if bridge else "")
        if fault := check_mtu(plan.mtu, plan.versions):
            raise InvalidError(f"{fault}: set mtu, or use IPv4 alone")
        return plan

    def _mtu(self) -> int:
        if self._uplink_mtu is None:
            self._uplink_mtu = find_uplink_mtu(self._node)
        return self._uplink_mtu

    def _bridge(self, settings: Settings) -> Bridge | None:
        """The bridge of these settings, looked at by one question for its name."""
        if settings.mode is Mode.ROUTED:
            ensure_forwarding(frozenset(one[0].subnet.version for one in settings.ranges if one))
            return None
        found = find_bridge(self._node, settings.bridge)
        known = self._bridges.get(settings)
        if found is None or known is None or found.index != known.index:
            with self._turn:
                found = ensure_bridge(self._node, settings, settings.mtu or self._mtu())
                self._bridges[settings] = found
        return found

    def _undo_links(self, plan: Plan) -> None:
        if wiring.doom(self._node, plan.host_name, ifb_name(plan.host_name)):
            wiring.delete_doomed(self._node)

    def _remove(self, lease: Lease) -> bool:
        """Everything of a lease but the lease; whether there are links to sweep."""
        record = Record.from_json(lease.note)
        addresses = addresses_of(lease, record)
        if record.ports:
            self._firewall.close_ports(record.ports, addresses)
        if record.mode is Mode.BRIDGE:
            wiring.forget_neighbours(self._node, record.bridge, addresses)
        return wiring.doom(self._node, *names_of(lease, record))

    def _release(self, lease: Lease) -> None:
        self.leases.release(lease)


def _request(attach: Attach) -> Request:
    identity = network_namespace.identify(attach.netns_fd)
    return Request(
        attach.settings.name,
        attach.key,
        Netns(identity.device, identity.inode),
        () if attach.given else attach.settings.ranges,
        attach.settings.reserved,
        attach.addresses,
        attach.port_mappings,
        Record.of(attach).to_json(),
        attach.settings.cool_down_s,
    )


def _versions(attach: Attach) -> frozenset[int]:
    """The families that the pod will have."""
    if attach.given:
        return frozenset(one.address.version for one in attach.given.addresses)
    return frozenset(ranges[0].subnet.version for ranges in attach.settings.ranges if ranges)
