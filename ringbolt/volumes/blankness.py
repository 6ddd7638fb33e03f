"""Positive proof that a device holds nothing, over one descriptor that stays open.

A tool that finds no signature has proved nothing: the device may be unreadable, not ready, of size
zero or another one by now, and people lost data to that. Here every place that was looked at must
have been read in full and have held zeros, of the same device before and after, held for us alone.
`Blank` is the only thing that `format` takes, and it is made nowhere else.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ringbolt.volumes.errors import NotBlankError
from ringbolt.volumes.held import Held
from ringbolt.volumes.signatures import MIB, find_signatures
from ringbolt.volumes.spec import FsType

_STEP = 64 << 10
_SAMPLE = 4096
SAMPLES = 128
"""How many places between the first and the last MiB are looked at, evenly spread."""


@dataclass(frozen=True, slots=True)
class Blank:
    """Proof for as long as `held` stays open."""

    held: Held


def prove_blank(held: Held) -> Blank:
    """Read the first and last MiB, all places of known signatures, and samples between.

    Raises NotBlankError, which says what was found and where, or what could not be read.
    """
    return _prove(held, places_of(held.size), excused=None)


def prove_unfinished(held: Held, fs_type: FsType) -> Blank:
    """Like `prove_blank` for a device whose formatting we began: what it left behind is excused.

    Zeros in the first MiB and no signature but spare ones of `fs_type` say that nobody finished
    it since and nobody else began. Only for a device that has our own note of it.
    """
    head = min(held.size, MIB)
    places = ((offset, min(_STEP, head - offset)) for offset in range(0, head, _STEP))
    return _prove(held, places, excused=fs_type.value)


def _prove(held: Held, places: Iterable[tuple[int, int]], *, excused: str | None) -> Blank:
    held.refresh()
    try:
        for one in find_signatures(held.read, held.size):
            if one.name != excused or not one.copy:
                raise NotBlankError(f"{held.name} is not blank: it holds {one}; {_ADVICE}")
        for offset, length in places:
            _require_zeros(held, offset, length)
    except OSError as error:
        raise _unreadable(held, error) from error
    held.refresh()
    return Blank(held)


_ADVICE = (
    "nothing was written; if its content is worthless, wipe it yourself (wipefs and blkdiscard, or "
    "zeros over its first and last MiB), else name another device"
)


def places_of(size: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of all that must hold zeros."""
    head, tail = min(size, MIB), max(size - MIB, 0)
    for begin, end in ((0, head), (max(head, tail), size)):
        for offset in range(begin, end, _STEP):
            yield offset, min(_STEP, end - offset)
    if tail > head:
        for number in range(1, SAMPLES + 1):
            offset = head + (tail - head) * number // (SAMPLES + 1)
            yield offset - offset % _SAMPLE, min(_SAMPLE, size - offset)


def _require_zeros(held: Held, offset: int, length: int) -> None:
    data = held.read(offset, length)
    if data.count(0) == length:
        return
    at = offset + length - len(data.lstrip(b"\0"))
    raise NotBlankError(f"{held.name} is not blank: unknown data at byte {at}; {_ADVICE}")


def _unreadable(held: Held, error: OSError) -> NotBlankError:
    reason = os.strerror(error.errno or errno.EIO)
    return NotBlankError(
        f"{held.name} cannot be proved blank: {error.strerror or reason}; nothing was written. "
        "See the kernel's log for what is wrong with it"
    )
