"""The gate lets one thread pass at a time, and nobody wait for a slow one."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from daemon.exec_gate import Gate

PATIENT_S = 60.0
WAIT_S = 30.0


def begin(gate: Gate, threads: ThreadPoolExecutor, work: Callable[[], None]) -> "Future[None]":
    """`work` behind the gate, in a thread of its own."""

    def serve() -> None:
        with gate.passed():
            work()

    return threads.submit(serve)


def test_one_thread_passes_at_a_time() -> None:
    gate, inside = Gate(PATIENT_S), threading.Lock()

    def work() -> None:
        assert inside.acquire(blocking=False), "two are behind the gate"
        threading.Event().wait(0.001)
        inside.release()

    with ThreadPoolExecutor(8) as threads:
        for one in [begin(gate, threads, work) for _ in range(40)]:
            one.result(WAIT_S)


def test_who_has_waited_long_goes_on_beside_a_slow_one() -> None:
    gate, second = Gate(0.01), threading.Event()

    def slow() -> None:
        assert second.wait(WAIT_S), "the second waits for the first"

    with ThreadPoolExecutor(2) as threads:
        first = begin(gate, threads, slow)
        begin(gate, threads, second.set).result(WAIT_S)
        first.result(WAIT_S)
    with gate.passed():
        begun = threading.Event()
        with ThreadPoolExecutor(1) as threads:
            begin(gate, threads, begun.set).result(WAIT_S)


def test_who_stands_aside_lets_the_next_one_in() -> None:
    gate = Gate(PATIENT_S)
    stood_aside, passed = threading.Event(), threading.Event()

    def waiting() -> None:
        with gate.aside():
            stood_aside.set()
            assert passed.wait(WAIT_S), "the next one was not let in"

    with ThreadPoolExecutor(2) as threads:
        first = begin(gate, threads, waiting)
        assert stood_aside.wait(WAIT_S)
        begin(gate, threads, passed.set).result(WAIT_S)
        first.result(WAIT_S)


def test_who_comes_back_waits_for_who_was_let_in() -> None:
    gate, order = Gate(PATIENT_S), list[str]()
    stood_aside, passed = threading.Event(), threading.Event()

    def waiting() -> None:
        with gate.aside():
            stood_aside.set()
            assert passed.wait(WAIT_S)
        order.append("first")

    def second() -> None:
        passed.set()
        threading.Event().wait(0.05)
        order.append("second")

    with ThreadPoolExecutor(2) as threads:
        first = begin(gate, threads, waiting)
        assert stood_aside.wait(WAIT_S)
        begin(gate, threads, second).result(WAIT_S)
        first.result(WAIT_S)
    assert order == ["second", "first"]


def test_who_keeps_nobody_out_may_stand_aside_too() -> None:
    gate = Gate(PATIENT_S)
    with gate.aside(), gate.passed():
        pass


def test_an_error_leaves_the_gate_open() -> None:
    gate = Gate(PATIENT_S)
    with pytest.raises(ValueError, match="broken"), gate.passed(), gate.aside():
        raise ValueError("broken")
    with ThreadPoolExecutor(1) as threads:
        begin(gate, threads, lambda: None).result(WAIT_S)
