"""A node of its own namespaces with a real containerd and a real agent, and the real `install`.

Its `/run` and `/var/lib` are its own and end with it, and so do its processes: they live below a
process that is the first of a pid namespace. What the tests read lies in folders that both see.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from daemon.cni_conflist import NAME
from tests.kernel.launcher_lab import ROOT, build
from tests.kernel.network_lab import Pod, run
from tests.runtime.cni_lab import REFERENCE, Node, until
from tests.runtime.container_image import IMAGE, write_image
from tests.runtime.cri_lab import Runtime

CGROUPS = Path("/sys/fs/cgroup")
PATIENT = "-DADD_MS=50000 -DADD_WAIT_MS=45000 -DDEL_MS=10000 -DDEL_WAIT_MS=3000"
"""A launcher that waits out the start of an agent on a busy machine."""
NETWORK = {
    "name": "pods",
    "ranges": [[{"subnet": "10.89.0.0/24"}], [{"subnet": "fd00:89::/64"}]],
    "masquerade": True,
}
_OF_PODS = ("containerd-shim", "busybox", "runc")
_FIRST_PROCESS = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
print("ready", flush=True)
while True:
    try:
        os.wait()
    except ChildProcessError:
        signal.sigwait([signal.SIGCHLD])
"""
_CONFIG = """
version = 2
root = "{folder}/c"
state = "/run/containerd"
[grpc]
  address = "{folder}/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{folder}/bin"
    conf_dir = "{folder}/net.d"
"""


@dataclass(frozen=True)
class Running:
    """A process of the node, that `nsenter` waits for."""

    waiting: "subprocess.Popen[bytes]"

    @property
    def ended(self) -> bool:
        return self.waiting.poll() is not None

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal to the process itself and wait for it."""
        for one in psutil.Process(self.waiting.pid).children():
            with suppress(psutil.NoSuchProcess):
                one.send_signal(number)
        return self.waiting.wait(60)


@dataclass
class Machine:
    """A node that has a containerd; `first` is its first process."""

    node: Node
    first: int
    runtime: Runtime
    _containerd: Running | None = None

    @property
    def folder(self) -> Path:
        return self.node.folder

    @property
    def conflist(self) -> Path:
        return self.folder / "net.d" / NAME

    def words(self, *words: str) -> list[str]:
        """The command that runs `words` on the node."""
        return ["nsenter", f"--target={self.first}", "--mount", "--net", "--pid", "--", *words]

    def start(self, log: str, *words: str) -> Running:
        """Start a program there; what it says goes to a file."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with (self.folder / log).open("ab") as out:
            command = self.words(*words)
            return Running(subprocess.Popen(command, stdout=out, stderr=out, env=environment))

    def ringbolt(self, *words: str) -> str:
        """What our command says on the node."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = self.words(sys.executable, "-m", "daemon", *words)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def places(self) -> tuple[str, ...]:
        """Where this node's runtime seeks plugins and networks, and what is to be put there."""
        where = (f"--cni-bin-dir={self.folder}/bin", f"--cni-conf-dir={self.folder}/net.d")
        state = f"--state-dir={self.folder}/installed"
        return (*where, state, f"--config={self.folder}/config.yaml")

    def configure(self, mode: str = "bridge") -> None:
        told = {"resources": [], "network": {**NETWORK, "mode": mode}}
        (self.folder / "config.yaml").write_text(json.dumps(told))  # JSON is YAML

    def install(self, launcher: Path | None = None) -> None:
        self.ringbolt("install", *self.places(), f"--launcher={launcher or self.node.launcher}")

    def start_agent(self) -> Running:
        """An agent that serves; where another did, it has the socket instead."""
        socket = self.node.socket
        before = socket.stat().st_ino if socket.exists() else 0
        words = ["-m", "daemon", "agent", "--config", f"{self.folder}/config.yaml"]
        folders = (f"--kubelet-dir={self.folder}/kubelet", f"--cdi-dir={self.folder}/cdi")
        made = self.start("agent.log", sys.executable, *words, *folders, "--http=127.0.0.1:0")
        until(lambda: made.ended or (socket.is_socket() and socket.stat().st_ino != before))
        assert not made.ended, (self.folder / "agent.log").read_text()
        return made

    def start_containerd(self) -> None:
        config = f"{self.folder}/c.toml"
        self._containerd = self.start("containerd.log", "containerd", "--config", config)
        until(self.runtime.serves)

    def end_containerd(self) -> None:
        """SIGTERM; its pods run on."""
        if self._containerd:
            self._containerd.end()
            self._containerd = None

    @contextmanager
    def agent(self) -> Generator[Running]:
        """An agent that is gone when the block ends."""
        made = self.start_agent()
        try:
            yield made
        finally:
            made.end()

    def logged(self, event: str) -> list[dict[str, Any]]:
        """What the agents have said of it."""
        lines = (self.folder / "agent.log").read_text().splitlines()
        said = [json.loads(line) for line in lines if line.startswith("{")]
        return [one for one in said if one["event"] == event]

    def space(self, pod: str) -> Pod:
        """The network of a pod, seen from here; close it with `go`."""
        path = next(
            one["path"]
            for one in self.runtime.details(pod)["runtimeSpec"]["linux"]["namespaces"]
            if one["type"] == "network"
        )
        # Its own path leads through a link that would be followed here.
        path = f"/proc/{self.first}/root/run/netns/{Path(path).name}"
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        made = Pod(pod, fd)
        made.closing.callback(os.close, fd)
        return made

    def namespaces(self) -> list[str]:
        """The networks of pods that the node holds."""
        folder = Path(f"/proc/{self.first}/root/run/netns")
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def processes(self) -> list[str]:
        """The programs that keep pods running."""
        found = psutil.Process(self.first).children(recursive=True)
        return [name for name in map(_name, found) if name.startswith(_OF_PODS)]

    def assert_nothing_remains(self) -> None:
        """Links go many at once, and what keeps a pod running takes its time to end."""
        with suppress(AssertionError):
            until(lambda: not any(self.remains().values()))
        assert {kind: left for kind, left in self.remains().items() if left} == {}

    def remains(self) -> dict[str, Sequence[Any]]:
        """What pods have left on the node; empty lists where they left nothing."""
        return {
            "pods": list(self.runtime.pods()),
            "leases": self.node.leases(),
            "links": self.node.links(),
            "elements": self.node.elements(),
            "namespaces": self.namespaces(),
            "processes": self.processes(),
            "spooled": [path.name for path in self.node.spool.iterdir()],
        }


