"""Threads that do nothing but visit network namespaces, and come home after each visit.

A thread made for one visit alone (`network_namespace.inside`) waits for its first turn as long as
any newcomer on a busy machine: milliseconds. One that sleeps between visits is served at once, and
one that visits for itself need not be woken: so threads that serve nothing but one call after the
other are lent for it.
"""

import errno
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from ringbolt.linux import libc, network_namespace
from ringbolt.linux.namespaces import CLONE_NEWNET

_Result = TypeVar("_Result")
_Visit = Callable[[], None]


_this_thread = threading.local()


def lend_this_thread() -> None:
    """Let the calling thread make its visits itself: for one that nobody else runs anything in."""
    _this_thread.is_lent = True


class Visitors:
    """Their home is the namespace of the thread that makes this. Close it.

    There are as many as were abroad at the same time. One that finds no way home serves nobody
    again; a lent thread is sent only if there is a way home. Raises OSError.
    """

    def __init__(self) -> None:
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._has_way_home = self._is_home()
        self._turn = threading.Lock()
        self._idle: list[SimpleQueue[_Visit | None]] = []
        self._closed = False
        self._abroad = 0

    def close(self) -> None:
        """Send home and dismiss; those abroad when they are back."""
        with self._turn:
            self._closed = True
            for one in self._idle:
                one.put(None)
            self._idle.clear()
            if not self._abroad:
                os.close(self._home)

    def begin(self, fd: int, work: Callable[[], _Result]) -> Callable[[], _Result]:
        """Do `work` inside the namespace `fd`; what it returns waits, and answers or raises.

        Begin early, and do what belongs to the node's own namespace meanwhile. Call what it returns
        exactly once.
        """
        if self._has_way_home and getattr(_this_thread, "is_lent", False):
            return self._visit_at_once(fd, work)
        run, finish = network_namespace.visit(fd, work)
        self._visitor().put(run)
        return finish

    def _visit_at_once(self, fd: int, work: Callable[[], _Result]) -> Callable[[], _Result]:
        run, finish = network_namespace.visit(fd, work)
        with self._turn:
            if self._closed:
                raise OSError(errno.EBADF, "no pod is visited any more")
            self._abroad += 1
        run()
        if not self._is_home():
            # Whatever it did from now on it would do to a pod. A start anew loses nothing.
            os.write(2, b"a thread found no way back from a network namespace: the agent ends\n")
            os._exit(os.EX_OSERR)
        with self._turn:
            self._abroad -= 1
            if self._closed and not self._abroad:
                os.close(self._home)
        return finish

    def _visitor(self) -> "SimpleQueue[_Visit | None]":
        with self._turn:
            if self._idle:
                return self._idle.pop()
        visits = SimpleQueue[_Visit | None]()
        threading.Thread(target=self._run, args=(visits,), name="visitor", daemon=True).start()
        return visits

    def _run(self, visits: "SimpleQueue[_Visit | None]") -> None:
        while visit := visits.get():
            visit()
            del visit  # what it holds must not live until the next one comes
            with self._turn:
                if self._closed or not self._is_home():
                    return
                self._idle.append(visits)

    def _is_home(self) -> bool:
        try:
            libc.call("setns", self._home, CLONE_NEWNET)
        except OSError:
            return False
        return True
