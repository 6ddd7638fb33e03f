"""When links of pods that were detached are deleted: not while calls are made, but not never."""

from collections.abc import Callable
from time import monotonic, sleep

import pytest

from ringbolt.network import sweeper
from ringbolt.network.sweeper import Sweeper
from tests.kernel.network_lab import links, run

WAIT_S = 20.0
DOOMED = str(0x52420D1E)


def mark(name: str) -> None:
    run("ip", "link", "add", name, "group", DOOMED, "type", "bridge")


def until(holds: Callable[[], bool]) -> None:
    end = monotonic() + WAIT_S
    while not holds():
        assert monotonic() < end
        sleep(0.002)


def test_links_stay_while_a_call_is_made_and_go_after_it() -> None:
    with Sweeper(coalesce=True) as one:
        with one.held_off():
            mark("d0")
            one.sweep()
            assert "d0" in links()
        until(lambda: "d0" not in links())


def test_links_do_not_stay_for_ever_however_many_calls_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweeper, "LATEST_S", 0.05)
    with Sweeper(coalesce=True) as one, one.held_off():
        mark("d0")
        one.sweep()
        until(lambda: "d0" not in links())


def test_who_closes_it_finds_nothing_left() -> None:
    with Sweeper(coalesce=True) as one, one.held_off():
        mark("d0")
        one.sweep()
    assert set(links()) == {"lo"}


def test_without_a_thread_links_go_at_once() -> None:
    with Sweeper(coalesce=False) as one, one.held_off():
        mark("d0")
        one.sweep()
        assert "d0" not in links()
