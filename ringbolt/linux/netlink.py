"""Netlink sockets: requests in batches with every refusal read, dumps, notifications.

What the messages mean belongs to `link`, `address`, `route` and their like. A socket keeps the
network namespace that it was opened in, and any thread may use it.
"""

import contextlib
import errno
import socket
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

from ringbolt.linux import network_namespace
from ringbolt.linux.messages import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_NOOP,
    Message,
    NetlinkError,
    Request,
    decode,
    encode,
    outcome,
)

RawSocket = socket.socket

NETLINK_ROUTE: Final = 0
NETLINK_NETFILTER: Final = 12

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_SO_RCVBUFFORCE = 33
_SO_RCVTIMEO = 20
"""The old one, which takes two longs on every machine."""

_RECEIVE_BUFFER = 1 << 20
_LARGEST_DATAGRAM = 1 << 16
_BUFFERS: list[bytearray] = []
"""Of sockets that are closed: a new one is 64 KiB of zeros, which would cost a pod's socket more
than what it is used for."""
_BATCH = 64
"""Requests a send: their acks and answers wait in the receive buffer, and must all fit."""

_LAST_SEQUENCE = 0xFFFFFFFF
_DUMP_TRIES = 10
_PATIENCE_S = 10
_PATIENCE = struct.pack("@ll", _PATIENCE_S, 0)
_KERNEL_PORT = 0


class Socket:
    """A netlink socket that asks, for any thread. Close it, or use it in `with`.

    `netns` is the descriptor of the network namespace to open it in, None for the caller's own;
    `raw` was opened there already, and is closed with this. Raises OSError.
    """

    def __init__(
        self,
        family: int = NETLINK_ROUTE,
        netns: int | None = None,
        raw: RawSocket | None = None,
    ) -> None:
        self._socket = _ready(raw or _open(family, netns), _RECEIVE_BUFFER)
        self._sequence = 1
        self._turn = threading.Lock()
        try:
            self._buffer = _BUFFERS.pop()
        except IndexError:
            self._buffer = bytearray(_LARGEST_DATAGRAM)
        # Not settimeout(): with it Python polls before each send and each read.
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVTIMEO, _PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; can be repeated."""
        with self._turn:
            self._socket.close()
            if self._buffer:
                _BUFFERS.append(self._buffer)
                self._buffer = bytearray()

    def fileno(self) -> int:
        """The descriptor, for ioctls in the namespace of the socket."""
        return self._socket.fileno()

    def request(self, requests: Sequence[Request]) -> list[list[Message]]:
        """Ask all of it in order, in as few sends as possible; the answers of each request.

        The kernel goes on after a refusal, so every request has been tried when this returns.
        Raises NetlinkError of the first that was refused and not forgiven.
        """
        answers: list[list[Message]] = []
        for result in self.attempt(requests):
            if isinstance(result, NetlinkError):
                raise result
            answers.append(result)
        return answers

    def attempt(self, requests: Sequence[Request]) -> list[list[Message] | NetlinkError]:
        """As `request`, with refusals among the results. Raises OSError where the socket fails."""
        with self._turn:
            if 0 < len(requests) <= _BATCH:
                return self._ask(requests)
            return [
                result
                for at in range(0, len(requests), _BATCH)
                for result in self._ask(requests[at : at + _BATCH])
            ]

    def dump(self, request: Request) -> list[Message]:
        """All objects that `request` is about, as one consistent picture.

        The kernel says when the objects changed under the dump; it is taken again then.
        Raises NetlinkError, EINTR where they never stop changing.
        """
        with self._turn:
            for _ in range(_DUMP_TRIES):
                with contextlib.suppress(_InterruptedDumpError):
                    return self._dump(request)
        raise NetlinkError(
            errno.EINTR, request.operation, request.subject, "changed under every dump of it"
        )

    def _ask(self, requests: Sequence[Request]) -> list[list[Message] | NetlinkError]:
        """At least one request. They are numbered in a row, so a number tells whose answer it is.

        The kernel tells of every refusal unasked, and works in order: when the last one's ack is
        here, whatever said nothing before it is done.
        """
        first, last = self._reserve(len(requests)), len(requests) - 1
        results: list[list[Message] | NetlinkError] = [[] for _ in requests]
        parts = [encode(one, first + at, 0) for at, one in enumerate(requests[:last])]
        self._send(b"".join((*parts, encode(requests[last], first + last))), requests[0])
        waiting = True
        while waiting:
            for message in self._receive(requests[0]):
                at = message.sequence - first
                if not 0 <= at <= last:
                    continue
                result = results[at]
                if message.kind == NLMSG_ERROR:
                    waiting = waiting and at != last
                    results[at] = _refusal(requests[at], message) or result
                elif isinstance(result, list):
                    result.append(message)
        return results

    def _dump(self, request: Request) -> list[Message]:
        sequence = self._reserve(1)
        self._send(encode(request, sequence, NLM_F_DUMP | NLM_F_ACK), request)
        found: list[Message] = []
        flags = 0
        for message in self._messages_of(sequence, request):
            flags |= message.flags
            if message.kind not in (NLMSG_DONE, NLMSG_ERROR):
                found.append(message)
                continue
            if refused := _refusal(request, message):
                raise refused
            break
        if flags & NLM_F_DUMP_INTR:
            raise _InterruptedDumpError
        return found

    def _messages_of(self, sequence: int, request: Request) -> Iterator[Message]:
        while True:
            for message in self._receive(request):
                if message.sequence == sequence:
                    yield message

    def _reserve(self, count: int) -> int:
        """The first of so many sequence numbers in a row."""
        first = self._sequence if self._sequence + count <= _LAST_SEQUENCE else 1
        self._sequence = first + count
        return first

    def _send(self, data: bytes, first: Request) -> None:
        """Returns when the kernel has done all of it: only then do the answers wait."""
        try:
            self._socket.sendto(data, (_KERNEL_PORT, 0))
        except OSError as error:
            number, words = error.errno or 0, f"sending {len(data)} bytes failed"
            raise NetlinkError(number, first.operation, first.subject, words) from None

    def _receive(self, first: Request) -> Iterable[Message]:
        """The next datagram from the kernel."""
        try:
            return [m for m in _read(self._socket, self._buffer) if m.kind != NLMSG_NOOP]
        except BlockingIOError:
            number, words = errno.ETIMEDOUT, f"the kernel did not answer in {_PATIENCE_S} s"
        except OSError as error:
            number, words = error.errno or 0, "receiving the answer failed"
        raise NetlinkError(number, first.operation, first.subject, words)


def _refusal(request: Request, ack: Message) -> NetlinkError | None:
    """What an acknowledgement says, None where it is done or forgiven."""
    number, words = outcome(ack)
    if not number or number in request.forgiven:
        return None
    return NetlinkError(number, request.operation, request.subject, words)


class _InterruptedDumpError(Exception):
    """The objects changed under the dump (NLM_F_DUMP_INTR)."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What came: messages in their order, and whether some were lost (then look at everything)."""

    messages: tuple[Message, ...]
    overflow: bool


