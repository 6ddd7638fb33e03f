"""Hears changes in this namespace and in those that it has numbers for (their pairs end here).

One socket for all: one in each namespace would keep that namespace alive. The kernel passes on only
the kinds that are asked for, and of them what more code does not drop, so the others wake nobody.
"""

import errno
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from ringbolt.linux import socket_filter
from ringbolt.linux.link import NO_NETNSID
from ringbolt.linux.messages import Message, decode
from ringbolt.linux.netlink import open_raw
from ringbolt.linux.notices import FAMILY_AT, TYPE_AT
from ringbolt.linux.socket_filter import DROP, PASS, Code, if_equal, load, native

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NETLINK_LISTEN_ALL_NSID: Final = 8
_SO_RCVBUFFORCE = 33
_LARGEST_DATAGRAM = 1 << 16
_RECEIVE_BUFFER = 1 << 20
_NETNSID = struct.Struct("=i")


@dataclass(frozen=True, slots=True)
class Overheard:
    """Messages in their order, each with its namespace's number (NO_NETNSID: this one).

    `overflow`: some were lost.
    """

    messages: tuple[tuple[int, Message], ...]
    overflow: bool


class Overhearer:
    """Hears rtnetlink's `groups` (RTNLGRP_*), of them the message `kinds` (RTM_*). Close it.

    `code` may drop more (`socket_filter.DROP`). Without CAP_NET_BROADCAST other namespaces are not
    heard. Non-blocking. Raises OSError.
    """

    def __init__(self, groups: Iterable[int], kinds: Iterable[int], code: Code = ()) -> None:
        self._kinds = tuple(kinds)
        self._socket = open_raw()
        try:
            self._socket.setblocking(False)  # noqa: FBT003  # the standard library's own signature
            self._widen()
            self.drop_by(code)
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_LISTEN_ALL_NSID, 1)
            self._socket.bind((0, 0))
            for group in groups:
                self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor to watch for readability."""
        return self._socket.fileno()

    def drop_by(self, code: Code) -> None:
        """Drop by other code from now on; what waits already stays. Raises OSError."""
        socket_filter.attach(self._socket, _program(self._kinds, code))

    def read(self) -> Overheard:
        """All that waits; empty where nothing does."""
        found: list[tuple[int, Message]] = []
        overflow = False
        while True:
            try:
                data, ancillary, _flags, sender = self._socket.recvmsg(
                    _LARGEST_DATAGRAM, socket.CMSG_SPACE(_NETNSID.size)
                )
                if sender[0] == 0:  # the kernel
                    netnsid = _netnsid_of(ancillary)
                    found += [(netnsid, message) for message in decode(data)]
            except BlockingIOError:
                return Overheard(tuple(found), overflow)
            except OSError as error:
                if error.errno not in (errno.ENOBUFS, errno.EBADMSG):
                    raise
                overflow = True

    def _widen(self) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:  # a user namespace: net.core.rmem_max is the limit
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)


def _netnsid_of(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if (level, kind) == (_SOL_NETLINK, _NETLINK_LISTEN_ALL_NSID):
            return int(_NETNSID.unpack(data)[0])
    return NO_NETNSID


def _program(kinds: tuple[int, ...], code: Code) -> bytes:
    """By type; what bridges tell of their ports again, in their own family, is told anyway."""
    asked = [if_equal(native(kind, 2), yes="asked for") for kind in kinds]
    family = (load(FAMILY_AT, 1), if_equal(socket.AF_BRIDGE, no="no port"), DROP, "no port")
    return socket_filter.assemble(
        (load(TYPE_AT, 2), *asked, DROP, "asked for", *family, *code, PASS)
    )
