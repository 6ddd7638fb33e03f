"""The kernel's own uevents: devices that come, go and change, before udev has looked at them.

NETLINK_KOBJECT_UEVENT, group 1 (lib/kobject_uevent.c): `ACTION@DEVPATH`, then `KEY=value` fields.
"""

import errno
import socket
from typing import Final, NamedTuple

from ringbolt.linux import socket_filter
from ringbolt.linux.socket_filter import Piece

_PROTOCOL = 15
_KERNEL = 1
_MOST_BYTES = 1 << 16

NO_INTERFACES: Final = socket_filter.dropping(
    Piece(len(f"{action}@/devices/virtual"), b"/net") for action in ("add", "remove")
)
"""A filter that drops what comes and goes of interfaces without hardware and their queues: they
have no node and hold no disk, and each pod's start and end tells of some."""


class Uevent(NamedTuple):
    """What happened (`add`, `remove`, `change`, ...) to a device, by its path below /sys."""

    action: str
    path: str


def open_uevents() -> socket.socket:
    """A socket that does not block and tells of this network namespace's but `NO_INTERFACES`.

    Raises OSError.
    """
    one = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _PROTOCOL
    )
    try:
        socket_filter.attach(one, NO_INTERFACES)
        one.bind((0, _KERNEL))
    except OSError:
        one.close()
        raise
    return one


def read_uevents(heard: socket.socket) -> tuple[Uevent, ...] | None:
    """What has come since; None: some were lost. Raises OSError."""
    found: list[Uevent] = []
    while True:
        try:
            data = heard.recv(_MOST_BYTES)
        except BlockingIOError:
            return tuple(found)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return None
            raise
        if event := parse_uevent(data):
            found.append(event)


def parse_uevent(data: bytes) -> Uevent | None:
    """One message of the kernel's; None: it is none."""
    head, _, _ = data.partition(b"\0")
    action, at, path = head.decode("utf-8", "surrogateescape").partition("@")
    return Uevent(action, path) if at and path.startswith("/") else None
