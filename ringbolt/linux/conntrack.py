"""Connection tracking over ctnetlink: find tracked flows and make the kernel forget them.

A UDP flow that was tracked before a host port came or went keeps its old way for as long as it
speaks; forgetting it makes the next datagram find the new one.
"""

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ringbolt.linux import attributes as nla
from ringbolt.linux.messages import Request
from ringbolt.linux.netlink import Socket

IPPROTO_UDP: Final = 17

_IPCTNL_MSG_CT_GET = 1 << 8 | 1
_IPCTNL_MSG_CT_DELETE = 1 << 8 | 2
_AF = {4: 2, 6: 10}
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_ID, _CTA_FILTER = 1, 2, 12, 25
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO = 1, 2
_CTA_IP_SRC = {4: 1, 6: 3}
_CTA_IP_DST = {4: 2, 6: 4}
_CTA_PROTO_NUM, _CTA_PROTO_SRC_PORT, _CTA_PROTO_DST_PORT = 1, 2, 3
_CTA_FILTER_ORIG_FLAGS, _CTA_FILTER_REPLY_FLAGS = 1, 2
_FILTER_IP_SRC, _FILTER_IP_DST, _FILTER_PROTO, _FILTER_DST_PORT = 0x1, 0x2, 0x8, 0x20

_MESSAGE = struct.Struct("!BBH")


@dataclass(frozen=True, slots=True)
class Tuple:
    """One direction of a flow."""

    protocol: int
    source: nla.IPAddress
    source_port: int
    destination: nla.IPAddress
    destination_port: int


