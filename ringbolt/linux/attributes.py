"""Netlink attributes (linux/netlink.h `nlattr`): typed values to bytes and back.

Pure: no sockets, and no knowledge of what an attribute means. Numbers are in the machine's byte
order, as rtnetlink wants them; `be16` and friends are netfilter's.
"""

import errno
import os
import struct
from ipaddress import IPv4Address, IPv6Address

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

_HEADER = struct.Struct("=HH")
_U8 = struct.Struct("=B")
_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_BE16 = struct.Struct("!H")
_BE32 = struct.Struct("!I")
_LONGEST = 0xFFFF - _HEADER.size
PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
"""What follows so many bytes beyond a multiple of four: attributes and messages alike."""
_WHOLE_U32 = struct.Struct("=HHI")
_MAC = 6

IPAddress = IPv4Address | IPv6Address
Attributes = dict[int, bytes]


def malformed(what: str, data: bytes) -> OSError:
    """The error of bytes that are not what they should be."""
    shown = data[:32].hex() + ("..." if len(data) > 32 else "")  # noqa: PLR2004  # enough to see
    return OSError(errno.EBADMSG, f"malformed {what} of {len(data)} bytes: {shown}")


def parse(data: bytes) -> Attributes:
    """The attributes in `data` by their type; of a repeated one the last.

    Raises OSError (EBADMSG) where a length leads outside of `data`.
    """
    found: Attributes = {}
    at, end, unpack = 0, len(data), _HEADER.unpack_from
    while at + 4 <= end:
        length, kind = unpack(data, at)
        if length < 4 or at + length > end:  # noqa: PLR2004  # the header's own length
            raise malformed("netlink attributes", data)
        found[kind & NLA_TYPE_MASK] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def find(data: bytes, wanted: frozenset[int]) -> Attributes:
    """The first attribute of each wanted type; what comes after the last of them is not looked at.

    Raises OSError (EBADMSG) as `parse` does.
    """
    found: Attributes = {}
    at, end, unpack = 0, len(data), _HEADER.unpack_from
    while at + 4 <= end and len(found) < len(wanted):
        length, kind = unpack(data, at)
        if length < 4 or at + length > end:  # noqa: PLR2004  # the header's own length
            raise malformed("netlink attributes", data)
        if (kind := kind & NLA_TYPE_MASK) in wanted:
            found.setdefault(kind, data[at + 4 : at + length])
        at += (length + 3) & ~3
    return found


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded. Raises OSError (EMSGSIZE) beyond the 64 KiB that its header counts."""
    length = len(payload)
    if length > _LONGEST:
        raise OSError(errno.EMSGSIZE, f"netlink attribute {kind} of {length} bytes")
    return _HEADER.pack(length + 4, kind) + payload + PADDING[length & 3]


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute made of attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def u8(kind: int, value: int) -> bytes:
    """An 8-bit number, or a truth."""
    return attribute(kind, _U8.pack(value))


def u16(kind: int, value: int) -> bytes:
    """A 16-bit number."""
    return attribute(kind, _U16.pack(value))


def u32(kind: int, value: int) -> bytes:
    """A 32-bit number."""
    return _WHOLE_U32.pack(_WHOLE_U32.size, kind, value)


def u64(kind: int, value: int) -> bytes:
    """A 64-bit number."""
    return attribute(kind, _U64.pack(value))


def be16(kind: int, value: int) -> bytes:
    """A 16-bit number in network order."""
    return attribute(kind, _BE16.pack(value))


def be32(kind: int, value: int) -> bytes:
    """A 32-bit number in network order."""
    return attribute(kind, _BE32.pack(value))


def text(kind: int, value: str) -> bytes:
    """A string that ends with a zero byte."""
    return attribute(kind, os.fsencode(value) + b"\0")


def mac(kind: int, value: str) -> bytes:
    """A hardware address, written `0a:58:0a:f4:00:02`."""
    return attribute(kind, parse_mac(value))


def address(kind: int, value: IPAddress) -> bytes:
    """An IP address of either family."""
    return attribute(kind, value.packed)


def parse_mac(value: str) -> bytes:
    """The six bytes of `0a:58:0a:f4:00:02`. Raises OSError (EINVAL)."""
    try:
        packed = bytes.fromhex(value.replace(":", ""))
    except ValueError:
        packed = b""
    if len(packed) != _MAC:
        raise OSError(errno.EINVAL, f"not a MAC address: {value!r}")
    return packed


def as_number(data: bytes) -> int:
    """The number in an attribute of 1, 2, 4 or 8 bytes, in the machine's order."""
    for width in (_U32, _U8, _U16, _U64):
        if len(data) == width.size:
            return int(width.unpack(data)[0])
    raise malformed("netlink number", data)


def as_big_endian(data: bytes) -> int:
    """The number in an attribute in network order."""
    return int.from_bytes(data, "big")


def as_text(data: bytes) -> str:
    """The string in an attribute."""
    return os.fsdecode(data.split(b"\0", 1)[0])


def as_mac(data: bytes) -> str:
    """A hardware address, of any length."""
    return data.hex(":")


def as_address(data: bytes) -> IPAddress:
    """The IP address in an attribute of 4 or 16 bytes."""
    if len(data) == 4:  # noqa: PLR2004  # IPv4
        return IPv4Address(data)
    if len(data) == 16:  # noqa: PLR2004  # IPv6
        return IPv6Address(data)
    raise malformed("IP address", data)
