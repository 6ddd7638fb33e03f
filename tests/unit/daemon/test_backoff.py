"""Waits grow, are jittered, and stay within their bounds."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from daemon.backoff import Backoff


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_each_wait_lies_between_half_and_the_whole_of_a_doubling_bound(draws: list[float]) -> None:
    given_draws = iter(draws)
    backoff = Backoff(0.1, 5.0, random_=lambda: next(given_draws))
    bound = 0.1
    for _ in draws:
        assert bound / 2 <= backoff.next_s() <= bound
        bound = min(bound * 2, 5.0)


def test_reset_begins_anew() -> None:
    backoff = Backoff(0.1, 5.0, random_=lambda: 1.0)
    assert [backoff.next_s(), backoff.next_s()] == [0.1, 0.2]
    backoff.reset()
    assert backoff.next_s() == 0.1


async def test_a_pause_that_is_stirred_begins_anew() -> None:
    backoff = Backoff(0.1, 600.0, random_=lambda: 1.0)
    while backoff.next_s() < 600.0:
        pass
    stir = asyncio.Event()
    pause = asyncio.create_task(backoff.pause(stir))
    stir.set()
    await pause
    assert not stir.is_set()
    assert backoff.next_s() == 0.1


async def test_a_pause_that_is_not_stirred_goes_on_growing() -> None:
    backoff = Backoff(0.001, 5.0, random_=lambda: 1.0)
    await backoff.pause(asyncio.Event())
    assert backoff.next_s() == 0.002
