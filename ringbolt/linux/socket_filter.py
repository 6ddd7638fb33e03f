"""Classic BPF on a socket: what the kernel drops before it would wake anybody.

SO_ATTACH_FILTER, socket(7), Documentation/networking/filter.rst, linux/filter.h. Pure but for
`attach`. A load takes bytes in network order, so `native` numbers are compared as they stand there.
"""

import ctypes
import socket
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

_SO_ATTACH_FILTER = 26
_INSTRUCTION = struct.Struct("=HBBI")
_PROGRAM = struct.Struct("@HP")
_LOAD = {1: 0x30, 2: 0x28, 4: 0x20}
_LOAD_BEHIND = {1: 0x50, 2: 0x48, 4: 0x40}
_NUMBER, _NUMBER_TO_X, _COPY_TO_X = 0x00, 0x01, 0x07
_AND, _GO, _IF_EQUAL, _IF_ANY, _RETURN = 0x54, 0x05, 0x15, 0x45, 0x06
_NLATTR_OF_SKB = 0xFFFFF00C
"""SKF_AD_OFF + SKF_AD_NLATTR."""
_FARTHEST = 0xFF
_WHOLE = 0xFFFFFFFF
_NATIVE = {2: struct.Struct("=H"), 4: struct.Struct("=I")}


class Step(NamedTuple):
    """One instruction on the accumulator (or X); `yes` and `no` name marks, "" the next one."""

    code: int
    value: int = 0
    yes: str = ""
    no: str = ""


Code = tuple[Step | str, ...]
"""Instructions; a string is a mark, to go on at from above."""

PAYLOAD: Final = 4
"""Of a netlink attribute, behind where it stands; its length stands at 0."""

PASS: Final = Step(_RETURN, _WHOLE)
DROP: Final = Step(_RETURN, 0)


class Piece(NamedTuple):
    """1, 2 or 4 bytes at a place in the message; beyond its end none stand there.

    The kernel drops a message that a load reaches beyond, so only messages that are at least as
    long as every place that is looked at may be filtered.
    """

    offset: int
    value: bytes


def load(offset: int, width: int) -> Step:
    """Take 1, 2 or 4 bytes of the message."""
    return Step(_LOAD[width], offset)


def load_behind(offset: int, width: int) -> Step:
    """As `load`, that far behind X."""
    return Step(_LOAD_BEHIND[width], offset)


def mask(bits: int) -> Step:
    """Keep only these bits."""
    return Step(_AND, bits)


def go(mark: str) -> Step:
    """Go on at the mark."""
    return Step(_GO, yes=mark)


def if_equal(value: int, *, yes: str = "", no: str = "") -> Step:
    """Whether the accumulator is `value`."""
    return Step(_IF_EQUAL, value, yes, no)


def if_any(bits: int, *, yes: str = "", no: str = "") -> Step:
    """Whether the accumulator has any of the bits."""
    return Step(_IF_ANY, bits, yes, no)


def find_attribute(kind: int, begin: int, *, otherwise: str) -> Code:
    """Have X be where a netlink attribute stands; on at `otherwise` if there is none.

    `begin` is where the message's attributes begin.
    """
    return (
        Step(_NUMBER_TO_X, kind),
        Step(_NUMBER, begin),
        Step(_LOAD[4], _NLATTR_OF_SKB),
        if_equal(0, yes=otherwise),
        Step(_COPY_TO_X),
    )


def native(value: int, width: int) -> int:
    """What a load finds where the machine wrote `value`."""
    return int.from_bytes(_NATIVE[width].pack(value))


def assemble(code: Iterable[Step | str]) -> bytes:
    """The program. Raises ValueError for a mark that is not ahead, or too far ahead."""
    steps: list[Step] = []
    marks: dict[str, int] = {}
    for one in code:
        if isinstance(one, Step):
            steps.append(one)
        else:
            marks[one] = len(steps)
    return b"".join(_assembled(at, step, marks) for at, step in enumerate(steps))


def _assembled(at: int, step: Step, marks: dict[str, int]) -> bytes:
    yes, no = (marks.get(mark, at) - at - 1 if mark else 0 for mark in (step.yes, step.no))
    if not (0 <= yes <= _FARTHEST and 0 <= no <= _FARTHEST):
        raise ValueError(f"{step} leads nowhere")
    if step.code == _GO:
        return _INSTRUCTION.pack(step.code, 0, 0, yes)
    return _INSTRUCTION.pack(step.code, yes, no, step.value)


def dropping(pieces: Iterable[Piece]) -> bytes:
    """A program that drops what has any of these pieces, and lets all else pass."""
    code: list[Step | str] = []
    for piece in pieces:
        value = int.from_bytes(piece.value)
        code += [load(piece.offset, len(piece.value)), if_equal(value, yes="drop")]
    return assemble([*code, PASS, "drop", DROP])


def attach(one: socket.socket, program: bytes) -> None:
    """Filter what comes to a socket from now on. The kernel copies the program. Raises OSError."""
    there = ctypes.create_string_buffer(program, len(program))
    count = len(program) // _INSTRUCTION.size
    given = _PROGRAM.pack(count, ctypes.addressof(there))
    one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, given)