class Listener:
    """Hears what changes: `groups` are RTNLGRP_* numbers. Non-blocking. Close it."""

    def __init__(
        self,
        groups: Iterable[int],
        family: int = NETLINK_ROUTE,
        netns: int | None = None,
        receive_buffer: int = _RECEIVE_BUFFER,
    ) -> None:
        self._socket = _ready(_open(family, netns), receive_buffer)
        self._buffer = bytearray(_LARGEST_DATAGRAM)
        self._socket.setblocking(False)  # noqa: FBT003  # the standard library's own signature
        try:
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

    def read(self) -> Heard:
        """All that waits; empty where nothing does."""
        messages: list[Message] = []
        overflow = False
        while True:
            try:
                messages += _read(self._socket, self._buffer)
            except BlockingIOError:
                return Heard(tuple(messages), overflow)
            except OSError as error:
                if error.errno not in (errno.ENOBUFS, errno.EBADMSG):
                    raise
                overflow = True


def _read(source: socket.socket, buffer: bytearray) -> list[Message]:
    """The messages of the next datagram; none where another process and not the kernel sent it."""
    size, sender = source.recvfrom_into(buffer, 0, socket.MSG_TRUNC)
    if sender[0] != _KERNEL_PORT:
        return []
    if size > len(buffer):
        raise OSError(errno.EBADMSG, f"netlink datagram of {size} bytes is longer than allowed")
    return list(decode(bytes(memoryview(buffer)[:size])))


def open_raw(family: int = NETLINK_ROUTE) -> RawSocket:
    """A socket in the calling thread's namespace, for `Socket` to make use of. Raises OSError."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)


def _open(family: int, netns: int | None) -> RawSocket:
    if netns is not None:
        return network_namespace.inside(netns, lambda: open_raw(family))
    return open_raw(family)


def _ready(opened: RawSocket, receive_buffer: int) -> RawSocket:
    try:
        opened.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        opened.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        opened.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        _widen(opened, receive_buffer)
        opened.bind((0, 0))
    except BaseException:
        opened.close()
        raise
    return opened


def _widen(opened: socket.socket, receive_buffer: int) -> None:
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_buffer)
    except PermissionError:  # a user namespace: net.core.rmem_max is the limit
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
