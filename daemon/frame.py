"""The frame in which launcher and agent talk: bytes to values and back, nothing else.

All numbers are big-endian. Every frame begins with twelve bytes that never change, so that a
launcher and an agent of any age can at least tell each other that they do not fit:

    "RgBt"   u16 version   u16 kind   u32 bytes that follow

A call (kind 1 CNI, 2 FlexVolume) is a row of fields, `u32 tag  u32 bytes  bytes`: 1 an argument
(argv[0] first), 2 a variable of the environment (`NAME=value`), 3 stdin. Unknown tags are skipped.
The open CNI_NETNS, if there is one, travels with the first byte (SCM_RIGHTS).

An answer (kind 3) is `u32 exit code`, then what to print on stdout. A refusal (kind 4) is a text
for people: the call was not tried, and the launcher does what it does when the agent is away. The
agent answers in the caller's version where it speaks it; in a spool, the frame is the file.
`launcher/launcher.c` is the other end.
"""

import enum
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

MAGIC = b"RgBt"
VERSION = 1
HEADER = struct.Struct(">4sHHI")
FIELD = struct.Struct(">II")
CODE = struct.Struct(">I")

STDIN_MAX = 1 << 20
WORDS_MAX = 384 << 10
BODY_MAX = WORDS_MAX + FIELD.size + STDIN_MAX
ANSWER_MAX = 2 << 20


class FrameError(ValueError):
    """These bytes are no frame of ours."""


class VersionError(FrameError):
    """A frame of a version that is not spoken here."""


class Kind(enum.IntEnum):
    """What a frame is."""

    CNI = 1
    FLEXVOLUME = 2
    ANSWER = 3
    REFUSED = 4


class _Tag(enum.IntEnum):
    ARGUMENT = 1
    VARIABLE = 2
    INPUT = 3


@dataclass(frozen=True, slots=True)
class Header:
    """What follows: `length` bytes of a frame of this kind."""

    kind: Kind
    length: int


@dataclass(frozen=True, slots=True)
class Call:
    """One exec of the launcher, `age_s` ago if it was spooled.

    Neither stdin nor environment shows in a repr: both may carry secrets.
    """

    kind: Kind
    arguments: tuple[str, ...] = field(default=(), repr=False)
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    stdin: bytes = field(default=b"", repr=False)
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the launcher prints, and its exit code (0 to 255)."""

    code: int
    stdout: bytes


def parse_header(data: bytes) -> Header:
    """The header of a call. Raises FrameError; VersionError where only the version is foreign."""
    if len(data) < HEADER.size:
        raise FrameError(f"a frame of {len(data)} bytes ends within its header")
    magic, version, kind, length = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise FrameError(f"a frame begins with {MAGIC!r}, not {magic!r}")
    if version != VERSION:
        raise VersionError(f"the frame is of version {version}, version {VERSION} is spoken here")
    if kind not in (Kind.CNI, Kind.FLEXVOLUME):
        raise FrameError(f"kind {kind} is no call")
    if length > BODY_MAX:
        raise FrameError(f"a call of {length} bytes is larger than {BODY_MAX}")
    return Header(Kind(kind), length)


def parse_call(data: bytes) -> Call:
    """A whole call, with its header. Raises FrameError."""
    header = parse_header(data)
    if len(data) != HEADER.size + header.length:
        have = len(data) - HEADER.size
        raise FrameError(f"the frame says {header.length} bytes follow, but {have} do")
    arguments: list[str] = []
    environment: dict[str, str] = {}
    stdin = b""
    for tag, value in _fields(data):
        if tag == _Tag.VARIABLE:
            name, _, content = value.decode(errors="surrogateescape").partition("=")
            environment.setdefault(name, content)  # as getenv(3) does
        elif tag == _Tag.INPUT:
            stdin = value
        elif tag == _Tag.ARGUMENT:
            arguments.append(value.decode(errors="surrogateescape"))
    return Call(header.kind, tuple(arguments), MappingProxyType(environment), stdin)


def encode_call(call: Call) -> bytes:
    """What a launcher sends. Raises FrameError where it is too large."""
    variables = [f"{name}={value}" for name, value in call.environment.items()]
    words = _encoded(_Tag.ARGUMENT, call.arguments) + _encoded(_Tag.VARIABLE, variables)
    body = words + FIELD.pack(_Tag.INPUT, len(call.stdin)) + call.stdin
    if len(words) > WORDS_MAX or len(call.stdin) > STDIN_MAX:
        raise FrameError(f"a call of {len(body)} bytes is larger than {BODY_MAX}")
    return HEADER.pack(MAGIC, VERSION, call.kind, len(body)) + body


def encode_answer(answer: Answer) -> bytes:
    """What a launcher is answered. Raises FrameError where it is too large."""
    length = CODE.size + len(answer.stdout)
    if length > ANSWER_MAX:
        raise FrameError(f"an answer of {length} bytes is larger than {ANSWER_MAX}")
    header = HEADER.pack(MAGIC, VERSION, Kind.ANSWER, length)
    return header + CODE.pack(answer.code) + answer.stdout


def encode_refusal(reason: str) -> bytes:
    """What a launcher is told whose call is not tried."""
    text = reason.encode()[:1024]
    return HEADER.pack(MAGIC, VERSION, Kind.REFUSED, len(text)) + text


def parse_answer(data: bytes) -> Answer | str:
    """A whole answer, or the reason of a refusal. Raises FrameError."""
    if len(data) < HEADER.size:
        raise FrameError(f"an answer of {len(data)} bytes ends within its header")
    magic, version, kind, length = HEADER.unpack_from(data)
    body = data[HEADER.size :]
    if (magic, version) != (MAGIC, VERSION) or len(body) != length:
        raise FrameError("the answer is cut off, or of another version")
    if kind == Kind.REFUSED:
        return body.decode(errors="replace")
    if kind != Kind.ANSWER or length < CODE.size:
        raise FrameError(f"kind {kind} with {length} bytes is no answer")
    return Answer(CODE.unpack_from(body)[0], body[CODE.size :])


def _encoded(tag: _Tag, words: Iterable[str]) -> bytes:
    parts: list[bytes] = []
    for word in words:
        value = word.encode(errors="surrogateescape")
        parts += (FIELD.pack(tag, len(value)), value)
    return b"".join(parts)


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    at, end = HEADER.size, len(data)
    while at < end:
        begin = at + FIELD.size
        if begin > end:
            raise FrameError("the frame ends within a field's header")
        tag, length = FIELD.unpack_from(data, at)
        at = begin + length
        if at > end:
            raise FrameError(f"a field of {length} bytes reaches beyond its frame")
        yield tag, data[begin:at]
