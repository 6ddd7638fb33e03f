"""One pod's interface as values: what is asked for, and what came of it.

Values only: neither policy nor effects enter. A namespace is an open descriptor here, owned by the
caller; `netns_path` is only shown and compared, never opened.
"""

import enum
from dataclasses import dataclass
from typing import NamedTuple, NewType

from ringbolt.network.settings import (
    NO_DNS,
    Dns,
    IpAddress,
    IpInterface,
    NetworkName,
    Route,
    Settings,
)

ContainerId = NewType("ContainerId", str)
InterfaceName = NewType("InterfaceName", str)
"""At most 15 bytes, as the kernel wants it."""


class Key(NamedTuple):
    """What names an attachment within its network."""

    container_id: ContainerId
    ifname: InterfaceName


class Protocol(enum.Enum):
    """What a host port carries."""

    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"


@dataclass(frozen=True, slots=True)
class PortMapping:
    """`count` ports of the node from `host_port` on lead to the pod's from `container_port` on.

    `host_ip` None: every address of the node, of both families.
    """

    host_port: int
    container_port: int
    protocol: Protocol = Protocol.TCP
    host_ip: IpAddress | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Limits seen from the pod: rates in bits per second, bursts in bits; 0 is no limit."""

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


UNLIMITED = Bandwidth()


@dataclass(frozen=True, slots=True)
class Pod:
    """Whose interface it is, as the runtime tells; empty where it does not."""

    namespace: str = ""
    name: str = ""
    uid: str = ""


@dataclass(frozen=True, slots=True)
class PodAddress:
    """An address with its prefix; `interface` is the index into `Attached.interfaces`."""

    address: IpInterface
    gateway: IpAddress | None = None
    interface: int | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """What another address management decided (delegated IPAM): used as it is, never leased."""

    addresses: tuple[PodAddress, ...]
    routes: tuple[Route, ...] = ()
    dns: Dns = NO_DNS


@dataclass(frozen=True, slots=True)
class Attach:
    """Give the namespace `netns_fd` the interface `ifname`.

    `addresses` are asked for by address: each is given, or the call fails. `mac`
    (aa:bb:cc:dd:ee:ff) None is derived from the first address. `given` replaces the leases of
    `settings.ranges`.
    """

    container_id: ContainerId
    ifname: InterfaceName
    netns_fd: int
    netns_path: str
    settings: Settings
    pod: Pod = Pod()
    addresses: tuple[IpAddress, ...] = ()
    mac: str | None = None
    port_mappings: tuple[PortMapping, ...] = ()
    bandwidth: Bandwidth = UNLIMITED
    given: Given | None = None

    @property
    def key(self) -> Key:
        """What names it within its network."""
        return Key(self.container_id, self.ifname)


@dataclass(frozen=True, slots=True)
class Detach:
    """Take it back; `netns_fd` None where the namespace is gone or was not told.

    `age_s`: how long ago that was asked for; what was attached since then stays.
    """

    container_id: ContainerId
    ifname: InterfaceName
    settings: Settings
    netns_fd: int | None = None
    netns_path: str = ""
    age_s: float = 0.0

    @property
    def key(self) -> Key:
        """What names it within its network."""
        return Key(self.container_id, self.ifname)


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface of the result; `sandbox` is the namespace's path, "" on the node."""

    name: str
    mac: str
    mtu: int
    sandbox: str = ""


@dataclass(frozen=True, slots=True)
class Attached:
    """What a pod has now: bridge (mode BRIDGE), the node's end, the pod's, in this order."""

    interfaces: tuple[Interface, ...]
    addresses: tuple[PodAddress, ...]
    routes: tuple[Route, ...] = ()
    dns: Dns = NO_DNS


@dataclass(frozen=True, slots=True)
class Attachment:
    """One recorded attachment, for people and for repair."""

    network: NetworkName
    key: Key
    pod: Pod
    netns_path: str
    host_name: str
    addresses: tuple[IpAddress, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """What was not as it was set up; `attachment` None: of the network, not of one pod."""

    network: NetworkName
    words: str
    attachment: Attachment | None = None


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair found: put right, and (with the reason) not to be put right now."""

    mended: tuple[Fault, ...] = ()
    failed: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection took back. `reasons` says for each of `attachments` why it was dead."""

    attachments: tuple[Attachment, ...] = ()
    reasons: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
