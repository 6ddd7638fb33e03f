"""The loopback interface of this network namespace, brought up by ioctl (netdevice(7))."""

import fcntl
import socket
import struct

SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1

_IFREQ = struct.Struct("16sH22x")


def bring_up(name: str = "lo") -> None:
    """Set IFF_UP. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = _IFREQ.pack(name.encode("ascii"), 0)
        _, flags = _IFREQ.unpack(fcntl.ioctl(control, SIOCGIFFLAGS, request))
        fcntl.ioctl(control, SIOCSIFFLAGS, _IFREQ.pack(name.encode("ascii"), flags | IFF_UP))
