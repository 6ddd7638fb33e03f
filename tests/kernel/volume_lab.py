"""Disks for tests of volumes: loop devices over sparse files, given back when the test ends."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ringbolt.linux import loop

DEADLINE_S = 10.0


@contextmanager
def disk(image: Path, size: int) -> Iterator[str]:
    """The path of a loop device over `image`, which is made or grown to `size` bytes.

    Nothing else on this machine may take the number between the question for it and its use, so a
    lost race is run again.
    """
    fd = os.open(image, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, max(size, os.fstat(fd).st_size))
        path = _attach(fd)
    finally:
        os.close(fd)
    try:
        yield path
    finally:
        loop.detach(path)


def _attach(fd: int) -> str:
    until = time.monotonic() + DEADLINE_S
    while True:
        path = f"/dev/loop{loop.free()}"
        try:
            loop.attach(path, fd)
        except OSError:
            if time.monotonic() > until:
                raise
        else:
            return path
