"""Sums of files: taken once for one state of a file, and again for every other."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import DeadlineError
from ringbolt.volumes.verified import Stamp, Verified

SOON = Deadline.after(3600)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(b"content" * 1000)
    return path


@pytest.fixture
def sums(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that were summed up."""
    from ringbolt.volumes import verified  # noqa: PLC0415

    taken: list[str] = []
    real = verified._sum

    def counted(fd: int, path: str, deadline: Deadline) -> str:
        taken.append(path)
        return real(fd, path, deadline)

    monkeypatch.setattr(verified, "_sum", counted)
    return taken


@pytest.fixture
def fd(file: Path) -> Iterator[int]:
    opened = os.open(file, os.O_RDONLY)
    yield opened
    os.close(opened)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_stays_is_summed_up_once(
    tmp_path: Path, file: Path, fd: int, sums: list[str]
) -> None:
    for _ in range(3):
        verified = Verified(tmp_path / "verified", settled_s=0)
        assert verified.digest(fd, str(file), SOON) == sha256(file)
    assert len(sums) == 1


@pytest.mark.parametrize("change", ["content", "times", "size", "another file"])
def test_a_file_that_changed_is_summed_up_again(
    tmp_path: Path, file: Path, fd: int, sums: list[str], change: str
) -> None:
    verified, before = Verified(tmp_path / "verified", settled_s=0), file.stat()
    verified.digest(fd, str(file), SOON)
    if change == "content":
        with file.open("r+b") as stream:
            stream.write(b"C")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "times":
        os.utime(file, ns=(1, 1))
    elif change == "size":
        with file.open("ab") as stream:
            stream.write(b"more")
    else:
        file.with_suffix(".new").write_bytes(b"other")
        file.with_suffix(".new").rename(file)
    now = os.open(file, os.O_RDONLY)
    assert verified.digest(now, str(file), SOON) == sha256(file)
    os.close(now)
    assert len(sums) == 2


def test_a_file_that_was_just_written_is_not_remembered(
    tmp_path: Path, file: Path, fd: int, sums: list[str]
) -> None:
    """Clocks of file systems are coarse: it could change within one tick."""
    for _ in range(2):
        Verified(tmp_path / "verified", settled_s=3600).digest(fd, str(file), SOON)
    assert len(sums) == 2
    assert not (tmp_path / "verified").exists()


@pytest.mark.parametrize("note", ["", "{}", "[]", '[[1, 2], "0"]', "[null, null]"])
def test_a_note_that_makes_no_sense_is_none(
    tmp_path: Path, file: Path, fd: int, sums: list[str], note: str
) -> None:
    verified = Verified(tmp_path / "verified", settled_s=0)
    verified.digest(fd, str(file), SOON)
    (kept,) = (tmp_path / "verified").iterdir()
    kept.write_text(note)
    assert verified.digest(fd, str(file), SOON) == sha256(file)
    assert len(sums) == 2


def test_it_ends_with_its_deadline(tmp_path: Path, file: Path, fd: int) -> None:
    with pytest.raises(DeadlineError, match="image"):
        Verified(tmp_path / "verified").digest(fd, str(file), Deadline.after(0))


def test_a_name_for_a_state_tells_replaced_from_changed(file: Path, fd: int) -> None:
    before = Stamp.of(fd).short
    assert len(before) == 15
    os.utime(file, ns=(1, 1))
    changed = Stamp.of(fd).short
    assert changed[:8] == before[:8]
    assert changed != before
