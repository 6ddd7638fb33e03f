"""What a network device is now, by its name: ioctls of netdevice(7), which never wait for RTNL.

Each other question about links takes the lock that makes and deletes them, for 10 to 30 ms at
times. So these are for the way of a pod's start; what they cannot tell belongs to `link`.
"""

import fcntl
import os
import struct
from dataclasses import dataclass

from ringbolt.linux import libc
from ringbolt.linux.link import IFF_UP
from ringbolt.linux.netlink import Socket

_SIOCGIFFLAGS, _SIOCGIFMTU, _SIOCGIFHWADDR, _SIOCGIFINDEX = 0x8913, 0x8921, 0x8927, 0x8933
_NUMBER = struct.Struct("16xi")
_FLAGS = struct.Struct("16xH")
_ETHERNET = slice(18, 24)
"""`sa_data` of `ifr_hwaddr`."""
_IFREQ = 40
"""Bytes of the largest kind of `struct ifreq`."""


@dataclass(frozen=True, slots=True)
class Device:
    """An Ethernet device."""

    index: int
    up: bool
    mac: str
    mtu: int


def index_of(socket: Socket, name: str) -> int:
    """The index of `name` in the socket's namespace. Raises OSError (ENODEV)."""
    return int(_NUMBER.unpack_from(_ask(socket, _SIOCGIFINDEX, "SIOCGIFINDEX", name))[0])


def look(socket: Socket, name: str) -> Device:
    """The device of this name in the socket's namespace. Raises OSError (ENODEV)."""
    index = index_of(socket, name)
    (flags,) = _FLAGS.unpack_from(_ask(socket, _SIOCGIFFLAGS, "SIOCGIFFLAGS", name))
    (mtu,) = _NUMBER.unpack_from(_ask(socket, _SIOCGIFMTU, "SIOCGIFMTU", name))
    mac = _ask(socket, _SIOCGIFHWADDR, "SIOCGIFHWADDR", name)[_ETHERNET].hex(":")
    return Device(index, bool(flags & IFF_UP), mac, mtu)


def _ask(socket: Socket, request: int, operation: str, name: str) -> bytes:
    try:
        return fcntl.ioctl(socket.fileno(), request, os.fsencode(name).ljust(_IFREQ, b"\0"))
    except OSError as error:
        raise libc.failed(error.errno or 0, operation, name) from None
