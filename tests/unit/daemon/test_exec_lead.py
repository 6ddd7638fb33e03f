"""One thread leads as long as its calls are quick; a slow one keeps nobody from the next call."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

import pytest

from daemon.exec_lead import Lead

Call = Callable[[], None]
PATIENT_S = 60.0
WAIT_S = 30.0


class Crew:
    """Threads that take calls from a queue as the server's take them from a socket."""

    def __init__(self, lead: Lead) -> None:
        self._lead = lead
        self._calls = SimpleQueue[Call | None]()
        self._served = SimpleQueue[int]()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(3)]

    def call(self, work: Call = lambda: None) -> None:
        self._calls.put(work)

    def who_served(self) -> int:
        """The thread of the next call that ends."""
        return self._served.get(timeout=WAIT_S)

    def nobody_serves(self) -> bool:
        """Whether no call ends for a while."""
        with pytest.raises(Empty):
            self._served.get(timeout=0.2)
        return True

    def end(self) -> None:
        self._calls.put(None)
        for one in self.threads:
            one.join(WAIT_S)
            assert not one.is_alive(), "a thread waits for ever"

    def _run(self) -> None:
        while self._lead.follow():
            while work := self._calls.get():
                self._lead.begin()
                work()
                self._served.put(threading.get_ident())
                if not self._lead.end():
                    break
            else:
                self._lead.finish()


@contextmanager
def crew(lead: Lead) -> Generator[Crew]:
    made = Crew(lead)
    for one in made.threads:
        one.start()
    yield made
    made.end()


def test_quick_calls_are_all_served_by_one_thread() -> None:
    with crew(Lead(PATIENT_S)) as threads:
        for _ in range(50):
            threads.call()
        assert len({threads.who_served() for _ in range(50)}) == 1


def test_who_leads_is_not_followed_while_its_call_may_take_its_time() -> None:
    go = threading.Event()
    with crew(Lead(PATIENT_S)) as threads:
        threads.call(lambda: _wait(go))
        threads.call()
        assert threads.nobody_serves()
        go.set()
        assert threads.who_served() == threads.who_served()


def test_a_slow_call_keeps_nobody_from_the_next_ones() -> None:
    go = threading.Event()
    with crew(Lead(0.01)) as threads:
        threads.call(lambda: _wait(go))
        threads.call()
        quick = threads.who_served()
        threads.call(lambda: _wait(go))
        threads.call()
        assert threads.who_served() != quick, "the third thread is there too"
        go.set()
        slow = {threads.who_served(), threads.who_served()}
        assert quick in slow
        threads.call()
        threads.who_served()


def test_nobody_takes_the_lead_from_who_waits_for_a_call() -> None:
    with crew(Lead(0.3)) as threads:
        threads.call()
        leader = threads.who_served()
        assert all(threads.nobody_serves() for _ in range(3))
        for _ in range(3):
            threads.call()
            assert threads.who_served() == leader


def test_who_stands_aside_is_followed_at_once() -> None:
    lead, aside, go = Lead(PATIENT_S), threading.Event(), threading.Event()

    def work() -> None:
        assert not go.wait(0.2), "the others have seen by then that it serves"
        with lead.aside():
            aside.set()
            _wait(go)
            with lead.aside():  # it leads no more: nothing changes hands
                pass

    with crew(lead) as threads:
        threads.call(work)
        assert aside.wait(WAIT_S)
        threads.call()
        follower = threads.who_served()
        go.set()
        assert threads.who_served() != follower
        threads.call()
        assert threads.who_served() == follower


def test_who_never_followed_may_stand_aside_too() -> None:
    lead = Lead(PATIENT_S)
    with lead.aside():
        assert lead.follow()
    with lead.aside():
        pass
    assert not lead.end()


def _wait(go: threading.Event) -> None:
    assert go.wait(WAIT_S), "nobody went on meanwhile"
