"""Network links over rtnetlink: values, and the requests that make, change and remove them.

Pure but for `find` and `list_links`, which ask. Whose a link is, and its name, is not decided here.
"""

import errno
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from ringbolt.linux import attributes as nla
from ringbolt.linux.messages import NLM_F_CREATE, NLM_F_EXCL, Request
from ringbolt.linux.netlink import Socket

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_SETLINK: Final = 19

IFF_UP: Final = 0x1
IFF_LOOPBACK: Final = 0x8
IFF_PROMISC: Final = 0x100
IFF_LOWER_UP: Final = 0x10000
IFNAMSIZ: Final = 16
NO_NETNSID: Final = -1
LOOPBACK: Final = 1
"""The index of `lo` in every namespace."""

_AF_UNSPEC, _AF_BRIDGE, _AF_INET6 = 0, 7, 10
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK = 1, 3, 4, 5
_IFLA_MASTER, _IFLA_PROTINFO, _IFLA_OPERSTATE, _IFLA_LINKINFO = 10, 12, 16, 18
_IFLA_IFALIAS, _IFLA_AF_SPEC, _IFLA_GROUP, _IFLA_NET_NS_FD = 20, 26, 27, 28
_IFLA_EXT_MASK, _IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 29, 31, 32
_IFLA_LINK_NETNSID = 37
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 4, 5
_VETH_INFO_PEER = 1
_IFLA_INET6_ADDR_GEN_MODE = 8
_IN6_ADDR_GEN_MODE_NONE = 1
_IFLA_BRPORT_MODE, _IFLA_BRPORT_LEARNING, _IFLA_BRPORT_ISOLATED = 4, 8, 33
_IFLA_BR_MCAST_SNOOPING = 23
_RTEXT_FILTER_SKIP_STATS = 8

_GLANCED = frozenset({_IFLA_IFNAME, _IFLA_MTU, _IFLA_GROUP})

_INFO = struct.Struct("=BxHiII")
_NETNSID = struct.Struct("=i")


class End(NamedTuple):
    """A link to make; None leaves a property to the kernel.

    `up` fails with ENOTCONN on a veth's peer: set it up afterwards. An alias cannot be born either
    (the kernel passes over it): `Change` sets it, in the same batch. `queues` bounds the transmit
    and receive queues, of which a veth has one for each CPU otherwise.
    """

    name: str
    mac: str | None = None
    mtu: int | None = None
    master: int | None = None
    group: int | None = None
    netns_fd: int | None = None
    queues: int | None = None
    up: bool = False


class Change(NamedTuple):
    """What to change on a link; None leaves it. `master` 0 takes it out of its bridge.

    `name` renames a link that is given by its index.
    """

    up: bool | None = None
    promiscuous: bool | None = None
    name: str | None = None
    mac: str | None = None
    mtu: int | None = None
    master: int | None = None
    alias: str | None = None
    group: int | None = None
    netns_fd: int | None = None


