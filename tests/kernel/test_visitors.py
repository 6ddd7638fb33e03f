"""Threads that visit network namespaces, against the real kernel."""

import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ringbolt.linux.network_namespace import identify, identify_own
from ringbolt.linux.visitors import Visitors
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


def test_closed_it_leaves_no_thread_and_no_descriptor() -> None:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with namespace() as fd:
        with closing(Visitors()) as visitors:
            thread = visitors.begin(fd, threading.get_native_id)()
        until(lambda: not Path(f"/proc/self/task/{thread}").exists())
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
