"""A state file is there whole or not at all, and nonsense in it is no reason to stop."""

import json
from pathlib import Path

import pytest

from daemon import state_file


def parse(value: object) -> int:
    if not isinstance(value, dict):
        raise TypeError("no object")
    return int(value["n"])


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.json"
    state_file.write(path, {"n": 7})
    assert state_file.read(path, parse, 0) == 7
    assert [entry.name for entry in path.parent.iterdir()] == ["state.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"m": 1}', '{"n": "x"}', "\x00", "[" * 9999])
def test_nonsense_gives_the_default(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    assert state_file.read(path, parse, 42) == 42


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    state_file.write(path, {"n": 1})
    with pytest.raises(TypeError):
        state_file.write(path, {"n": object()})
    assert json.loads(path.read_text()) == {"n": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]