@contextmanager
def machine(folder: Path, find: Callable[[str, str], str]) -> Iterator[Machine]:
    """A node whose containerd runs; it has no agent and no network yet."""
    for name in ("containerd", "ctr"):
        find(name, "containerd")
    find("runc", "runc")
    busybox = Path(find("busybox", "busybox-static"))
    for name in ("run", "state", "bin", "net.d"):
        (folder / name).mkdir(parents=True)
    write_image(folder / "image.tar", busybox)
    _prepare(folder)
    launcher = build(folder / "launcher", PATIENT)
    with ExitStack() as undo:
        parent = undo.enter_context(_cgroup(f"/ringbolt-{os.getpid()}"))
        first = undo.enter_context(_namespaces(folder))
        space = Pod("node", os.open(f"/proc/{first}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        space.closing.callback(os.close, space.fd)
        undo.callback(space.go)
        runtime = Runtime(folder / "c.sock", IMAGE, parent)
        undo.callback(runtime.close)
        made = Machine(Node(space, folder, launcher), first, runtime)
        undo.callback(made.end_containerd)
        yield made


def import_image(made: Machine) -> None:
    """Give the runtime its image, and wait until it knows it; the first pod unpacks it."""
    words = ("--namespace=k8s.io", "images", "import", "--no-unpack")
    run("ctr", f"--address={made.folder}/c.sock", *words, str(made.folder / "image.tar"))
    until(made.runtime.has_image)


def _prepare(folder: Path) -> None:
    """Write what the node's programs are told."""
    (folder / "c.toml").write_text(_CONFIG.format(folder=folder, image=IMAGE))
    if not (loopback := REFERENCE / "loopback").exists():
        pytest.skip("needs the loopback plugin: apt-get install containernetworking-plugins")
    shutil.copy(loopback, folder / "bin/loopback")


@contextmanager
def _namespaces(folder: Path) -> Generator[int]:
    """The first process of a node's namespaces, with the node's folders mounted."""
    mounts = [
        "mount -t tmpfs none /run",
        "mount -t tmpfs none /var/lib",
        "mkdir /run/ringbolt /var/lib/ringbolt",
        f"mount --bind {folder}/run /run/ringbolt",
        f"mount --bind {folder}/state /var/lib/ringbolt",
        "ip link set lo up",
    ]
    script = " && ".join([*mounts, 'exec "$0" -c "$1"'])
    words = ["unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child"]
    words += ["--mount-proc", "sh", "-c", script, sys.executable, _FIRST_PROCESS]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            yield psutil.Process(process.pid).children()[0].pid
        finally:
            process.kill()


@contextmanager
def _cgroup(name: str) -> Generator[str]:
    """A control group that pods may be put in, and that is gone afterwards."""
    try:
        for hierarchy in _hierarchies()[:1]:
            (hierarchy / name.lstrip("/")).mkdir()
    except OSError as error:
        pytest.skip(f"needs control groups that can be written: {error}")
    try:
        yield name
    finally:
        for hierarchy in _hierarchies():
            until(partial(_is_removed, hierarchy / name.lstrip("/")))


def _hierarchies() -> list[Path]:
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]


def _is_removed(top: Path) -> bool:
    """Remove the control group and those below; False while something dies in one."""
    for path in [*sorted(top.rglob("*/"), reverse=True), top]:
        with suppress(OSError):
            path.rmdir()
    return not top.exists()


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return ""
