"""Recorded machines under umockdev: the recordings and a way to run a program on one.

Recordings of the project's own making lie in `recordings/`; the folder that RINGBOLT_RECORDINGS
names holds more (`*.umockdev`), which are data of others and never copied here.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

OWN = Path(__file__).parent / "recordings"
OnMachine = Callable[[Path, str], str]
"""(recording, Python program) -> what the program printed."""


def _foreign() -> Path | None:
    named = os.environ.get("RINGBOLT_RECORDINGS")
    return Path(named) if named else None


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], Path]:
    """Find a recording by its name without ".umockdev"; skip, saying so, where it is not."""

    def find(name: str) -> Path:
        for folder in filter(None, (OWN, _foreign())):
            if (found := folder / f"{name}.umockdev").is_file():
                return found
        pytest.skip(f"no recording {name}: RINGBOLT_RECORDINGS names no folder that has it")

    return find


@pytest.fixture(scope="session")
def on_machine(need_program: Callable[[str, str], str]) -> OnMachine:
    """Run a Python program that sees a recorded machine in /sys, /dev and udev."""
    umockdev = need_program("umockdev-run", "umockdev")

    def run(recording: Path, program: str) -> str:
        command = [umockdev, "-d", str(recording), "--", sys.executable, "-c", program]
        # A machine is thousands of small files: on a disk they take three times as long.
        memory = {"TMPDIR": "/dev/shm"} if os.access("/dev/shm", os.W_OK) else {}
        environment = {**os.environ, **memory}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, f"on {recording.name}: {done.stderr}"
        return done.stdout

    return run
