"""A lane runs a container's calls in order, others beside them, and no more than it may."""

import threading
from functools import partial

import pytest

from daemon.exec_lane import FullError, Lane

WAIT_S = 20.0


def await_event(event: threading.Event) -> None:
    event.wait(WAIT_S)


def test_calls_of_one_key_run_in_order_and_never_beside_each_other() -> None:
    lane = Lane("test", threads=4, limit=1000)
    running, together, order = set[str](), list[str](), dict[str, list[int]]()
    done = threading.Semaphore(0)

    def job(key: str, number: int) -> None:
        if key in running:
            together.append(key)
        running.add(key)
        order.setdefault(key, []).append(number)
        running.discard(key)
        done.release()

    for number in range(100):
        for key in "abc":
            lane.put(key, partial(job, key, number))
    for _ in range(300):
        assert done.acquire(timeout=WAIT_S)
    assert together == []
    assert order == {key: list(range(100)) for key in "abc"}


def test_one_container_that_hangs_holds_up_no_other() -> None:
    lane = Lane("test", threads=2, limit=10)
    hang, other, same = threading.Event(), threading.Event(), threading.Event()
    lane.put("a", partial(await_event, hang))
    lane.put("a", same.set)
    lane.put("b", other.set)
    assert other.wait(WAIT_S)
    assert not same.is_set()
    hang.set()
    assert same.wait(WAIT_S)


def test_what_is_beyond_the_limit_is_refused() -> None:
    lane = Lane("test", threads=1, limit=2)
    hang, last = threading.Event(), threading.Event()
    lane.put("", partial(await_event, hang))
    lane.put("", last.set)
    with pytest.raises(FullError, match="2 calls wait"):
        lane.put("", last.set)
    hang.set()
    assert last.wait(WAIT_S)
