"""A network namespace as the node: its agent, the plugins that a runtime execs, pods to attach."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.lab import TIMEOUT_S, LabError
from ringbolt.linux import link, network_namespace
from ringbolt.linux.namespaces import CLONE_NEWNET, unshare
from ringbolt.linux.netlink import Socket

_Result = TypeVar("_Result")
Conf = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pod:
    """A namespace to attach, held open by `netns_fd`."""

    name: str
    netns_fd: int

    @property
    def path(self) -> str:
        """What a runtime gives as CNI_NETNS."""
        return f"/proc/{os.getpid()}/fd/{self.netns_fd}"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin with its configuration."""

    program: Path
    conf: Conf


@dataclass(frozen=True, slots=True)
class Call:
    """One exec of a plugin, which has been started. Standard input and output are memory."""

    pid: int
    out: int
    what: str

    def end(self) -> Any:
        """Wait for it; its result or None. Raises LabError if it failed."""
        _, status = os.waitpid(self.pid, 0)
        with os.fdopen(self.out, "rb") as file:
            file.seek(0)
            said = file.read()
        if status:
            raise LabError(f"{self.what} failed: {said.decode(errors='replace')}")
        return json.loads(said) if said else None


@dataclass(frozen=True, slots=True)
class Ready:
    """One exec of a plugin, with all prepared that a runtime prepares: `start` it once."""

    program: Path
    variables: Mapping[str, str]
    given: int
    out: int
    what: str

    def start(self) -> Call:
        """Exec it in the caller's namespace, the cheapest way there is."""
        redirected = [(os.POSIX_SPAWN_DUP2, self.given, 0), (os.POSIX_SPAWN_DUP2, self.out, 1)]
        arguments = [self.program.name]
        try:
            pid = os.posix_spawn(self.program, arguments, self.variables, file_actions=redirected)
        finally:
            os.close(self.given)
        return Call(pid, self.out, self.what)


def prepare(plugin: Plugin, command: str, pod: Pod, socket: Path, more: Conf) -> Ready:
    """All but the exec."""
    variables = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": pod.name,
        "CNI_NETNS": pod.path,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(plugin.program.parent),
        "PATH": os.environ["PATH"],
        "RINGBOLT_SOCKET": str(socket),
    }
    given, out = os.memfd_create("stdin"), os.memfd_create("stdout")
    os.pwrite(given, json.dumps({**plugin.conf, **more}).encode(), 0)
    return Ready(plugin.program, variables, given, out, f"{plugin.program.name} {command}")


def start(plugin: Plugin, command: str, pod: Pod, socket: Path, more: Conf) -> Call:
    """Prepare and exec the plugin."""
    return prepare(plugin, command, pod, socket, more).start()


@contextmanager
def agent(folder: Path) -> Generator[Path]:
    """An agent in the caller's namespace; its socket. Raises LabError."""
    with process(folder, "resources: []\n"):
        yield folder / "run/agent.sock"


@contextmanager
def process(folder: Path, configuration: str) -> Generator["subprocess.Popen[bytes]"]:
    """The process of an agent in the caller's namespaces, which listens. Raises LabError."""
    folder.mkdir(exist_ok=True)
    config = folder / "config.yaml"
    config.write_text(configuration)
    command = [sys.executable, "-m", "daemon", "agent", "--config", str(config)]
    for option in ("kubelet", "run", "state", "cdi"):
        command += [f"--{option}-dir", str(folder / option)]
    socket, log = folder / "run/agent.sock", folder / "agent.log"
    with (
        log.open("wb") as out,
        subprocess.Popen([*command, "--http", "127.0.0.1:0"], stdout=out, stderr=out) as running,
    ):
        try:
            await_that(socket.is_socket, "the agent's socket")
            yield running
        except LabError as error:
            raise LabError(f"{error}; the agent's last lines:\n{log.read_text()[-2000:]}") from None
        finally:
            running.terminate()


def await_that(holds: Callable[[], bool], what: str) -> None:
    """Wait for what another process does. Raises LabError if it does not."""
    end = time.monotonic() + TIMEOUT_S
    while not holds():
        if time.monotonic() > end:
            raise LabError(f"{what} was waited for in vain")
        time.sleep(0.005)


@contextmanager
def pods(names: Sequence[str]) -> Generator[list[Pod]]:
    """Fresh namespaces; what is attached to them goes with them.

    The kernel takes namespaces down behind everybody's back and has the links locked for it, so the
    end waits until that is done: what is measured next shall not pay for what was measured before.
    """
    made = list[Pod]()
    try:
        for name in names:
            made.append(Pod(name, in_namespace(_open_own)))
        with _last_to_go():
            yield made
            for pod in made:
                os.close(pod.netns_fd)
            made.clear()
    finally:
        for pod in made:
            os.close(pod.netns_fd)


@contextmanager
def _last_to_go() -> Generator[None]:
    """Wait until a namespace is gone that is closed last: a link into it goes with it."""
    last = in_namespace(_open_own)
    name = f"canary{last}"
    with Socket() as here:
        try:
            here.request([link.new_veth(link.End(name), link.End(name, netns_fd=last))])
            yield
        finally:
            os.close(last)
        await_that(lambda: link.find(here, name) is None, "namespaces to go")


def in_namespace(work: Callable[[], _Result]) -> _Result:
    """What `work` answers in a thread of its own inside a new network namespace."""
    results, errors = list[_Result](), list[BaseException]()

    def visit() -> None:
        try:
            unshare(CLONE_NEWNET)
            results.append(work())
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            errors.append(error)

    thread = threading.Thread(target=visit)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _open_own() -> int:
    return network_namespace.open_namespace("/proc/thread-self/ns/net")


def count_links() -> int:
    """How many links the caller's namespace has."""
    with Socket() as node:
        return sum(1 for _ in link.list_links(node))
