"""Neighbours (IP address to hardware address) over rtnetlink. Pure but for `list_neighbours`."""

import struct
from dataclasses import dataclass
from typing import Final

from ringbolt.linux import attributes as nla
from ringbolt.linux.messages import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Request
from ringbolt.linux.netlink import Socket

RTM_NEWNEIGH: Final = 28
RTM_DELNEIGH: Final = 29
RTM_GETNEIGH: Final = 30

NUD_REACHABLE: Final = 0x02
NUD_STALE: Final = 0x04
NUD_FAILED: Final = 0x20
NUD_NOARP: Final = 0x40
NUD_PERMANENT: Final = 0x80

_AF = {4: 2, 6: 10}
_NDA_DST, _NDA_LLADDR, _NDA_IFINDEX = 1, 2, 8
_RTN_UNICAST = 1

_MESSAGE = struct.Struct("=BxxxiHBB")


@dataclass(frozen=True, slots=True)
class Neighbour:
    """`address` lives at `mac` on the link `index`; a permanent one is never asked for or aged."""

    index: int
    address: nla.IPAddress
    mac: str = ""
    state: int = NUD_PERMANENT

    def __str__(self) -> str:
        """Names it in errors."""
        return f"{self.address} index {self.index}"


def encode(neighbour: Neighbour) -> bytes:
    """The body of RTM_NEWNEIGH and RTM_DELNEIGH."""
    family = _AF[neighbour.address.version]
    head = _MESSAGE.pack(family, neighbour.index, neighbour.state, 0, _RTN_UNICAST)
    body = head + nla.address(_NDA_DST, neighbour.address)
    return body + nla.mac(_NDA_LLADDR, neighbour.mac) if neighbour.mac else body


def decode(body: bytes) -> Neighbour:
    """The neighbour of an RTM_NEWNEIGH or RTM_DELNEIGH. Raises OSError (EBADMSG)."""
    if len(body) < _MESSAGE.size:
        raise nla.malformed("RTM_NEWNEIGH", body)
    _family, index, state, _flags, _type = _MESSAGE.unpack_from(body)
    found = nla.parse(body[_MESSAGE.size :])
    address = nla.as_address(found.get(_NDA_DST, b""))
    return Neighbour(index, address, nla.as_mac(found.get(_NDA_LLADDR, b"")), state)


def new_neighbour(neighbour: Neighbour, *, replace: bool = True) -> Request:
    """Add a neighbour, in place of what was learned before unless `replace` is off (EEXIST)."""
    flags = NLM_F_CREATE | (NLM_F_REPLACE if replace else NLM_F_EXCL)
    return Request("RTM_NEWNEIGH", neighbour, RTM_NEWNEIGH, flags, encode(neighbour))


def delete_neighbour(neighbour: Neighbour) -> Request:
    """Forget a neighbour. ENOENT: it is not known."""
    return Request("RTM_DELNEIGH", neighbour, RTM_DELNEIGH, 0, encode(neighbour))


def list_neighbours(socket: Socket, index: int = 0) -> list[Neighbour]:
    """The neighbours on the link `index`, on all links for 0: a dump."""
    body = _MESSAGE.pack(0, 0, 0, 0, 0)
    body += nla.u32(_NDA_IFINDEX, index) if index else b""
    subject = f"index {index}" if index else ""
    messages = socket.dump(Request("RTM_GETNEIGH", subject, RTM_GETNEIGH, 0, body))
    return [decode(message.body) for message in messages if message.body[0] in _AF.values()]