class Port(NamedTuple):
    """What to change on a bridge's port, or what is set there; None leaves it, or is not told."""

    hairpin: bool | None = None
    isolated: bool | None = None
    learning: bool | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the kernel shows it.

    `kind` is "" for hardware and loopback, `master` 0 without one. `peer` is the index of the other
    end in its own namespace (of a veth) or of the link below, 0 without one. `netnsid` is what this
    namespace calls the peer's, NO_NETNSID where it is the same or has no name. `port` is how its
    bridge treats it, for `parse_port`.
    """

    index: int
    name: str
    kind: str = ""
    flags: int = 0
    mac: str = ""
    mtu: int = 0
    master: int = 0
    peer: int = 0
    alias: str = ""
    group: int = 0
    operstate: int = 0
    netnsid: int = NO_NETNSID
    port: bytes = b""

    @property
    def up(self) -> bool:
        """Whether it is set up, with a carrier or without."""
        return bool(self.flags & IFF_UP)


def decode(body: bytes) -> Link:
    """The link of an RTM_NEWLINK or RTM_DELLINK. Raises OSError (EBADMSG)."""
    if len(body) < _INFO.size:
        raise nla.malformed("RTM_NEWLINK", body)
    _family, _type, index, flags, _change = _INFO.unpack_from(body)
    found = nla.parse(body[_INFO.size :])
    information = nla.parse(found.get(_IFLA_LINKINFO, b""))
    is_port = nla.as_text(information.get(_IFLA_INFO_SLAVE_KIND, b"")) == "bridge"

    def number(kind: int) -> int:
        return nla.as_number(found[kind]) if kind in found else 0

    return Link(
        index=index,
        name=nla.as_text(found.get(_IFLA_IFNAME, b"")),
        kind=nla.as_text(information.get(_IFLA_INFO_KIND, b"")),
        flags=flags,
        mac=nla.as_mac(found.get(_IFLA_ADDRESS, b"")),
        mtu=number(_IFLA_MTU),
        master=number(_IFLA_MASTER),
        peer=number(_IFLA_LINK),
        alias=nla.as_text(found.get(_IFLA_IFALIAS, b"")),
        group=number(_IFLA_GROUP),
        operstate=number(_IFLA_OPERSTATE),
        netnsid=_as_netnsid(found.get(_IFLA_LINK_NETNSID)),
        port=information.get(_IFLA_INFO_SLAVE_DATA, b"") if is_port else b"",
    )


def glance(body: bytes) -> Link:
    """As `decode`, of name, flags, MTU and group: a tenth of the time, for many notices."""
    if len(body) < _INFO.size:
        raise nla.malformed("RTM_NEWLINK", body)
    _family, _type, index, flags, _change = _INFO.unpack_from(body)
    found = nla.find(body[_INFO.size :], _GLANCED)
    mtu, group = (nla.as_number(found.get(kind, bytes(4))) for kind in (_IFLA_MTU, _IFLA_GROUP))
    name = nla.as_text(found.get(_IFLA_IFNAME, b""))
    return Link(index=index, name=name, flags=flags, mtu=mtu, group=group)


def mac_of(body: bytes) -> str:
    """The hardware address alone, which stands far behind what `glance` looks at."""
    found = nla.find(body[_INFO.size :], frozenset({_IFLA_ADDRESS}))
    return nla.as_mac(found.get(_IFLA_ADDRESS, b""))


def peer_of(body: bytes) -> int:
    """The index of the other end alone, in its own namespace; 0 without one."""
    found = nla.find(body[_INFO.size :], frozenset({_IFLA_LINK}))
    return nla.as_number(found.get(_IFLA_LINK, bytes(4)))


def encode(link: Link) -> bytes:
    """The body of an RTM_NEWLINK that shows `link`."""
    return (
        _INFO.pack(_AF_UNSPEC, 0, link.index, link.flags, 0)
        + nla.text(_IFLA_IFNAME, link.name)
        + nla.nested(
            _IFLA_LINKINFO,
            nla.text(_IFLA_INFO_KIND, link.kind),
            nla.text(_IFLA_INFO_SLAVE_KIND, "bridge") if link.port else b"",
            nla.nested(_IFLA_INFO_SLAVE_DATA, link.port),
        )
        + nla.attribute(_IFLA_ADDRESS, bytes.fromhex(link.mac.replace(":", "")))
        + nla.u32(_IFLA_MTU, link.mtu)
        + nla.u32(_IFLA_MASTER, link.master)
        + nla.u32(_IFLA_LINK, link.peer)
        + nla.text(_IFLA_IFALIAS, link.alias)
        + nla.u32(_IFLA_GROUP, link.group)
        + nla.u8(_IFLA_OPERSTATE, link.operstate)
        + nla.attribute(_IFLA_LINK_NETNSID, _NETNSID.pack(link.netnsid))
    )


def new_veth(host: End, peer: End) -> Request:
    """Make a pair in one message, both ends with their final names in their final namespaces.

    EEXIST: one of the two names is taken; the peer's may be known only to its namespace.
    """
    return _new(host, "veth", nla.nested(_VETH_INFO_PEER, _info(peer), _properties(peer)))


def new_bridge(bridge: End, *, multicast_snooping: bool | None = None) -> Request:
    """Make a bridge. EEXIST: there is a link of this name."""
    if multicast_snooping is None:
        return _new(bridge, "bridge", b"")
    return _new(bridge, "bridge", nla.u8(_IFLA_BR_MCAST_SNOOPING, multicast_snooping))


def new_ifb(ifb: End) -> Request:
    """Make an intermediate functional block: incoming traffic redirected to it can be shaped."""
    return _new(ifb, "ifb", b"")


def set_link(which: int | str, change: Change) -> Request:
    """Change the link of this index or name. ENODEV: there is none."""
    wanted = ((IFF_UP, change.up), (IFF_PROMISC, change.promiscuous))
    mask = sum(flag for flag, value in wanted if value is not None)
    body = _which(which, sum(flag for flag, value in wanted if value), mask) + _properties(change)
    return Request("RTM_SETLINK", _shown(which), RTM_SETLINK, 0, body)


def set_without_ipv6_address(which: int | str) -> Request:
    """Let IPv6 give the link no address by itself (addr_gen_mode none); send it before `up`.

    EAFNOSUPPORT: IPv6 is off in this kernel or on this link.
    """
    mode = nla.u8(_IFLA_INET6_ADDR_GEN_MODE, _IN6_ADDR_GEN_MODE_NONE)
    body = _which(which) + nla.nested(_IFLA_AF_SPEC, nla.nested(_AF_INET6, mode))
    return Request("RTM_SETLINK", f"addr_gen_mode none, {_shown(which)}", RTM_SETLINK, 0, body)


def set_bridge_port(index: int, port: Port) -> Request:
    """Change how the bridge treats the link."""
    wanted = (
        (_IFLA_BRPORT_MODE, port.hairpin),
        (_IFLA_BRPORT_ISOLATED, port.isolated),
        (_IFLA_BRPORT_LEARNING, port.learning),
    )
    settings = [nla.u8(kind, value) for kind, value in wanted if value is not None]
    body = _INFO.pack(_AF_BRIDGE, 0, index, 0, 0) + nla.nested(_IFLA_PROTINFO, *settings)
    return Request("RTM_SETLINK", f"bridge port, index {index}", RTM_SETLINK, 0, body)


def get_link(which: int | str) -> Request:
    """Ask for the link of this index or name, without a dump. ENODEV: there is none."""
    return Request("RTM_GETLINK", _shown(which), RTM_GETLINK, 0, _which(which) + _GET)


def delete_link(which: int | str) -> Request:
    """Remove the link of this index or name; of a veth both ends go. ENODEV: there is none."""
    return Request("RTM_DELLINK", _shown(which), RTM_DELLINK, 0, _which(which))


def delete_group(group: int) -> Request:
    """Remove all links of a group at once, waiting for the kernel's grace period only once.

    ENODEV: the group is empty. EOPNOTSUPP: a link in it cannot be removed, and none was.
    Raises OSError (EINVAL) for group 0, where every link is that was never given another.
    """
    if not group:
        raise OSError(errno.EINVAL, "RTM_DELLINK group 0 would remove every link")
    body = _INFO.pack(_AF_UNSPEC, 0, 0, 0, 0) + nla.u32(_IFLA_GROUP, group)
    return Request("RTM_DELLINK", f"group {group}", RTM_DELLINK, 0, body)


def find(socket: Socket, which: int | str) -> Link | None:
    """The link of this index or name; None where there is none."""
    (answers,) = socket.request([get_link(which).forgiving(errno.ENODEV)])
    return decode(answers[0].body) if answers else None


def list_links(socket: Socket) -> list[Link]:
    """All links: a dump, so never on the way of a pod's start."""
    body = _INFO.pack(_AF_UNSPEC, 0, 0, 0, 0) + _GET
    messages = socket.dump(Request("RTM_GETLINK", "", RTM_GETLINK, 0, body))
    return [decode(message.body) for message in messages]


