"""Netlink messages (linux/netlink.h): requests to bytes, bytes to answers, acks to errors.

Pure: no sockets. What a message is about belongs to the module of its noun (`link`, `route`, ...).
"""

import errno
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from ringbolt.linux import attributes

NLM_F_REQUEST: Final = 0x1
NLM_F_MULTI: Final = 0x2
NLM_F_ACK: Final = 0x4
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
NLM_F_APPEND: Final = 0x800
NLM_F_CAPPED: Final = 0x100
NLM_F_ACK_TLVS: Final = 0x200

NLMSG_NOOP: Final = 0x1
NLMSG_ERROR: Final = 0x2
NLMSG_DONE: Final = 0x3
NLMSG_OVERRUN: Final = 0x4

_NLMSGERR_ATTR_MSG = 1
_NLMSGERR_ATTR_MISS_TYPE = 5

_HEADER = struct.Struct("=IHHII")
_ERRNO = struct.Struct("=i")


class Request(NamedTuple):
    """One thing to ask of the kernel.

    `operation` and `subject` name it in errors (`RTM_NEWLINK`, `veth cali1`; a subject is a text
    only when there is an error); errnos in `forgiven` count as success (EEXIST of something that
    shall be there).
    """

    operation: str
    subject: object
    kind: int
    flags: int
    body: bytes
    forgiven: frozenset[int] = frozenset()

    def forgiving(self, *errnos: int) -> "Request":
        """The same request, content with these outcomes too."""
        return self._replace(forgiven=self.forgiven.union(errnos))


class Message(NamedTuple):
    """One message from the kernel: its type (RTM_NEWLINK, ...), flags, sequence number, body."""

    kind: int
    flags: int
    sequence: int
    body: bytes


class NetlinkError(OSError):
    """The kernel refused: `RTM_NEWLINK veth cali1 -> EEXIST: <its own words>`.

    `explanation` holds the kernel's own words alone, "" where it gave none.
    """

    def __init__(self, number: int, operation: str, subject: object, explanation: str = "") -> None:
        what = f"{operation} {subject}".strip()
        name = errno.errorcode.get(number, str(number))
        super().__init__(number, f"{what} -> {name}" + (f": {explanation}" if explanation else ""))
        self.operation = operation
        self.subject = str(subject)
        self.explanation = explanation

    def __reduce__(self) -> tuple[type, tuple[int, str, str, str]]:
        """Lets it travel between processes whole."""
        return type(self), (self.errno or 0, self.operation, self.subject, self.explanation)


def encode(request: Request, sequence: int, flags: int = NLM_F_ACK) -> bytes:
    """The request as the kernel reads it, padded; answers carry the same sequence number."""
    length = _HEADER.size + len(request.body)
    head = _HEADER.pack(length, request.kind, request.flags | NLM_F_REQUEST | flags, sequence, 0)
    return head + request.body + attributes.PADDING[length & 3]


def decode(data: bytes) -> Iterator[Message]:
    """The messages of one datagram. Raises OSError (EBADMSG) where a length leads outside."""
    at, end = 0, len(data)
    while at < end:
        if end - at < _HEADER.size:
            raise attributes.malformed("netlink message", data[at:])
        length, kind, flags, sequence, _port = _HEADER.unpack_from(data, at)
        if length < _HEADER.size or at + length > end:
            raise attributes.malformed("netlink message", data[at:])
        yield Message(kind, flags, sequence, data[at + _HEADER.size : at + length])
        at += (length + 3) & ~3


def outcome(message: Message) -> tuple[int, str]:
    """What an NLMSG_ERROR or NLMSG_DONE says: errno (0: done) and the kernel's own words.

    Raises OSError (EBADMSG) where it says nothing.
    """
    if len(message.body) < _ERRNO.size:
        raise attributes.malformed("netlink acknowledgement", message.body)
    number = -_ERRNO.unpack_from(message.body)[0]
    if not message.flags & NLM_F_ACK_TLVS:
        return number, ""
    return number, _explanation(attributes.parse(message.body[_trailer(message) :]))


def _trailer(message: Message) -> int:
    """Where the attributes of an acknowledgement begin."""
    if message.kind == NLMSG_DONE:
        return _ERRNO.size
    echoed = _HEADER.size
    if not message.flags & NLM_F_CAPPED and len(message.body) >= _ERRNO.size + _HEADER.size:
        echoed = (_HEADER.unpack_from(message.body, _ERRNO.size)[0] + 3) & ~3
    return _ERRNO.size + max(echoed, _HEADER.size)


def _explanation(found: attributes.Attributes) -> str:
    words = attributes.as_text(found.get(_NLMSGERR_ATTR_MSG, b""))
    if _NLMSGERR_ATTR_MISS_TYPE in found:
        missing = attributes.as_number(found[_NLMSGERR_ATTR_MISS_TYPE])
        words = f"{words} (attribute {missing} is missing)".strip()
    return words
