"""IP addresses of links over rtnetlink: values and requests. Pure but for `list_addresses`."""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Final

from ringbolt.linux import attributes as nla
from ringbolt.linux.messages import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Request
from ringbolt.linux.netlink import Socket

RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_GETADDR: Final = 22

IFA_F_NODAD: Final = 0x02
IFA_F_DADFAILED: Final = 0x08
IFA_F_TENTATIVE: Final = 0x40
IFA_F_PERMANENT: Final = 0x80
IFA_F_NOPREFIXROUTE: Final = 0x200

_AF = {4: 2, 6: 10}
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8

_MESSAGE = struct.Struct("=BBBBI")


@dataclass(frozen=True, slots=True)
class Address:
    """An address with its prefix on the link `index`.

    An IPv6 address without IFA_F_NODAD stays unusable for about a second after it was added.
    """

    index: int
    interface: IPv4Interface | IPv6Interface
    flags: int = 0
    scope: int = 0

    def __str__(self) -> str:
        """Names it in errors."""
        return f"{self.interface} index {self.index}"


def encode(address: Address) -> bytes:
    """The body of RTM_NEWADDR and RTM_DELADDR."""
    interface = address.interface
    prefix = interface.network.prefixlen
    head = _MESSAGE.pack(_AF[interface.version], prefix, 0, address.scope, address.index)
    packed = interface.ip.packed
    body = head + nla.attribute(_IFA_LOCAL, packed) + nla.attribute(_IFA_ADDRESS, packed)
    return body + nla.u32(_IFA_FLAGS, address.flags) if address.flags else body


def decode(body: bytes) -> Address:
    """The address of an RTM_NEWADDR or RTM_DELADDR. Raises OSError (EBADMSG)."""
    if len(body) < _MESSAGE.size:
        raise nla.malformed("RTM_NEWADDR", body)
    _family, prefix, short_flags, scope, index = _MESSAGE.unpack_from(body)
    found = nla.parse(body[_MESSAGE.size :])
    ip = nla.as_address(found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b""))
    if prefix > ip.max_prefixlen:
        raise nla.malformed("RTM_NEWADDR", body)
    flags = nla.as_number(found[_IFA_FLAGS]) if _IFA_FLAGS in found else short_flags
    return Address(index, ip_interface((ip, prefix)), flags, scope)


def new_address(address: Address, *, replace: bool = False) -> Request:
    """Add an address. EEXIST: the link has it; EACCES: IPv6 is switched off on the link."""
    flags = NLM_F_CREATE | (NLM_F_REPLACE if replace else NLM_F_EXCL)
    return Request("RTM_NEWADDR", address, RTM_NEWADDR, flags, encode(address))


def delete_address(address: Address) -> Request:
    """Take an address away. EADDRNOTAVAIL: the link does not have it."""
    return Request("RTM_DELADDR", address, RTM_DELADDR, 0, encode(address))


def list_addresses(socket: Socket, index: int = 0) -> list[Address]:
    """The addresses of the link `index`, of all links for 0: a dump."""
    head = _MESSAGE.pack(0, 0, 0, 0, index)
    subject = f"index {index}" if index else ""
    messages = socket.dump(Request("RTM_GETADDR", subject, RTM_GETADDR, 0, head))
    return [decode(message.body) for message in messages]
