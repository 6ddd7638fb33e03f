"""What every layer shares: their order, real root, doors that can be shut, and what remains.

Fixtures only; what one layer alone needs stands in its own conftest.
"""

import ctypes
import gc
import inspect
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest
from blockbuster import blockbuster_ctx

LAYERS = ("unit", "kernel", "hardware", "kubelet", "runtime")
PR_SET_CHILD_SUBREAPER = 36


def real_root() -> bool:
    """Whether this is root of the machine and not only of a user namespace."""
    whole_range = ["0", "0", "4294967295"]
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == whole_range


def pytest_configure() -> None:
    """Make orphans ours, so that none is lost, and guard libc before anything of ours loads it."""
    # Users have no sbin on their path, yet many of its programs serve them in a user namespace.
    os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    sys.addaudithook(_audit)
    vars(ctypes)["CDLL"] = _GuardedLibrary
    vars(ctypes.cdll)["_dlltype"] = _GuardedLibrary


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the quick layers first; skip what needs real root where there is none."""
    tests = Path(__file__).parent
    order = {str(tests / layer): index for index, layer in enumerate(LAYERS)}

    def layer_of(item: pytest.Item) -> int:
        found = [order[str(above)] for above in item.path.parents if str(above) in order]
        return found[0] if found else len(LAYERS)

    items.sort(key=layer_of)
    if not real_root():
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason="needs real root: run as root"))


@pytest.fixture(scope="session")
def need_program() -> Callable[[str, str], str]:
    """Find a program by its name, or skip, naming the Debian package that has it."""

    def find(name: str, package: str) -> str:
        if not (path := shutil.which(name)):
            pytest.skip(f"needs {name}: apt-get install {package}")
        return path

    return find


@pytest.fixture(autouse=True)
def _event_loop_is_never_blocked(request: pytest.FixtureRequest) -> Iterator[None]:
    """In async tests, what would hold up the loop fails where it stands.

    Where the embedded kubelet runs in the test's own loop, it is the one that is looked at; it may
    touch its own small files: it writes its checkpoint as a kubelet does, in step.
    """
    if not inspect.iscoroutinefunction(getattr(request.node, "function", None)):
        yield
        return
    sandbox = bool({"kubelet", "runtime"} & set(request.path.parts))
    with blockbuster_ctx(["ringbolt" if sandbox else "daemon"]) as buster:
        # gRPC joins its poller when its last object is collected, in whoever's frame that is.
        allowed = ("threading.", "os.", "io.") if sandbox else ("threading.",)
        for name, function in buster.functions.items():
            if name.startswith(allowed):
                function.deactivate()
        # One look before a watch is set, which is as quick a call.
        buster.functions["os.stat"].can_block_in("daemon/directory_watch.py", "_arm")
        yield


# --- Doors: effects on the machine that a layer can forbid -----------------------------------


class ForbiddenEffectError(BaseException):
    """A test touched the machine through a shut door; no `except Exception` may swallow it."""


_shut: set[str] = set()

_EVENTS = {
    "os.exec": "subprocess",
    "os.fork": "subprocess",
    "os.forkpty": "subprocess",
    "os.posix_spawn": "subprocess",
    "os.system": "subprocess",
    "subprocess.Popen": "subprocess",
    "socket.bind": "sockets",
    "socket.connect": "sockets",
    "socket.getaddrinfo": "sockets",
    "socket.gethostbyname": "sockets",
    "socket.sendmsg": "sockets",
    "socket.sendto": "sockets",
}
_PATH_EVENTS = ("open", "os.listdir", "os.scandir")


def _refuse_if_shut(door: str, what: str) -> None:
    if door in _shut:
        message = f'{what}: this layer keeps the door "{door}" shut; see the mark `effects`'
        raise ForbiddenEffectError(message)


def _audit(event: str, args: tuple[object, ...]) -> None:
    if not _shut:
        return
    if door := _EVENTS.get(event):
        _refuse_if_shut(door, f"{event} {args!r}")
    elif event == "socket.__new__" and args[1] != socket.AF_UNIX:
        # An event loop owns a unix socket pair; every other family reaches out.
        _refuse_if_shut("sockets", f"{event} {args[1:]!r}")
    elif event in _PATH_EVENTS and str(args[0]).startswith("/sys/"):
        _refuse_if_shut("sysfs", f"{event} {args[0]}")


class _GuardedLibrary(ctypes.CDLL):
    """A shared library whose functions ask the door "libc" at each call."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # handed through untouched
        plain = self._FuncPtr

        class Guarded(plain):  # type: ignore[misc, valid-type]  # made per library, as ctypes does
            _flags_ = plain._flags_
            _restype_ = plain._restype_

            def __call__(self, *args: object) -> object:
                _refuse_if_shut("libc", f"libc call {self.__name__}")
                return super().__call__(*args)

        self._FuncPtr = Guarded


