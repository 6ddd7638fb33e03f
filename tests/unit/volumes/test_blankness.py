"""Blank means zeros wherever it was looked, and it is looked where data shows."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringbolt.volumes.blankness import SAMPLES, prove_blank, prove_unfinished
from ringbolt.volumes.errors import MismatchError, NotBlankError
from ringbolt.volumes.held import Held, identify
from ringbolt.volumes.signatures import MIB
from ringbolt.volumes.spec import FsType

SIZE = 24 * MIB


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    fd = os.open(tmp_path / "image", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, SIZE)
    yield Held(fd, "image", identify(fd), is_block=False)
    os.close(fd)


def test_zeros_are_blank(held: Held) -> None:
    assert prove_blank(held).held is held


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.integers(0, MIB - 1), st.integers(SIZE - MIB, SIZE - 1)), st.integers(1, 255))
def test_any_byte_at_either_end_is_data(held: Held, offset: int, value: int) -> None:
    os.pwrite(held.fd, bytes([value]), offset)
    with pytest.raises(NotBlankError, match="nothing was written"):
        prove_blank(held)
    os.pwrite(held.fd, b"\0", offset)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(MIB, SIZE - MIB))
def test_a_run_as_long_as_a_step_between_samples_is_seen(held: Held, offset: int) -> None:
    length = (SIZE - 2 * MIB) // SAMPLES + 2 * 4096
    offset = min(offset, SIZE - MIB - length)
    os.pwrite(held.fd, b"\x01" * length, offset)
    with pytest.raises(NotBlankError):
        prove_blank(held)
    os.pwrite(held.fd, bytes(length), offset)


@pytest.mark.parametrize("size", [1, 511, 4096, MIB - 1, MIB, MIB + 1, 2 * MIB - 1, 2 * MIB + 1])
def test_small_ones_are_read_whole(held: Held, size: int) -> None:
    os.ftruncate(held.fd, size)
    small = Held(held.fd, "image", identify(held.fd), is_block=False)
    prove_blank(small)
    for offset in {0, size // 2, size - 1}:
        os.pwrite(held.fd, b"\x01", offset)
        with pytest.raises(NotBlankError, match=f"byte {offset};"):
            prove_blank(small)
        os.pwrite(held.fd, b"\0", offset)


def test_a_file_that_shrank_meanwhile_is_another(held: Held) -> None:
    os.ftruncate(held.fd, SIZE - 512)
    with pytest.raises(MismatchError, match=f"{SIZE} bytes became {SIZE - 512}"):
        prove_blank(held)


def test_what_an_unfinished_one_left_in_the_middle_is_excused(held: Held) -> None:
    os.pwrite(held.fd, b"\x01" * MIB, 12 * MIB)
    assert prove_unfinished(held, FsType.EXT4).held is held
    os.pwrite(held.fd, b"XFSB", 12 * MIB)
    assert prove_unfinished(held, FsType.XFS).held is held
    with pytest.raises(NotBlankError, match="xfs at byte"):
        prove_unfinished(held, FsType.EXT4)
    os.pwrite(held.fd, b"\x01", 0)
    with pytest.raises(NotBlankError, match="unknown data at byte 0"):
        prove_unfinished(held, FsType.XFS)
