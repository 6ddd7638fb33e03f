"""The commands that only look, as users run them: into pipes, onto full disks, with mistakes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DEADLINE_S = 60


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "ringbolt.yaml"
    path.write_text("resources: [{name: lab.dev/null, select: [{path: /dev/null}], share: 9}]\n")
    return path


def ringbolt(*words: object, to: int = subprocess.PIPE) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "daemon", *map(str, words)],
        stdout=to,
        stderr=subprocess.PIPE,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_a_row_in_a_pipe_is_one_line(config: Path) -> None:
    shown = ringbolt("devices", "--config", config)
    assert shown.returncode == 0, shown.stderr
    (row,) = [line for line in shown.stdout.splitlines() if line.startswith("lab.dev/null")]
    assert " x9 " in row
    assert "/dev/null" in row
    notes = [line for line in shown.stdout.splitlines() if line.startswith("note: who holds")]
    assert notes[0].endswith("directory")


def test_a_memory_that_cannot_be_read_leaves_json_json(config: Path, tmp_path: Path) -> None:
    (tmp_path / "identities.json").write_text("{")
    shown = ringbolt("devices", "-o", "json", "--config", config, "--state-dir", tmp_path)
    assert any("ids may differ" in lack for lack in json.loads(shown.stdout)["lacks"])


@pytest.mark.parametrize("path", ["/dev/null", "/sys/class/mem/null", "null", "link"])
def test_a_device_is_known_by_whatever_leads_to_it(path: str, config: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")
    which = tmp_path / path if path == "link" else path
    shown = ringbolt("explain", "device", which, "--config", config)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("/dev/null\n")
    assert "lab.dev/null: taken by select[0]" in shown.stdout


def test_an_unknown_device_is_told_on_stderr_alone(config: Path) -> None:
    shown = ringbolt("explain", "device", "/dev/none", "--config", config)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert "/dev/none: no such device node" in shown.stderr


@pytest.mark.parametrize("words", [("version",), ("devices",), ("devices", "-o", "json")])
def test_a_full_disk_is_a_sentence(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        shown = ringbolt(*words, to=full.fileno())
    assert (shown.returncode, shown.stderr) == (1, "ringbolt: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("command", [("config", "check"), ("devices", "--config")])
def test_a_file_below_a_file_is_refused(command: tuple[str, ...], config: Path) -> None:
    shown = ringbolt(*command, config / "more.yaml")
    assert "Traceback" not in shown.stderr
    assert "more.yaml" in shown.stdout + shown.stderr
