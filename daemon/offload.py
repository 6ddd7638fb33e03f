"""Blocking calls kept off the event loop, each in a thread of its own that may be left behind.

A thread pool is not used: one device driver that hangs in open(2) would hold a worker for ever, and
the interpreter joins pool threads at exit, so a hung device would also hang SIGTERM.
"""

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T], *, timeout_s: float | None = None) -> T:
    """What `call` returns or raises; TimeoutError after `timeout_s`, the thread left behind."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()
    threading.Thread(target=_run, args=(call, loop, answer), daemon=True).start()
    async with asyncio.timeout(timeout_s):
        return await answer


def _run(
    call: Callable[[], T], loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[T]"
) -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - relayed to the waiter, whatever it is
        _tell(loop, answer, functools.partial(answer.set_exception, error))
    else:
        _tell(loop, answer, functools.partial(answer.set_result, result))


def _tell(
    loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[T]", settle: Callable[[], None]
) -> None:
    try:
        loop.call_soon_threadsafe(lambda: None if answer.done() else settle())
    except RuntimeError:  # the loop has closed: nobody waits any more
        return
