"""Network namespaces by descriptor: open and recognise one, and do something inside of it.

A namespace is a property of a socket: open it inside, use it from anywhere. No thread in which
anything else may run ever enters one.
"""

import _thread
import errno
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ringbolt.linux import libc
from ringbolt.linux.namespaces import CLONE_NEWNET

NS_GET_NSTYPE = 0xB703

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a namespace itself while it lives: its inode on nsfs."""

    device: int
    inode: int


def open_namespace(path: str) -> int:
    """A descriptor of the network namespace at `path` (/run/netns/x, /proc/PID/ns/net). Close it.

    Raises OSError (ENOENT; EINVAL: something else, such as the empty file of a namespace that
    was unmounted).
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        check(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def check(fd: int, name: str = "") -> None:
    """Raise OSError (EINVAL) unless `fd` is a network namespace; `name` is for the message."""
    name = name or f"descriptor {fd}"
    try:
        kind = fcntl.ioctl(fd, NS_GET_NSTYPE)
    except OSError as error:
        if error.errno != errno.ENOTTY:
            raise libc.failed(error.errno or 0, "NS_GET_NSTYPE", name) from None
        kind = 0
    if kind != CLONE_NEWNET:
        raise OSError(errno.EINVAL, f"{name} is not a network namespace")


def identify(fd: int) -> Identity:
    """The identity of an open namespace; equal for every descriptor of the same one."""
    status = os.fstat(fd)
    return Identity(status.st_dev, status.st_ino)


def identify_own() -> Identity:
    """The identity of the network namespace that the calling thread is in."""
    status = os.stat("/proc/thread-self/ns/net")
    return Identity(status.st_dev, status.st_ino)


def inside(fd: int, work: Callable[[], _Result]) -> _Result:
    """What `work` answers inside the namespace `fd`, where a thread made for it alone runs it.

    Sockets opened by `work` stay bound to the namespace. /proc/sys/net shows it there too;
    /proc/self/net does not. Raises what `work` raises, and OSError of setns(2).
    """
    run, finish = visit(fd, work)
    _thread.start_new_thread(run, ())
    return finish()


def visit(fd: int, work: Callable[[], _Result]) -> tuple[Callable[[], None], Callable[[], _Result]]:
    """What a thread runs to do `work` inside the namespace `fd`, and what waits for that.

    Each is called once. The first leaves its thread there. The second answers or raises what `work`
    does.
    """
    results: list[_Result] = []
    errors: list[BaseException] = []
    # threading.Thread waits for the thread's start as well: a third of a pod's socket goes there.
    left = _thread.allocate_lock()
    left.acquire()

    def run() -> None:
        try:
            libc.call("setns", fd, CLONE_NEWNET)
            results.append(work())
        except BaseException as error:  # noqa: BLE001  # raised again where it was asked for
            errors.append(error)
        finally:
            left.release()

    def finish() -> _Result:
        left.acquire()
        if errors:
            raise errors[0]
        return results[0]

    return run, finish
