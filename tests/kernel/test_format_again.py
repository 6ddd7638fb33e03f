"""Formatting that was interrupted goes on where only our own beginning is there."""

import os
import subprocess
import uuid
from pathlib import Path

import pytest

from ringbolt.linux import block
from ringbolt.volumes.errors import MismatchError, NotBlankError
from ringbolt.volumes.held import hold
from ringbolt.volumes.spec import FsType
from ringbolt.volumes.tombstones import Tombstone, Tombstones
from tests.kernel.format_lab import MIB, SIZE, digest, ensure, refused, write
from tests.kernel.volume_lab import disk

pytestmark = pytest.mark.root


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return tmp_path / "image"


@pytest.fixture
def begun(image: Path, monkeypatch: pytest.MonkeyPatch) -> Tombstone:
    """A disk with a serial number, which loop devices lack, whose formatting was begun."""

    def serial(_device: int) -> str:
        return "S3Z8NB0K"

    monkeypatch.setattr(block, "serial", serial)
    image.touch()
    os.truncate(image, SIZE)
    tombstone = Tombstone(FsType.EXT4, uuid.uuid4())
    with disk(image, SIZE) as path, hold(path) as held:
        Tombstones(image.parent / "format").begin(held.identity, tombstone)
    return tombstone


def notes(image: Path) -> list[Path]:
    return list((image.parent / "format").iterdir())


def test_what_a_killed_mkfs_left_is_formatted_again(image: Path, begun: Tombstone) -> None:
    write(image, 5 * MIB, b"tables" * 4096)
    with disk(image, SIZE) as path:
        assert ensure(path, image.parent).superblock.uuid != begun.uuid
    assert not notes(image)


@pytest.mark.usefixtures("begun")
def test_a_begun_disk_that_has_data_now_is_a_refusal(image: Path) -> None:
    """It was used elsewhere in between: the note is no licence."""
    subprocess.run(["mkswap", "-q", image], check=True)
    refused(image, MismatchError, "swap at byte")
    write(image, 0, b"data")
    write(image, 4086, bytes(10))
    refused(image, NotBlankError, "unknown data at byte 0|swap")


@pytest.mark.usefixtures("begun")
def test_a_begun_disk_with_a_file_system_of_others_is_theirs(image: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    before = digest(image)
    with disk(image, SIZE) as path:
        assert not ensure(path, image.parent).made
    assert (digest(image), notes(image)) == (before, [])


@pytest.mark.usefixtures("begun")
def test_a_damaged_one_of_others_is_not_made_anew(image: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    write(image, 4096, b"\xff" * 4096)
    before = digest(image)
    with disk(image, SIZE) as path:
        assert not ensure(path, image.parent).made
    assert digest(image) == before


def test_a_finished_one_whose_note_stayed_is_kept(image: Path, begun: Tombstone) -> None:
    subprocess.run(["mkfs.ext4", "-q", "-U", str(begun.uuid), image], check=True)
    before = digest(image)
    with disk(image, SIZE) as path:
        assert ensure(path, image.parent).superblock.uuid == begun.uuid
    assert digest(image) == before


def test_a_broken_one_of_ours_that_nobody_mounted_is_made_anew(
    image: Path, begun: Tombstone
) -> None:
    subprocess.run(["mkfs.ext4", "-q", "-U", str(begun.uuid), image], check=True)
    write(image, 4096, b"\xff" * 4096)
    with disk(image, SIZE) as path:
        assert ensure(path, image.parent).made


def test_without_a_lasting_identity_no_note_is_kept(image: Path) -> None:
    with disk(image, SIZE) as path:
        ensure(path, image.parent)
    assert not (image.parent / "format").exists()
