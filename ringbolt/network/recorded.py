"""What a lease and its record say together: addresses, links, the request they were made of.

No kernel but one look: whether the namespace's path still leads to the same namespace.
"""

import os

from ringbolt.linux import network_namespace
from ringbolt.network.attachment import Attach, Attachment, Given
from ringbolt.network.leases import Lease, Netns
from ringbolt.network.names import ifb_name
from ringbolt.network.record import Record
from ringbolt.network.settings import IpAddress, Settings


def addresses_of(lease: Lease, record: Record) -> tuple[IpAddress, ...]:
    """A pod's addresses, leased or given by another address management."""
    return lease.addresses or tuple(one.address.ip for one in record.given)


def names_of(lease: Lease, record: Record) -> list[str]:
    """The pod's links on the node."""
    limited = record.bandwidth.egress_rate > 0
    return [lease.host_name, ifb_name(lease.host_name)] if limited else [lease.host_name]


def attachment_of(lease: Lease) -> Attachment:
    """What is recorded of a lease, for people."""
    record = Record.from_json(lease.note)
    return Attachment(
        lease.network,
        lease.key,
        record.pod,
        record.netns_path,
        lease.host_name,
        addresses_of(lease, record),
    )


def open_namespace_of(lease: Lease, record: Record) -> int | None:
    """The lease's namespace, if its path still leads to it."""
    if not record.netns_path:
        return None
    try:
        fd = network_namespace.open_namespace(record.netns_path)
    except OSError:
        return None
    identity = network_namespace.identify(fd)
    if Netns(identity.device, identity.inode) == lease.netns:
        return fd
    os.close(fd)
    return None


def namespace_lives(lease: Lease) -> bool:
    """Whether the lease's namespace is known to be there."""
    netns_fd = open_namespace_of(lease, Record.from_json(lease.note))
    if netns_fd is None:
        return False
    os.close(netns_fd)
    return True


def attach_of(settings: Settings, lease: Lease, record: Record, netns_fd: int) -> Attach:
    """The request that the record was made of; routes of another address management are lost."""
    return Attach(
        lease.key.container_id,
        lease.key.ifname,
        netns_fd,
        record.netns_path,
        settings,
        record.pod,
        mac=record.mac,
        port_mappings=record.ports,
        bandwidth=record.bandwidth,
        given=Given(record.given) if record.given else None,
    )
