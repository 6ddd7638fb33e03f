"""What the configuration says beyond the resources, as frozen values with their defaults."""

import enum
from dataclasses import dataclass

from ringbolt.volumes.spec import Kind


class Registration(enum.Enum):
    """How device plugins make themselves known to the kubelet."""

    KUBELET_SOCKET = "kubelet.sock"
    PLUGINS_REGISTRY = "plugins_registry"


@dataclass(frozen=True, slots=True)
class KubeletOptions:
    """`kubelet:`."""

    registration: Registration = Registration.KUBELET_SOCKET


@dataclass(frozen=True, slots=True)
class VolumeRule:
    """One of `volumes.allow`; sizes in bytes, None is no limit.

    `options` are globs over mount options beside the harmless ones; `trusted` allows `suid`, `dev`;
    `devices` are globs over what device volumes are named by: `serial=WD-*`; `roots` are those of
    `volumes.roots`, or directories in them, that it is about, none is all.
    """

    kinds: tuple[Kind, ...]
    namespaces: tuple[str, ...] = ("*",)
    max_size: int | None = None
    options: tuple[str, ...] = ()
    read_only: bool = False
    trusted: bool = False
    devices: tuple[str, ...] = ("*",)
    roots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VolumeHelper:
    """One of `volumes.helpers`: a program that serves file systems by FUSE.

    `argv` has `{source}`, `{target}`, `{options}` and `{secret:KEY}`; `sources` are globs; `stdin`
    is the key of the secret that the program reads there.
    """

    name: str
    argv: tuple[str, ...]
    sources: tuple[str, ...]
    stdin: str = ""
    foreground: bool = False


@dataclass(frozen=True, slots=True)
class VolumeOptions:
    """`volumes:`; without rules nothing is allowed.

    `subvolumes` is a directory on a btrfs, None is one in the state directory.
    """

    roots: tuple[str, ...] = ()
    allow: tuple[VolumeRule, ...] = ()
    subvolumes: str | None = None
    helpers: tuple[VolumeHelper, ...] = ()


class NetworkMode(enum.Enum):
    """How pods are joined to the node's network."""

    BRIDGE = "bridge"
    ROUTED = "routed"


@dataclass(frozen=True, slots=True)
class AddressRange:
    """A range of addresses in CIDR notation; None leaves the choice to the allocator."""

    subnet: str
    range_start: str | None = None
    range_end: str | None = None
    gateway: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A route for pods; without `gw` it leads to the range's gateway."""

    dst: str
    gw: str | None = None


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Limits for every pod: rates in bits per second, bursts in bits; 0 is no limit."""

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """`network:`; each of `ranges` gives a pod one address. `mtu` None is found out."""

    name: str = "ringbolt"
    mode: NetworkMode = NetworkMode.BRIDGE
    ranges: tuple[tuple[AddressRange, ...], ...] = ()
    bridge: str = "ringbolt0"
    routes: tuple[Route, ...] = ()
    masquerade: bool = False
    mtu: int | None = None
    is_gateway: bool = True
    hairpin: bool = False
    promisc: bool = False
    vlan: int | None = None
    bandwidth: Bandwidth = Bandwidth()
