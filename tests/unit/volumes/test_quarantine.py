"""Quarantined volumes are seen by every process, until they are let go."""

from pathlib import Path

import pytest

from ringbolt.volumes.quarantine import Quarantine
from ringbolt.volumes.volume import VolumeId

ONE, OTHER = VolumeId("nfs.1"), VolumeId("/k/pods/a b")


def test_another_process_sees_them(tmp_path: Path) -> None:
    mine, theirs = Quarantine(tmp_path), Quarantine(tmp_path)
    assert not theirs
    mine[ONE] = "it hung"
    mine.setdefault(ONE, "it hung again")
    theirs[OTHER] = "gone"
    assert dict(theirs) == dict(mine) == {ONE: "it hung", OTHER: "gone"}
    del mine[ONE]
    assert mine.pop(ONE, None) is None
    assert dict(theirs) == {OTHER: "gone"}


def test_what_cannot_be_written_is_known_here(tmp_path: Path) -> None:
    (tmp_path / "volumes").write_text("no folder")
    mine = Quarantine(tmp_path)
    mine[ONE] = "it hung"
    assert dict(mine) == {ONE: "it hung"}


def test_what_cannot_be_read_is_not_there(tmp_path: Path) -> None:
    mine = Quarantine(tmp_path)
    mine[ONE] = "it hung"
    for path in (tmp_path / "volumes/quarantined").iterdir():
        path.write_text("{")
    theirs = Quarantine(tmp_path)
    assert not theirs
    with pytest.raises(KeyError):
        theirs[ONE]