def list_ports(socket: Socket) -> dict[int, Port]:
    """The ports of all bridges by the index of their link: a dump."""
    found = ((one.index, parse_port(one)) for one in list_links(socket))
    return {index: port for index, port in found if port}


def parse_port(link: Link) -> Port | None:
    """How a bridge treats the link; None where it is in none. Raises OSError (EBADMSG)."""
    if not link.port:
        return None
    found = nla.parse(link.port)

    def flag(kind: int) -> bool | None:
        return bool(nla.as_number(found[kind])) if kind in found else None

    return Port(flag(_IFLA_BRPORT_MODE), flag(_IFLA_BRPORT_ISOLATED), flag(_IFLA_BRPORT_LEARNING))


_GET = nla.u32(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)


def _as_netnsid(data: bytes | None) -> int:
    return int(_NETNSID.unpack(data)[0]) if data and len(data) == _NETNSID.size else NO_NETNSID


def _which(which: int | str, flags: int = 0, mask: int = 0) -> bytes:
    if isinstance(which, int):
        return _INFO.pack(_AF_UNSPEC, 0, which, flags, mask)
    return _INFO.pack(_AF_UNSPEC, 0, 0, flags, mask) + nla.text(_IFLA_IFNAME, which)


def _shown(which: int | str) -> str:
    return f"index {which}" if isinstance(which, int) else which


def _new(end: End, kind: str, data: bytes) -> Request:
    information = nla.text(_IFLA_INFO_KIND, kind)
    if data:
        information += nla.nested(_IFLA_INFO_DATA, data)
    body = _info(end) + _properties(end) + nla.nested(_IFLA_LINKINFO, information)
    flags = NLM_F_CREATE | NLM_F_EXCL
    return Request("RTM_NEWLINK", f"{kind} {end.name}", RTM_NEWLINK, flags, body)


def _info(end: End) -> bytes:
    state = IFF_UP if end.up else 0
    return _INFO.pack(_AF_UNSPEC, 0, 0, state, state)


def _properties(wanted: End | Change) -> bytes:
    parts: list[bytes] = []
    if wanted.name is not None:
        parts.append(nla.text(_IFLA_IFNAME, wanted.name))
    if wanted.mac is not None:
        parts.append(nla.mac(_IFLA_ADDRESS, wanted.mac))
    if isinstance(wanted, Change) and wanted.alias is not None:
        parts.append(nla.text(_IFLA_IFALIAS, wanted.alias))
    numbers = (
        (_IFLA_MTU, wanted.mtu),
        (_IFLA_MASTER, wanted.master),
        (_IFLA_GROUP, wanted.group),
        (_IFLA_NET_NS_FD, wanted.netns_fd),
    )
    parts += [nla.u32(kind, value) for kind, value in numbers if value is not None]
    if isinstance(wanted, End) and wanted.queues is not None:
        parts.append(nla.u32(_IFLA_NUM_TX_QUEUES, wanted.queues))
        parts.append(nla.u32(_IFLA_NUM_RX_QUEUES, wanted.queues))
    return b"".join(parts)
