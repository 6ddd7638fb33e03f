"""Async tests fail where code of ours would hold up the event loop."""

import time
from pathlib import Path

import pytest
from blockbuster import BlockingError

import daemon


def _run_as_ours(program: str) -> None:
    """Run code as if it stood in a module of the daemon."""
    place = Path(daemon.__path__[0]) / "blocking.py"
    exec(compile(program, place, "exec"), {})


async def test_a_sleep_in_our_code_is_refused() -> None:
    with pytest.raises(BlockingError, match=r"time\.sleep"):
        _run_as_ours("import time; time.sleep(0.001)")


async def test_a_file_read_in_our_code_is_refused() -> None:
    with pytest.raises(BlockingError):
        _run_as_ours("import os; os.stat('/')")


def test_code_outside_a_loop_may_wait() -> None:
    _run_as_ours("import time; time.sleep(0.001)")


async def test_code_of_others_is_not_our_business() -> None:
    time.sleep(0)  # noqa: ASYNC251  # this test is the one that blocks
