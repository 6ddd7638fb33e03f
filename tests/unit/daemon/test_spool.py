"""What waits in the spool: every frame is seen, though an empty directory is read but once."""

import os
from pathlib import Path

import pytest

from daemon.spool import Spool, container_key

KEY = container_key("one")


def put(folder: Path, key: str = KEY, mark: str = "00") -> Path:
    path = folder / f"{key}-{mark}.frame"
    path.touch()
    return path


def long_unchanged(folder: Path) -> None:
    os.utime(folder, (1_000_000_000, 1_000_000_000))


def test_an_empty_directory_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    long_unchanged(tmp_path)
    assert spool.pending(KEY) == []
    monkeypatch.setattr(os, "listdir", lambda _path: pytest.fail("it was read again"))
    assert spool.pending(KEY) == []


def test_what_comes_into_an_empty_directory_is_seen(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    long_unchanged(tmp_path)
    assert spool.pending(KEY) == []
    path = put(tmp_path)
    assert spool.pending(KEY) == spool.pending() == [path]
    assert spool.pending(container_key("another")) == []
    path.unlink()
    assert spool.pending(KEY) == []


def test_what_comes_in_the_tick_in_which_the_directory_was_read_is_seen(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    put(tmp_path).unlink()
    tick = tmp_path.stat()
    assert spool.pending(KEY) == []
    path = put(tmp_path)
    os.utime(tmp_path, ns=(tick.st_atime_ns, tick.st_mtime_ns))
    assert spool.pending(KEY) == [path]


def test_a_frame_that_waits_is_seen_each_time(tmp_path: Path) -> None:
    spool, path = Spool(tmp_path), put(tmp_path)
    long_unchanged(tmp_path)
    assert spool.pending(KEY) == spool.pending(KEY) == [path]


def test_a_directory_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    assert spool.pending() == []
    spool.prepare()
    assert spool.pending() == []
