"""Hints are gathered, put off and taken."""

import os
from collections.abc import Iterator

import pytest

from daemon import hints as hints_module
from daemon.hints import Hints, hearing_uevents
from ringbolt.devices import uevents
from ringbolt.devices.tree import SysPath

ONE, OTHER = SysPath("/devices/one"), SysPath("/devices/other")


async def test_what_is_put_off_is_looked_at_in_its_time() -> None:
    hints = Hints()
    hints.take()
    hints.defer([ONE], 0.01)
    hints.defer([ONE, OTHER], 1.0)
    await hints.settled(10)
    assert hints.take().paths == {ONE}
    await hints.settled(10)
    assert hints.take().paths == {OTHER}


async def test_what_is_heard_of_meanwhile_is_put_off_no_more() -> None:
    hints = Hints()
    hints.defer([ONE], 0.001)
    hints.defer([OTHER], 0.01)
    hints.add([ONE])
    assert hints.take().paths == {ONE}
    await hints.settled(10)
    assert hints.take().paths == {OTHER}


class Hoarse:
    """Uevents of which one waits to be read; the first read fails."""

    def __init__(self) -> None:
        self.ear, self.mouth = os.pipe()
        os.set_blocking(self.ear, False)
        os.write(self.mouth, b"add")
        self.reads = 0

    def filenos(self) -> tuple[int, ...]:
        return (self.ear,)

    def read(self) -> uevents.Hints:
        self.reads += 1
        if self.reads == 1:
            raise OSError(24, "Too many open files")
        os.read(self.ear, 3)
        return uevents.Hints(frozenset({ONE}))

    def close(self) -> None:
        """The fixture closes."""


@pytest.fixture
def hoarse(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hoarse]:
    made = Hoarse()
    monkeypatch.setattr(hints_module, "Uevents", lambda: made)
    yield made
    os.close(made.ear)
    os.close(made.mouth)


async def test_what_cannot_be_read_is_looked_for_and_read_later(
    hoarse: Hoarse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints_module, "DEAF_S", 0.05)
    hints = Hints()
    hints.take()
    async with hearing_uevents(hints):
        await hints.settled(10)
        assert hints.take().full
        assert hoarse.reads == 1, "it is not tried again at once"
        await hints.settled(10)
        assert hints.take().paths == {ONE}
