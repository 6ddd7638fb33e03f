"""Devices that exist in memory only: bytes at offsets, zeros everywhere else."""

import errno
from dataclasses import dataclass, field

from ringbolt.volumes.signatures import MIB

GIB = 1 << 30


@dataclass
class Disk:
    """`bad` are ranges that cannot be read; `reads` is what was looked at."""

    size: int = 64 * MIB
    content: dict[int, bytes] = field(default_factory=dict[int, bytes])
    bad: tuple[range, ...] = ()
    reads: list[range] = field(default_factory=list[range])

    def read(self, offset: int, length: int) -> bytes:
        place = range(offset, offset + length)
        assert offset >= 0, place
        assert place.stop <= self.size, place
        self.reads.append(place)
        if any(place.start < bad.stop and bad.start < place.stop for bad in self.bad):
            raise OSError(errno.EIO, "Input/output error")
        data = bytearray(length)
        for at, piece in self.content.items():
            begin, end = max(at, place.start), min(at + len(piece), place.stop)
            if begin < end:
                data[begin - offset : end - offset] = piece[begin - at : end - at]
        return bytes(data)
