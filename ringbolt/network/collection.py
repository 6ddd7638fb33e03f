"""Which attachments and links are dead, decided from what was looked at. Pure.

Proof of life is the node's end of the pair: the pod's end dies with its namespace, and takes the
node's along. A lease without its link belongs to a pod that is gone, to one that is being attached
right now (its age tells), or to one whose link somebody deleted (its namespace tells).
"""

from collections.abc import Callable, Collection, Iterable

from ringbolt.linux.link import Link
from ringbolt.network.attachment import Key
from ringbolt.network.drift import is_alive
from ringbolt.network.leases import NOWHERE, Lease
from ringbolt.network.names import host_name, ifb_name, is_host_name, is_ifb_name
from ringbolt.network.settings import NetworkName

GRACE_S = 60.0
"""Longer than attaching may take, so that nothing half done is taken for dead."""


def death_of(
    lease: Lease,
    links: dict[str, Link],
    valid: frozenset[Key] | None,
    now: float,
    *,
    lives: Callable[[Lease], bool],
) -> str:
    """Why the lease is dead, "" where it lives. `valid` None: nobody told which are valid.

    `lives` is asked last, as it costs a look: whether the namespace is known to be there.
    """
    if valid is not None:
        return "" if lease.key in valid else "the runtime does not know it any more"
    if lease.netns == NOWHERE or is_alive(links, lease.host_name):
        return ""
    if now - lease.born < GRACE_S or lives(lease):
        return ""
    return f"its link {lease.host_name} is gone, and its namespace with it"


def orphans_of(  # all that was looked at
    network: NetworkName,
    links: Iterable[Link],
    leases: Collection[Lease],
    valid: frozenset[Key] | None,
    *,
    bridge: int | None,
) -> tuple[str, ...]:
    """Links of ours that belong to no lease.

    An ifb without its pod's link is dead whatever is known. A pod's link in this network's bridge
    is, only if the runtime told which pods there are: the leases may have been lost.
    """
    known = {lease.host_name for lease in leases}
    named = {one.name for one in links}
    ifbs = [ifb_name(name) for name in known | {name for name in named if is_host_name(name)}]
    found = [name for name in named if is_ifb_name(name) and name not in ifbs]
    if valid is not None and bridge:
        spared = known | {host_name(network, key, 0) for key in valid}
        found += [
            one.name
            for one in links
            if is_host_name(one.name) and one.master == bridge and one.name not in spared
        ]
    return tuple(sorted(found))
