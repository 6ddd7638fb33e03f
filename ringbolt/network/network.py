"""The room's door: attach and detach, and look after what is attached.

Each call walks look, plan, apply once. Synchronous; any thread may call it, and other processes may
do the same beside it. What is recorded is asked first, but the kernel has the last word.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

from ringbolt.linux import network_namespace
from ringbolt.network import ruleset, shaping, wiring
from ringbolt.network.attachment import (
    UNLIMITED,
    Attach,
    Attached,
    Attachment,
    Collected,
    Detach,
    Key,
    Pod,
    Repaired,
)
from ringbolt.network.errors import ConflictError, ExhaustedError
from ringbolt.network.firewall import route_localhost
from ringbolt.network.ground import Ground
from ringbolt.network.host_local import read_store
from ringbolt.network.leases import NOWHERE, Acquired, Lease, Leases, Netns, Request
from ringbolt.network.mender import Mender
from ringbolt.network.names import ifb_name
from ringbolt.network.plan import Plan, plan_result, settings_with
from ringbolt.network.record import Record
from ringbolt.network.recorded import attachment_of
from ringbolt.network.settings import NO_DNS, Mode, NetworkName, Settings
from ringbolt.network.signs import Landmarks, Signs
from ringbolt.network.upkeep import Upkeep
from ringbolt.network.wiring import PodSocket, Site


class Network:
    """The networks of this node. Close it, or use it in `with`.

    `run_dir` holds the leases. `coalesce`: links are deleted by a thread of this object, many at
    once; without, by each call before it returns. Raises NotAvailableError, OSError.
    """

    def __init__(self, run_dir: Path, *, coalesce: bool = True) -> None:
        self._ground = Ground(run_dir, coalesce=coalesce)
        self._upkeep = Upkeep(self._ground)
        self._mender = Mender(self._ground)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete what is marked for it and let go of everything."""
        self._ground.close()

    @property
    def leases(self) -> Leases:
        """Who has which addresses and host ports."""
        return self._ground.leases

    def add(self, attach: Attach) -> Attached:
        """Attach a pod; the same call again answers the same, another for the same is a conflict.

        Raises ExhaustedError, ConflictError, InvalidError, TryAgainError, NotAvailableError, and
        OSError of the kernel; then nothing of it is left.
        """
        versions = _versions(attach)
        # What one pod asked of its resolver makes no other network.
        common = attach.settings
        if common.dns != NO_DNS:
            common = replace(common, dns=NO_DNS)
        settings = settings_with(common, attach.given.addresses if attach.given else ())
        with (
            self._ground.turns.of(attach.key),
            self._ground.sweeper.held_off(),
            PodSocket(self._ground.visitors, attach.netns_fd, versions) as inside,
            ExitStack() as undo,
        ):
            self._ground.remember(common)
            bridge = self._ground.bridge(settings)
            # Before the lease: so a table that is missing under a lease was taken away.
            if settings.masquerade or attach.port_mappings:
                self._ground.firewall.ensure(settings)
            got = self._acquire(attach)
            if not got.fresh:
                _check_same(attach, got.lease)
            else:
                undo.callback(self._ground.leases.release, got.lease, why="attaching it failed")
            if got.replaced:
                self._ground.remove(got.replaced)
                self._ground.sweeper.sweep()
            index = bridge.index if bridge else None
            site = Site(self._ground.node, index, inside.get(), attach.netns_fd)
            plan = self._apply(
                site, lambda lease: self._ground.plan(attach, lease, bridge), got, undo
            )
            self._open_ports(plan, undo)
            undo.pop_all()
        return plan_result(plan, bridge.mtu if bridge else 0)

    def delete(self, detach: Detach) -> None:
        """Take everything back; content with whatever is gone already.

        Raises TryAgainError or NotAvailableError if the lease could not be given back.
        """
        with (
            self._ground.turns.of(detach.key),
            self._ground.sweeper.held_off(),
            ExitStack() as undo,
        ):
            inside = None
            if detach.netns_fd is not None:
                inside = undo.enter_context(PodSocket(self._ground.visitors, detach.netns_fd))
            lease = self._ground.leases.find(detach.settings.name, detach.key)
            if inside:
                unknown = lease is None or lease.netns == NOWHERE
                wiring.free_name(inside.get(), detach.ifname, delete=unknown)
            if lease is None or lease.born > self._ground.leases.now() - detach.age_s:
                return
            marked = self._ground.remove(lease)
            self._ground.leases.release(lease, detach.settings.cool_down_s)
        if marked:
            self._ground.sweeper.sweep()

    def check(self, attach: Attach, attached: Attached) -> None:
        """Compare the kernel with what was set up.

        Raises DriftError with all differences, UnknownContainerError.
        """
        self._upkeep.check(attach, attached)

    def collect(self, settings: Settings, valid: frozenset[Key] | None) -> Collected:
        """Take back what is dead: all but `valid`, or for None what provably is.

        Raises nothing for what is gone; what else fails is raised after all has been tried.
        """
        return self._upkeep.collect(settings, valid)

    def status(self, settings: Settings) -> None:
        """Raise unless a pod could be attached now and those attached have what they need.

        Raises ExhaustedError, DegradedError, NotAvailableError.
        """
        self._upkeep.status(settings)

    def repair(self, settings: Settings, only: frozenset[Key] | None = None) -> Repaired:
        """Mend what differs from what was set up, and follow the uplink's MTU.

        Looks into every pod of the network (or `only` into these): for when the kernel told of a
        change, or a slow timer. A pod that a call has in hand is passed over.
        """
        return self._mender.repair(settings, only)

    def networks(self) -> dict[NetworkName, Settings]:
        """The settings of the networks that have pods, as they were when one was last attached."""
        return self._mender.networks()

    def landmarks(self, networks: Iterable[Settings]) -> Landmarks:
        """What of the node these networks stand on now, to read the kernel's notices by."""
        return self._mender.landmarks(networks)

    def locate(self, signs: Signs) -> frozenset[Key]:
        """Which attachments the signs are about, of those that are there still."""
        return self._mender.locate(signs)

    def import_host_local(self, settings: Settings, directory: Path) -> int:
        """Take over the addresses in host-local's directory of this network; how many pods.

        Repeated it adds what is new. Raises OSError, TryAgainError, NotAvailableError.
        """
        note = Record(Pod(), "", settings.mode, settings.bridge).to_json()
        store = read_store(directory)
        adopt = self._ground.leases.adopt
        return sum(adopt(settings.name, key, store[key], note) for key in store)

    def attachments(self, network: NetworkName | None = None) -> tuple[Attachment, ...]:
        """What is attached, the oldest first; of one network or of all."""
        return tuple(attachment_of(lease) for lease in self._ground.leases.all(network))

    def _acquire(self, attach: Attach) -> Acquired:
        """A lease; where none is left, after what the dead still hold was taken back."""
        request = _request(attach)
        try:
            return self._ground.leases.acquire(request)
        except (ExhaustedError, ConflictError):
            if not self.collect(attach.settings, None).attachments:
                raise
        return self._ground.leases.acquire(request)

    def _apply(
        self, site: Site, plan_for: Callable[[Lease], Plan], got: Acquired, undo: ExitStack
    ) -> Plan:
        lease = got.lease

        def another() -> Plan:
            nonlocal lease
            lease = self._ground.leases.rename(lease)
            return plan_for(lease)

        plan = plan_for(lease)
        ends = None if got.fresh else wiring.find_ends(site, plan)
        if ends:
            wiring.mend_node_end(site, plan, ends.node)
            wiring.mend_pod_end(site, plan, ends.pod)
        else:
            plan, ends = wiring.connect(site, plan, another)
            undo.callback(self._undo_links, plan)
        if plan.bandwidth != UNLIMITED:  # before it is up: then the kernel waits for nobody
            shaping.shape(site.node, ends.node, plan)
        wiring.configure_node_end(site, plan, ends.node)
        wiring.configure_pod_end(site, plan, ends.pod)
        return plan

    def _open_ports(self, plan: Plan, undo: ExitStack) -> None:
        if not plan.ports:
            return
        addresses = tuple(one.address.ip for one in plan.addresses)
        undo.callback(self._ground.firewall.close_ports, plan.ports, addresses)
        self._ground.firewall.open_ports(plan.ports, addresses)
        if ruleset.needs_localhost(plan.ports, addresses):
            bridged = plan.mode is Mode.BRIDGE
            route_localhost(plan.bridge if bridged else plan.host_name)

    def _undo_links(self, plan: Plan) -> None:
        if plan.mode is Mode.BRIDGE:
            addresses = tuple(one.address.ip for one in plan.addresses)
            wiring.forget_neighbours(self._ground.node, plan.bridge, addresses)
        if wiring.doom(self._ground.node, plan.host_name, ifb_name(plan.host_name)):
            wiring.delete_doomed(self._ground.node)


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


def _check_same(attach: Attach, lease: Lease) -> None:
    """Raise ConflictError unless the lease was given for the same wishes."""
    known, wanted = Record.from_json(lease.note), Record.of(attach)
    known = replace(known, pod=wanted.pod, netns_path=wanted.netns_path, given=wanted.given)
    if known != wanted or not set(attach.addresses) <= set(lease.addresses):
        raise ConflictError(
            f"{attach.ifname} of {attach.container_id} is attached already, with other addresses,"
            " host ports, limits or another network: detach it first"
        )


def _versions(attach: Attach) -> frozenset[int]:
    """The families that the pod will have."""
    if attach.given:
        return frozenset(one.address.version for one in attach.given.addresses)
    return frozenset(ranges[0].subnet.version for ranges in attach.settings.ranges if ranges)
