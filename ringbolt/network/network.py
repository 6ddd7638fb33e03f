"""The room's door: attach, detach, check, collect. Each call walks look, plan, apply once.

Synchronous; any thread may call it, and other processes may do the same beside it. What is
recorded is asked first, but the kernel has the last word.
"""

import threading
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from ringbolt.linux import network_namespace
from ringbolt.linux.netlink import Socket
from ringbolt.network import ruleset, shaping, wiring
from ringbolt.network.attachment import UNLIMITED, Attach, Attached, Detach
from ringbolt.network.bridge import Bridge, ensure_bridge, ensure_forwarding, find_bridge
from ringbolt.network.errors import InvalidError
from ringbolt.network.firewall import Firewall, route_localhost
from ringbolt.network.leases import Acquired, Lease, Leases, Netns, Request
from ringbolt.network.ledger import Ledger
from ringbolt.network.names import ifb_name
from ringbolt.network.plan import Plan, check_mtu, plan_attachment, plan_result
from ringbolt.network.record import Record
from ringbolt.network.settings import IpAddress, Mode, Settings
from ringbolt.network.sweeper import Sweeper
from ringbolt.network.uplink import find_uplink_mtu
from ringbolt.network.wiring import Site


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
        bridge = self._bridge(attach.settings)
        with ExitStack() as undo:
            got = self.leases.acquire(_request(attach))
            if got.fresh:
                undo.callback(self._release, got.lease)
            if got.replaced:
                self._remove(got.replaced)
            plan = self._plan(attach, got.lease, bridge)
            with wiring.open_pod(attach.netns_fd, plan.versions) as pod:
                index = bridge.index if bridge else None
                site = Site(self._node, pod, attach.netns_fd, index)
                plan = self._apply(site, plan, got, undo)
            self._filter(attach.settings, plan, undo)
            undo.pop_all()
        return plan_result(plan, bridge.mtu if bridge else 0)

    def delete(self, detach: Detach) -> None:
        """Take everything back; content with whatever is gone already.

        Raises TryAgainError or NotAvailableError if the lease could not be given back.
        """
        lease = self.leases.find(detach.settings.name, detach.key)
        if detach.netns_fd is not None:
            with suppress(FileNotFoundError):
                wiring.free_name(detach.netns_fd, detach.ifname)
        if lease:
            self._remove(lease)
            self.leases.release(lease, detach.settings.cool_down_s)

    def _apply(self, site: Site, plan: Plan, got: Acquired, undo: ExitStack) -> Plan:
        lease = got.lease

        def another(old: Plan) -> Plan:
            nonlocal lease
            lease = self.leases.rename(lease)
            return replace(old, host_name=lease.host_name)

        if got.fresh or not wiring.is_connected(site, plan):
            plan = wiring.connect(site, plan, another)
            undo.callback(self._undo_links, plan)
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

    def _remove(self, lease: Lease) -> None:
        """Everything of a lease but the lease; content with what is gone."""
        record = Record.from_json(lease.note)
        addresses = addresses_of(lease, record)
        if record.ports:
            self._firewall.close_ports(record.ports, addresses)
        if record.mode is Mode.BRIDGE:
            wiring.forget_neighbours(self._node, record.bridge, addresses)
        if wiring.doom(self._node, *names_of(lease, record)):
            self._sweeper.sweep()

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


def addresses_of(lease: Lease, record: Record) -> tuple[IpAddress, ...]:
    """A pod's addresses, leased or given by another address management."""
    return lease.addresses or tuple(one.address.ip for one in record.given)


def names_of(lease: Lease, record: Record) -> list[str]:
    """The pod's links on the node."""
    limited = record.bandwidth.egress_rate > 0
    return [lease.host_name, ifb_name(lease.host_name)] if limited else [lease.host_name]
