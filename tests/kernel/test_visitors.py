"""Threads that visit network namespaces, against the real kernel."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from ringbolt.linux.network_namespace import identify, identify_own
from ringbolt.linux.visitors import Visitors, lend_this_thread
from tests.kernel.netlab import namespace

WAIT_S = 20.0


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


def namespace_of(thread: int) -> int:
    return os.stat(f"/proc/self/task/{thread}/ns/net").st_ino  # noqa: PTH116


def test_work_runs_inside_and_the_visitor_comes_home_for_the_next_one() -> None:
    here = identify_own()
    with namespace() as fd, closing(Visitors()) as visitors:
        assert visitors.begin(fd, identify_own)() == identify(fd)
        assert identify_own() == here
        thread = visitors.begin(fd, threading.get_native_id)()
        assert thread != threading.get_native_id()
        until(lambda: namespace_of(thread) == here.inode)
        assert visitors.begin(fd, threading.get_native_id)() == thread


def test_two_visits_at_the_same_time_do_not_wait_for_each_other() -> None:
    go = threading.Event()

    def wait() -> bool:
        return go.wait(WAIT_S)

    with namespace() as fd, closing(Visitors()) as visitors:
        first = visitors.begin(fd, wait)
        assert visitors.begin(fd, identify_own)() == identify(fd)
        go.set()
        assert first()


def test_what_work_raises_is_raised_here_and_the_next_visit_is_well() -> None:
    def fail() -> None:
        raise LookupError("inside")

    with namespace() as fd, closing(Visitors()) as visitors:
        with pytest.raises(LookupError, match="inside"):
            visitors.begin(fd, fail)()
        assert visitors.begin(fd, identify_own)() == identify(fd)


def test_what_is_no_namespace_is_refused() -> None:
    with (
        closing(Visitors()) as visitors,
        Path("/dev/null").open(encoding="ascii") as null,
        pytest.raises(OSError, match="setns") as refused,
    ):
        visitors.begin(null.fileno(), identify_own)()
    assert refused.value.errno == errno.EINVAL


@pytest.fixture
def lent() -> Iterator[ThreadPoolExecutor]:
    """A thread that makes its visits itself."""
    with ThreadPoolExecutor(1, initializer=lend_this_thread) as thread:
        yield thread


def test_a_lent_thread_goes_itself_and_is_home_at_once(lent: ThreadPoolExecutor) -> None:
    def visit() -> None:
        here = identify_own()
        finish = visitors.begin(fd, lambda: (identify_own(), threading.get_native_id()))
        assert identify_own() == here
        assert finish() == (identify(fd), threading.get_native_id())

    with namespace() as fd, closing(Visitors()) as visitors:
        lent.submit(visit).result(WAIT_S)


def test_what_fails_abroad_is_raised_at_home(lent: ThreadPoolExecutor) -> None:
    def fail() -> None:
        raise LookupError("inside")

    def visit() -> None:
        here = identify_own()
        for where, error in ((fd, LookupError), (null.fileno(), OSError)):
            finish = visitors.begin(where, fail)
            with pytest.raises(error):
                finish()
            assert identify_own() == here

    with (
        namespace() as fd,
        closing(Visitors()) as visitors,
        Path("/dev/null").open(encoding="ascii") as null,
    ):
        lent.submit(visit).result(WAIT_S)


_NO_WAY_BACK = """
import os, sys
from ringbolt.linux.visitors import Visitors, lend_this_thread
visitors = Visitors()
visitors._home = os.open("/dev/null", os.O_RDONLY)
lend_this_thread()
print(visitors.begin(int(sys.argv[1]), lambda: "abroad")(), flush=True)
"""


def test_a_lent_thread_that_finds_no_way_back_ends_the_process() -> None:
    with namespace() as fd:
        words = (sys.executable, "-c", _NO_WAY_BACK, str(fd))
        done = subprocess.run(words, capture_output=True, text=True, pass_fds=[fd], check=False)
    assert (done.returncode, done.stdout) == (os.EX_OSERR, "")
    assert "no way back" in done.stderr


def test_who_is_abroad_when_it_is_closed_finds_the_way_back(lent: ThreadPoolExecutor) -> None:
    def visit() -> None:
        here = identify_own()
        finish = visitors.begin(fd, visitors.close)
        finish()
        assert identify_own() == here
        with pytest.raises(OSError, match="no pod is visited any more"):
            visitors.begin(fd, identify_own)

    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with namespace() as fd:
        visitors = Visitors()
        lent.submit(visit).result(WAIT_S)
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_closed_it_leaves_no_thread_and_no_descriptor() -> None:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with namespace() as fd:
        with closing(Visitors()) as visitors:
            thread = visitors.begin(fd, threading.get_native_id)()
        until(lambda: not Path(f"/proc/self/task/{thread}").exists())
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
