"""A lane runs a container's calls in order, others beside them, and no more than it may."""

import threading
from functools import partial

import pytest

from daemon.exec_lane import FullError, Job, Lane

WAIT_S = 20.0


def bring(lane: Lane, key: str, job: Job) -> None:
    threading.Thread(target=lane.put, args=(key, job), daemon=True).start()


class Hanging:
    """A job that tells when it runs, and ends when it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> None:
        self.entered.set()
        self.go.wait(WAIT_S)


def test_calls_of_one_key_run_in_order_and_never_beside_each_other() -> None:
    lane = Lane(threads=4, limit=1000)
    running, together, order = set[str](), list[str](), dict[str, list[int]]()
    done = threading.Semaphore(0)

    def job(key: str, number: int) -> None:
        if key in running:
            together.append(key)
        running.add(key)
        order.setdefault(key, []).append(number)
        running.discard(key)
        done.release()

    def bring_all(key: str) -> None:
        for number in range(100):
            lane.put(key, partial(job, key, number))

    for key in "abc":
        threading.Thread(target=bring_all, args=(key,), daemon=True).start()
    for _ in range(300):
        assert done.acquire(timeout=WAIT_S)
    assert together == []
    assert order == {key: list(range(100)) for key in "abc"}


def test_what_waits_behind_a_call_runs_after_it_in_the_order_it_came() -> None:
    lane, first, order = Lane(threads=4, limit=10), Hanging(), list[int]()
    last = threading.Event()
    bring(lane, "a", first)
    assert first.entered.wait(WAIT_S)
    for number in range(3):
        lane.put("a", partial(order.append, number))
    lane.put("a", last.set)
    assert order == []
    first.go.set()
    assert last.wait(WAIT_S)
    assert order == [0, 1, 2]


def test_one_container_that_hangs_holds_up_no_other() -> None:
    lane, hang = Lane(threads=2, limit=10), Hanging()
    other, same = threading.Event(), threading.Event()
    bring(lane, "a", hang)
    assert hang.entered.wait(WAIT_S)
    lane.put("a", same.set)
    lane.put("b", other.set)
    assert other.is_set()
    assert not same.is_set()
    hang.go.set()
    assert same.wait(WAIT_S)


def test_no_more_run_at_a_time_than_may_and_who_runs_takes_what_waits() -> None:
    lane, hanging, waited = Lane(threads=2, limit=10), [Hanging(), Hanging()], threading.Event()
    for number, one in enumerate(hanging):
        bring(lane, str(number), one)
        assert one.entered.wait(WAIT_S)
    lane.put("c", waited.set)
    assert not waited.is_set()
    hanging[1].go.set()
    assert waited.wait(WAIT_S)
    hanging[0].go.set()


def test_what_is_beyond_the_limit_is_refused() -> None:
    lane, hang, last = Lane(threads=1, limit=2), Hanging(), threading.Event()
    bring(lane, "", hang)
    assert hang.entered.wait(WAIT_S)
    lane.put("", last.set)
    with pytest.raises(FullError, match="2 calls wait"):
        lane.put("", last.set)
    hang.go.set()
    assert last.wait(WAIT_S)
