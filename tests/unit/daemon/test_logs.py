"""What is logged is no reason to fail, whatever becomes of the output."""

import io
import sys
from collections.abc import Iterator

import pytest
import structlog

from daemon import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


class FullDisk(io.TextIOWrapper):
    def flush(self) -> None:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_full_disk_stops_nobody(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    said = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", FullDisk(said, encoding="utf-8", write_through=True))
    logs.configure(form, "info")
    structlog.get_logger().info("list sent", healthy=2)
    assert b"list sent" in said.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("form", ["json", "text"])
def test_names_that_the_output_cannot_encode_are_escaped(
    monkeypatch: pytest.MonkeyPatch, form: str, encoding: str
) -> None:
    said = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(said, encoding=encoding))
    logs.configure(form, "info")
    structlog.get_logger().info("not there", path="/dev/tty\udcff")
    assert b"\\udcff" in said.getvalue()
