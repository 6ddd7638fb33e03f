"""The tracked flows of a pod's UDP host ports: the one thing of a pod that outlives its rules."""

from ringbolt.linux import conntrack
from ringbolt.linux.netlink import NETLINK_NETFILTER, Socket
from ringbolt.network.attachment import Protocol
from ringbolt.network.holdings import Held, Holding, Kind, Place, State
from ringbolt.network.recorded import addresses_of

_PURPOSE = "what the node remembers of talks with the pod; forgotten when its host ports change"


def flow_holdings(held: Held) -> tuple[Holding, ...]:
    """How many there are, one object for each address; () for a pod without UDP host ports.

    Dumps what the kernel tracks of the address: for people.
    """
    if not any(one.protocol is Protocol.UDP for one in held.record.ports):
        return ()
    names = {one: f"UDP to {one}" for one in addresses_of(held.lease, held.record)}
    try:
        with Socket(NETLINK_NETFILTER) as socket:
            counts = {
                one: len(conntrack.list_flows(socket, conntrack.Pattern(server=one)))
                for one in names
            }
    except OSError:  # connection tracking is not there, or may not be read
        return tuple(
            Holding(Kind.FLOWS, Place.NODE, name, _PURPOSE, State.UNKNOWN)
            for name in names.values()
        )
    return tuple(
        Holding(Kind.FLOWS, Place.NODE, name, _PURPOSE, facts={"count": counts[one]})
        for one, name in names.items()
    )
