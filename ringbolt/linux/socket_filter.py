"""Classic BPF on a socket: what the kernel drops before it would wake anybody.

SO_ATTACH_FILTER, socket(7), Documentation/networking/filter.rst, linux/filter.h. Pure but for
`attach`. A load takes bytes in network order.
"""

import ctypes
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

_SO_ATTACH_FILTER = 26
_INSTRUCTION = struct.Struct("=HBBI")
_PROGRAM = struct.Struct("@HP")
_LOAD = {1: 0x30, 2: 0x28, 4: 0x20}
_JUMP_IF_EQUAL, _RETURN = 0x15, 0x06
_WHOLE = 0xFFFFFFFF


class Piece(NamedTuple):
    """1, 2 or 4 bytes at a place in the message; beyond its end none stand there.

    The kernel drops a message that a load reaches beyond, so only messages that are at least as
    long as every place that is looked at may be filtered.
    """

    offset: int
    value: bytes


def dropping(pieces: Iterable[Piece]) -> bytes:
    """A program that drops what has any of these pieces, and lets all else pass."""
    pieces = tuple(pieces)
    code: list[tuple[int, int, int, int]] = []
    for at, piece in enumerate(pieces):
        left = 2 * (len(pieces) - at - 1)
        code.append((_LOAD[len(piece.value)], 0, 0, piece.offset))
        code.append((_JUMP_IF_EQUAL, left + 1, 0, int.from_bytes(piece.value)))
    return _assembled([*code, (_RETURN, 0, 0, _WHOLE), (_RETURN, 0, 0, 0)])


def passing(offset: int, values: Iterable[bytes], unless: Piece | None = None) -> bytes:
    """A program that lets pass what has one of `values` at `offset`, `unless` it has that piece."""
    values = tuple(values)
    code = [(_LOAD[len(values[0])], 0, 0, offset)]
    code += [
        (_JUMP_IF_EQUAL, len(values) - at, 0, int.from_bytes(value))
        for at, value in enumerate(values)
    ]
    code.append((_RETURN, 0, 0, 0))
    if unless:
        code.append((_LOAD[len(unless.value)], 0, 0, unless.offset))
        code.append((_JUMP_IF_EQUAL, 0, 1, int.from_bytes(unless.value)))
        code.append((_RETURN, 0, 0, 0))
    return _assembled([*code, (_RETURN, 0, 0, _WHOLE)])


def attach(one: socket.socket, program: bytes) -> None:
    """Filter what comes to a socket from now on. The kernel copies the program. Raises OSError."""
    there = ctypes.create_string_buffer(program, len(program))
    count = len(program) // _INSTRUCTION.size
    given = _PROGRAM.pack(count, ctypes.addressof(there))
    one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, given)


def _assembled(code: Iterable[tuple[int, int, int, int]]) -> bytes:
    return b"".join(_INSTRUCTION.pack(*one) for one in code)
