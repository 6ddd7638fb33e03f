"""Classic BPF: where a jump leads is counted from marks, and only ahead."""

import struct

import pytest

from ringbolt.linux.socket_filter import (
    DROP,
    PASS,
    Piece,
    Step,
    assemble,
    dropping,
    go,
    if_equal,
    load,
    native,
)

INSTRUCTION = struct.Struct("=HBBI")


def _read(program: bytes) -> list[tuple[int, int, int, int]]:
    return list(INSTRUCTION.iter_unpack(program))


def test_a_jump_leads_to_its_mark() -> None:
    code = (load(4, 2), if_equal(7, yes="end", no="other"), go("end"), "other", DROP, "end", PASS)
    assert _read(assemble(code)) == [
        (0x28, 0, 0, 4),
        (0x15, 2, 1, 7),
        (0x05, 0, 0, 1),
        (0x06, 0, 0, 0),
        (0x06, 0, 0, 0xFFFFFFFF),
    ]


@pytest.mark.parametrize(
    "code",
    [
        (if_equal(1, yes="nowhere"), PASS),
        ("back", PASS, if_equal(1, yes="back"), PASS),
        (if_equal(1, yes="far"), *[PASS] * 256, "far", DROP),
    ],
    ids=["unknown", "behind", "too far"],
)
def test_a_mark_that_no_jump_can_reach_is_refused(code: tuple[Step | str, ...]) -> None:
    with pytest.raises(ValueError, match="leads nowhere"):
        assemble(code)


def test_pieces_are_looked_for_one_after_the_other() -> None:
    program = dropping([Piece(24, b"/net"), Piece(3, b"\7")])
    assert _read(program) == [
        (0x20, 0, 0, 24),
        (0x15, 3, 0, 0x2F6E6574),
        (0x30, 0, 0, 3),
        (0x15, 1, 0, 7),
        (0x06, 0, 0, 0xFFFFFFFF),
        (0x06, 0, 0, 0),
    ]


def test_the_machines_numbers_are_compared_as_their_bytes_stand() -> None:
    assert native(0x0102, 2).to_bytes(2) == struct.pack("=H", 0x0102)
    assert native(0x01020304, 4).to_bytes(4) == struct.pack("=I", 0x01020304)
