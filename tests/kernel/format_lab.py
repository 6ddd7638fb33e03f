"""What tests of formatting share: the call, and the proof that a refusal changed not one byte."""

import subprocess
from pathlib import Path

import pytest

from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.format import Ready, Wanted, ensure_filesystem
from ringbolt.volumes.held import hold
from ringbolt.volumes.spec import FormatPolicy, FsType
from ringbolt.volumes.tombstones import Tombstones
from tests.kernel.volume_lab import disk

MIB = 1 << 20
SIZE = 16 * MIB
IF_BLANK = Wanted(FsType.EXT4, FormatPolicy.IF_BLANK)


def ensure(path: str, state: Path, wanted: Wanted = IF_BLANK) -> Ready:
    with hold(path) as held:
        return ensure_filesystem(held, wanted, Tombstones(state / "format"), Deadline.after(60))


def digest(image: Path) -> bytes:
    return subprocess.run(["sha256sum", image], capture_output=True, check=True).stdout


def write(image: Path, offset: int, data: bytes) -> None:
    with image.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def refused(image: Path, error: type[Exception], told: str, wanted: Wanted = IF_BLANK) -> None:
    """That it is refused with these words, and that not one byte changed."""
    before = digest(image)
    with disk(image, 0) as path, pytest.raises(error, match=told):
        ensure(path, image.parent, wanted)
    assert digest(image) == before