@dataclass(frozen=True, slots=True)
class Flow:
    """A tracked flow as it began, and as its answers come (after NAT); its CTA_ID."""

    original: Tuple
    reply: Tuple
    identity: bytes


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which flows: None matches any. `server` is who answers, after NAT: the pod."""

    protocol: int = IPPROTO_UDP
    destination: nla.IPAddress | None = None
    destination_port: int | None = None
    server: nla.IPAddress | None = None

    def matches(self, flow: Flow) -> bool:
        """Whether `flow` is meant."""
        original = flow.original
        return (
            original.protocol == self.protocol
            and self.destination in (None, original.destination)
            and self.destination_port in (None, original.destination_port)
            and self.server in (None, flow.reply.source)
        )


def delete_flows(socket: Socket, pattern: Pattern) -> int:
    """Forget the flows that match; how many there were. `socket` is a NETLINK_NETFILTER one.

    Raises NetlinkError (EPERM: without CAP_NET_ADMIN).
    """
    flows = list_flows(socket, pattern)
    socket.request([delete_flow(flow).forgiving(errno.ENOENT) for flow in flows])
    return len(flows)


def list_flows(socket: Socket, pattern: Pattern) -> list[Flow]:
    """The flows that match: a dump, which the kernel narrows (Linux 5.8) and this does again."""
    found: list[Flow] = []
    for version in _versions(pattern):
        body = _MESSAGE.pack(_AF[version], 0, 0) + _narrowed(pattern, version)
        request = Request("IPCTNL_MSG_CT_GET", str(pattern), _IPCTNL_MSG_CT_GET, 0, body)
        for message in socket.dump(request):
            flow = decode(message.body)
            if flow is not None and pattern.matches(flow):
                found.append(flow)
    return found


def delete_flow(flow: Flow) -> Request:
    """Forget this flow and no later one of the same addresses. ENOENT: it is forgotten."""
    one = flow.original
    body = _MESSAGE.pack(_AF[one.source.version], 0, 0)
    body += _encode_tuple(_CTA_TUPLE_ORIG, one) + nla.attribute(_CTA_ID, flow.identity)
    way = f"{one.source}:{one.source_port} -> {one.destination}:{one.destination_port}"
    subject = f"protocol {one.protocol} {way}"
    return Request("IPCTNL_MSG_CT_DELETE", subject, _IPCTNL_MSG_CT_DELETE, 0, body)


def decode(body: bytes) -> Flow | None:
    """The flow of a ctnetlink message; None for a protocol without ports.

    Raises OSError (EBADMSG).
    """
    if len(body) < _MESSAGE.size:
        raise nla.malformed("IPCTNL_MSG_CT_NEW", body)
    found = nla.parse(body[_MESSAGE.size :])
    original = _decode_tuple(found.get(_CTA_TUPLE_ORIG, b""))
    reply = _decode_tuple(found.get(_CTA_TUPLE_REPLY, b""))
    if original is None or reply is None:
        return None
    return Flow(original, reply, found.get(_CTA_ID, b""))


def encode(flow: Flow) -> bytes:
    """The body of a ctnetlink message that shows `flow`."""
    return (
        _MESSAGE.pack(_AF[flow.original.source.version], 0, 0)
        + _encode_tuple(_CTA_TUPLE_ORIG, flow.original)
        + _encode_tuple(_CTA_TUPLE_REPLY, flow.reply)
        + nla.attribute(_CTA_ID, flow.identity)
    )


def _versions(pattern: Pattern) -> Iterator[int]:
    address = pattern.destination or pattern.server
    yield from (4, 6) if address is None else (address.version,)


def _narrowed(pattern: Pattern, version: int) -> bytes:
    """The attributes that make the kernel show only such flows; older kernels ignore them."""
    protocol = nla.u8(_CTA_PROTO_NUM, pattern.protocol)
    original, original_ip, flags = protocol, b"", _FILTER_PROTO
    if pattern.destination_port is not None:
        original += nla.be16(_CTA_PROTO_DST_PORT, pattern.destination_port)
        flags |= _FILTER_DST_PORT
    # Of IPv6 addresses the kernel takes just those that differ (ipv6_addr_cmp read the wrong way).
    by_address = version == 4  # noqa: PLR2004
    if pattern.destination is not None and by_address:
        original_ip = nla.address(_CTA_IP_DST[version], pattern.destination)
        flags |= _FILTER_IP_DST
    body = nla.nested(
        _CTA_TUPLE_ORIG,
        nla.nested(_CTA_TUPLE_IP, original_ip),
        nla.nested(_CTA_TUPLE_PROTO, original),
    )
    wanted = nla.u32(_CTA_FILTER_ORIG_FLAGS, flags)
    if pattern.server is not None and by_address:
        server = nla.address(_CTA_IP_SRC[version], pattern.server)
        body += nla.nested(
            _CTA_TUPLE_REPLY,
            nla.nested(_CTA_TUPLE_IP, server),
            nla.nested(_CTA_TUPLE_PROTO, protocol),
        )
        wanted += nla.u32(_CTA_FILTER_REPLY_FLAGS, _FILTER_PROTO | _FILTER_IP_SRC)
    return body + nla.nested(_CTA_FILTER, wanted)


def _encode_tuple(kind: int, one: Tuple) -> bytes:
    version = one.source.version
    ip = nla.address(_CTA_IP_SRC[version], one.source)
    ip += nla.address(_CTA_IP_DST[version], one.destination)
    protocol = (
        nla.u8(_CTA_PROTO_NUM, one.protocol)
        + nla.be16(_CTA_PROTO_SRC_PORT, one.source_port)
        + nla.be16(_CTA_PROTO_DST_PORT, one.destination_port)
    )
    return nla.nested(kind, nla.nested(_CTA_TUPLE_IP, ip), nla.nested(_CTA_TUPLE_PROTO, protocol))


def _decode_tuple(data: bytes) -> Tuple | None:
    parts = nla.parse(data)
    protocol = nla.parse(parts.get(_CTA_TUPLE_PROTO, b""))
    if _CTA_PROTO_DST_PORT not in protocol:
        return None
    ip = nla.parse(parts.get(_CTA_TUPLE_IP, b""))
    version = 4 if _CTA_IP_SRC[4] in ip else 6
    return Tuple(
        protocol=nla.as_number(protocol.get(_CTA_PROTO_NUM, b"")),
        source=nla.as_address(ip.get(_CTA_IP_SRC[version], b"")),
        source_port=nla.as_big_endian(protocol.get(_CTA_PROTO_SRC_PORT, b"")),
        destination=nla.as_address(ip.get(_CTA_IP_DST[version], b"")),
        destination_port=nla.as_big_endian(protocol[_CTA_PROTO_DST_PORT]),
    )