@pytest.fixture
def shut_doors(request: pytest.FixtureRequest) -> Iterator[None]:
    """Shut every door but those that the test's mark `effects` names."""
    opened = {kind for mark in request.node.iter_markers("effects") for kind in mark.args}
    _shut.update({"libc", "sockets", "subprocess", "sysfs"} - opened)
    try:
        yield
    finally:
        _shut.clear()


# --- What remains after a test ---------------------------------------------------------------


def _processes() -> set[str]:
    alive = set[str]()
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                process.wait(timeout=0)
            else:
                alive.add(f"process {process.pid}: {' '.join(process.cmdline())}")
        except (psutil.Error, ChildProcessError):
            continue
    return alive


def _descriptors() -> set[str]:
    held = set[str]()
    for entry in os.scandir("/proc/self/fd"):
        try:
            held.add(f"descriptor {entry.name}: {Path(entry.path).readlink()}")
        except FileNotFoundError:
            continue
    return {line for line in held if "/proc/" not in line}


def _mounts() -> set[str]:
    lines = Path("/proc/thread-self/mountinfo").read_text().splitlines()
    return {f"mount {line.split()[4]}: {line.split(' - ')[1]}" for line in lines}


def _links() -> set[str]:
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
    return {f"link {line.split(':')[0].strip()}" for line in lines}


@dataclass(frozen=True, slots=True)
class Remains:
    """Looks for what tests leave on the machine, waiting until `timeout_s` for it to vanish."""

    base: Path
    timeout_s: float = 5.0

    def _loops(self) -> set[str]:
        """Loop devices whose file is one of this run: others on the machine are not ours."""
        found = set[str]()
        for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
            try:
                text = backing.read_text().strip()
            except OSError:
                continue
            if text.startswith(f"{self.base}/"):
                found.add(f"loop device {backing.parts[3]}: {text}")
        return found

    def look(self, *kinds: str) -> set[str]:
        """One line for each thing of `kinds`: processes descriptors mounts links loops."""
        lookers: dict[str, Callable[[], set[str]]] = {
            "processes": _processes,
            "descriptors": _descriptors,
            "mounts": _mounts,
            "links": _links,
            "loops": self._loops,
        }
        gc.collect()
        return {line for kind in kinds for line in lookers[kind]()}

    def assert_none_since(self, before: set[str], *kinds: str) -> None:
        """Fail with what is there now, was not before, and does not go within the time."""
        end = monotonic() + self.timeout_s
        while (left := self.look(*kinds) - before) and monotonic() < end:
            sleep(0.02)  # the kernel tells of neither mounts nor loop devices that go
        assert not left, "the test left behind: " + "; ".join(sorted(left))


@pytest.fixture(scope="session")
def remains(tmp_path_factory: pytest.TempPathFactory) -> Remains:
    """The look-out for leaks; files of this run lie below pytest's own temporary folder."""
    return Remains(tmp_path_factory.getbasetemp().resolve())


@pytest.fixture
def nothing_remains(remains: Remains) -> Iterator[None]:
    """No process, descriptor, mount, link or loop device outlives the test."""
    kinds = ("processes", "descriptors", "mounts", "links", "loops")
    before = remains.look(*kinds)
    yield
    remains.assert_none_since(before, *kinds)


@pytest.fixture
def no_process_remains(remains: Remains) -> Iterator[None]:
    """No process, mount or loop device outlives the test; gRPC keeps descriptors of its own."""
    kinds = ("processes", "mounts", "loops")
    before = remains.look(*kinds)
    yield
    remains.assert_none_since(before, *kinds)
