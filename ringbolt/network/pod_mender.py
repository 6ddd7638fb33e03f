"""Puts right what somebody broke of one pod: its pair, addresses, routes, neighbours, limits.

A pair that is gone while its namespace lives is made again, with the same addresses. A pod whose
namespace is not to be seen from here is mended on the node's side.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from ringbolt.linux import link
from ringbolt.network import ruleset, shaping, wiring
from ringbolt.network.attachment import UNLIMITED, Attachment, Fault, Repaired
from ringbolt.network.bridge import Bridge
from ringbolt.network.collection import GRACE_S
from ringbolt.network.drift import (
    NodeView,
    is_alive,
    look_at_ends,
    node_drift,
    pod_drift,
    with_choices,
)
from ringbolt.network.errors import ConflictError, NetworkError
from ringbolt.network.firewall import localhost_faults, route_localhost
from ringbolt.network.ground import Ground
from ringbolt.network.leases import Lease
from ringbolt.network.plan import Plan
from ringbolt.network.record import Record
from ringbolt.network.recorded import attach_of, attachment_of, open_namespace_of
from ringbolt.network.settings import Mode, NetworkName, Settings
from ringbolt.network.wiring import Ends, NodeSite, PodSocket, Site

_NO_NAMESPACE = -1


@dataclass(slots=True)
class Findings:
    """What one repair finds, as it goes."""

    network: NetworkName
    mended: list[Fault] = field(default_factory=list[Fault])
    failed: list[Fault] = field(default_factory=list[Fault])

    def attempt(
        self, faults: Sequence[str], mend: Callable[[], object], of: Attachment | None = None
    ) -> bool:
        """Mend, if there is anything to; whether all is well now."""
        if not faults:
            return True
        try:
            mend()
        except (NetworkError, OSError) as error:
            self.fail(f"{'; '.join(faults)}; not mended: {error}", of)
            return False
        self.mended += [Fault(self.network, words, of) for words in faults]
        return True

    def fail(self, words: str, of: Attachment | None = None) -> None:
        """Put down what cannot be mended."""
        self.failed.append(Fault(self.network, words, of))

    def repaired(self) -> Repaired:
        """All of it."""
        return Repaired(tuple(self.mended), tuple(self.failed))


class PodMender:
    """For the pods of one network, by one look at the node's side of all of them."""

    def __init__(
        self, ground: Ground, settings: Settings, view: NodeView, bridge: Bridge | None
    ) -> None:
        self._ground = ground
        self._settings = settings
        self._view = view
        self._bridge = bridge

    def repair(self, lease: Lease, record: Record, found: Findings) -> None:
        """Mend one pod, which nobody else has in hand. Raises nothing for what cannot be mended."""
        if not self._ground.leases.is_held(lease) or self._is_young(lease):
            return
        about = attachment_of(lease)
        try:
            with ExitStack() as undo:
                netns_fd = open_namespace_of(lease, record)
                if netns_fd is not None:
                    undo.callback(os.close, netns_fd)
                plan = self._plan(lease, record, netns_fd)
                if netns_fd is None:
                    self._repair_node_end(plan, found, about)
                    return
                pod = undo.enter_context(PodSocket(self._ground.visitors, netns_fd, plan.versions))
                site = Site(self._ground.node, self._index, pod.get(), netns_fd)
                host = link.find(site.node, plan.host_name)
                chosen = with_choices(plan, host, link.find(site.pod, plan.ifname))
                plan = replace(plan, mac=chosen.mac)
                faults = [*self._node_faults(plan), *pod_drift(site.pod, chosen)]
                found.attempt(faults, lambda: self._mend(site, plan, chosen.mtu, lease), about)
        except (NetworkError, OSError) as error:
            if self._ground.leases.is_held(lease):
                found.fail(str(error), about)

    @property
    def _index(self) -> int | None:
        return self._bridge.index if self._bridge else None

    def _is_young(self, lease: Lease) -> bool:
        """Whether another process may be attaching it just now."""
        young = self._ground.leases.now() - lease.born < GRACE_S
        return young and link.find(self._ground.node, lease.host_name) is None

    def _plan(self, lease: Lease, record: Record, netns_fd: int | None) -> Plan:
        fd = _NO_NAMESPACE if netns_fd is None else netns_fd
        return self._ground.plan(attach_of(self._settings, lease, record, fd), lease, self._bridge)

    def _node_faults(self, plan: Plan) -> list[str]:
        """What is wrong on the node's side; looked at again, as the first look may be old."""
        faults = node_drift(self._view, plan, self._index)
        if faults:
            faults = node_drift(self._now(plan), plan, self._index)
        local = _local_link(plan)
        return [*faults, *(localhost_faults(local) if local else ())]

    def _now(self, plan: Plan) -> NodeView:
        return look_at_ends(self._ground.node, plan, self._index)

    def _repair_node_end(self, plan: Plan, found: Findings, about: Attachment) -> None:
        host = link.find(self._ground.node, plan.host_name)
        if host is None:
            return  # the namespace is gone, or it is for whoever sees it
        site, index = NodeSite(self._ground.node, self._index), host.index
        plan = self._with_known_mac(plan, index)
        found.attempt(
            self._node_faults(plan), lambda: self._mend_node_end(site, plan, index), about
        )

    def _with_known_mac(self, plan: Plan, index: int) -> Plan:
        """The hardware address that the node knows the pod by: it may not be ours any more."""
        known = self._view.neighbours
        at = self._index or index
        macs = (known.get((at, one.address.ip)) for one in plan.addresses)
        return replace(plan, mac=next((mac for mac in macs if mac), plan.mac))

    def _mend(self, site: Site, plan: Plan, pod_mtu: int, lease: Lease) -> None:
        ends = wiring.find_ends(site, plan)
        if ends is None:
            if is_alive(self._now(plan).links, plan.host_name):
                raise ConflictError(
                    f"somebody renamed {plan.ifname} or moved it away: rename it back, or delete"
                    " the pod"
                )
            plan, ends = self._connect(site, plan, lease)
        self._mend_node_end(site, plan, ends.node)
        wiring.mend_pod_end(site, replace(plan, mtu=pod_mtu), ends.pod)
        wiring.configure_pod_end(site, plan, ends.pod)

    def _mend_node_end(self, site: NodeSite, plan: Plan, index: int) -> None:
        wiring.mend_node_end(site, plan, index)
        wiring.configure_node_end(site, plan, index)
        if plan.bandwidth != UNLIMITED:
            shaping.reshape(site.node, index, plan)
        if local := _local_link(plan):
            route_localhost(local)

    def _connect(self, site: Site, plan: Plan, lease: Lease) -> tuple[Plan, Ends]:
        """Make the pair again."""

        def another() -> Plan:
            renamed = self._ground.leases.rename(lease)
            return self._plan(renamed, Record.from_json(lease.note), site.netns_fd)

        wiring.delete_doomed(site.node)
        plan, ends = wiring.connect(site, plan, another)
        if not self._ground.leases.is_held(lease):  # another process took it back meanwhile
            wiring.doom(site.node, plan.host_name)
            wiring.delete_doomed(site.node)
            raise ConflictError(f"{plan.ifname} was taken back meanwhile")
        return plan, ends


def _local_link(plan: Plan) -> str:
    """The link that routes 127.0.0.1 to the pod's host ports, "" where none needs to."""
    addresses = tuple(one.address.ip for one in plan.addresses)
    if not ruleset.needs_localhost(plan.ports, addresses):
        return ""
    return plan.bridge if plan.mode is Mode.BRIDGE else plan.host_name
