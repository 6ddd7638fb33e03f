"""FlexVolume calls beside a driver in bash and jq: each exec'd as a kubelet does it, in turns.

From the exec of the driver to its end, in a mount namespace of its own, on the kubelet's directory
that both share. What a kubelet does before and after, the directory, is not counted.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks import network, node
from benchmarks.figures import Figure, Times
from benchmarks.lab import LabError
from ringbolt.linux import mount
from ringbolt.linux.namespaces import CLONE_NEWNS, unshare

FEW, MANY = 10, 100
GOAL = 5
FLAT = 1.2
_SCRIPT = Path(__file__).with_name("volume_driver.sh")
_IMAGE_BYTES = 64 << 20
_MIB = 1 << 20
_SUCCESS = "Success"
_CONFIGURATION = """\
resources: []
volumes: {allow: [{namespaces: ["*"], kinds: [tmpfs, loop], max_size: 1Gi}]}
"""
Options = Mapping[str, str]
TMPFS: Options = {"kind": "tmpfs", "size": "16Mi", "mode": "0755"}
LOOP: Options = {"kind": "loop", "name": "data", "size": "64Mi"}


@dataclass(slots=True)
class Driver:
    """A driver's program, and how long its calls took in milliseconds."""

    program: Path
    pods: Path
    socket: Path
    mounts: list[float] = field(default_factory=list[float])
    unmounts: list[float] = field(default_factory=list[float])

    def mount(self, name: str, options: Options) -> None:
        """Mount a pod's volume in a directory made for it. Raises LabError."""
        target = self._target(name)
        target.mkdir(mode=0o750, parents=True)
        told = {
            "kubernetes.io/fsType": "",
            "kubernetes.io/readwrite": "rw",
            "kubernetes.io/pvOrVolumeName": name,
            "kubernetes.io/pod.name": "web-0",
            "kubernetes.io/pod.namespace": "default",
            "kubernetes.io/pod.uid": name,
            "kubernetes.io/serviceAccount.name": "default",
        }
        self._timed(self.mounts, "mount", str(target), json.dumps({**told, **options}))

    def unmount(self, name: str) -> None:
        """Unmount it and remove its directory. Raises LabError."""
        target = self._target(name)
        self._timed(self.unmounts, "unmount", str(target))
        target.rmdir()

    def go(self, name: str, options: Options) -> None:
        """Once on and off."""
        self.mount(name, options)
        self.unmount(name)

    def forget(self) -> None:
        """What was measured until now does not count."""
        self.mounts.clear()
        self.unmounts.clear()

    def _target(self, name: str) -> Path:
        return self.pods / name / "volumes" / "ringbolt.dev~volume" / "data"

    def _timed(self, times: list[float], *arguments: str) -> None:
        """Exec it the cheapest way there is; what it prints goes to memory."""
        out = os.memfd_create("stdout")
        with os.fdopen(out, "rb") as file:
            begin = time.monotonic()
            pid = os.posix_spawn(
                self.program,
                (self.program.name, *arguments),
                {"PATH": os.environ["PATH"], "RINGBOLT_SOCKET": str(self.socket)},
                file_actions=[(os.POSIX_SPAWN_DUP2, out, fd) for fd in (1, 2)],
            )
            os.waitpid(pid, 0)
            times.append((time.monotonic() - begin) * 1000)
            file.seek(0)
            said = file.read()
        if not said or json.loads(said)["status"] != _SUCCESS:
            words = f"{self.program} {arguments[0]}: {said.decode(errors='replace')}"
            raise LabError(words)


@dataclass(frozen=True, slots=True)
class _Node:
    """An agent on a kubelet's directory, in a mount namespace of its own: that of `thread`.

    `ours` is its driver, `theirs` the script.
    """

    thread: ThreadPoolExecutor
    ours: Driver
    theirs: Driver
    agent: psutil.Process
    undo: ExitStack

    def go(self, driver: Driver, name: str, options: Options) -> None:
        """Have a volume on and off in there."""
        self.thread.submit(driver.go, name, options).result()

    def fill(self, count: int) -> None:
        """Have that many volumes more, half of them of the kind loop."""

        def work() -> None:
            for number in range(count):
                options = {**LOOP, "name": f"v{number}"} if number % 2 else TMPFS
                self.ours.mount(f"crowd-{number}", options)
                self.undo.callback(self.ours.unmount, f"crowd-{number}")

        self.thread.submit(work).result()


def lacks() -> str:
    """Why these figures cannot be had here; "" if they can."""
    if os.geteuid() != 0:
        return "needs root, to mount"
    for name, package in (
        ("jq", "jq"),
        ("bash", "bash"),
        ("mkfs.ext4", "e2fsprogs"),
        ("cc", "gcc"),
    ):
        if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            return f"needs {name}: apt-get install {package}"
    return ""


def calls(folder: Path, rounds: int) -> Sequence[Figure]:
    """Mount and unmount beside the script, alone and on a full node; nothing where that fails.

    Raises OSError.
    """
    if why := lacks():
        print(f"left out: FlexVolume beside a bash and jq driver: {why}", file=sys.stderr)
        return ()
    program = network.build_launcher(folder)
    image = folder / "volumes.ext4"
    _make_image(image)
    try:
        with (
            _node(folder / "volumes-few", program) as few,
            _node(folder / "volumes-many", program) as many,
        ):
            return [
                *_figures("tmpfs", _beside(few, rounds, "tmpfs", image), GOAL),
                *_figures("loop", _beside(few, rounds, "loop", image)),
                *_crowd(few, many, rounds),
            ]
    except LabError as error:
        print(f"left out: FlexVolume beside a bash and jq driver: {error}", file=sys.stderr)
        return ()


def _isolate() -> None:
    """Nothing that is mounted here is seen by others, and it goes with the thread."""
    unshare(CLONE_NEWNS)
    mount.make_private("/")


@contextmanager
def _node(folder: Path, program: Path) -> Generator[_Node]:
    """Make the kubelet's directory a shared mount and start an agent. Raises LabError."""
    kubelet, driver = folder / "kubelet", folder / "volume"
    pods, socket = kubelet / "pods", folder / "run/agent.sock"
    with ThreadPoolExecutor(1, initializer=_isolate) as thread, ExitStack() as undo:

        def start() -> _Node:
            kubelet.mkdir(parents=True)
            mount.bind(str(kubelet), str(kubelet))
            mount.set_propagation(str(kubelet), mount.MS_SHARED)
            undo.callback(mount.umount, str(kubelet), mount.MNT_DETACH)
            (folder / "run").mkdir()
            mount.mount("run", str(folder / "run"), "tmpfs")  # as /run is
            undo.callback(mount.umount, str(folder / "run"), mount.MNT_DETACH)
            process = undo.enter_context(node.process(folder, _CONFIGURATION))
            shutil.copy(program, driver)
            sides = (Driver(driver, pods, socket), Driver(_SCRIPT, pods, socket))
            return _Node(thread, *sides, psutil.Process(process.pid), undo)

        try:
            yield thread.submit(start).result()
        finally:
            thread.submit(undo.close).result()


def _beside(there: _Node, rounds: int, kind: str, image: Path) -> tuple[Driver, Driver]:
    """Both in turns; the first turn makes what is made once, and is not counted."""
    options = {"tmpfs": TMPFS, "loop": LOOP}[kind]
    sides = (there.ours, there.theirs)
    for turn in range(rounds + 1):
        for driver in sides:
            if turn <= 1:
                driver.forget()
            more = {"image": str(image)} if driver is there.theirs else {}
            there.go(driver, f"{kind}-{turn}-{driver.program.name}", {**options, **more})
    return sides


def _figures(kind: str, sides: tuple[Driver, Driver], goal: int = 0) -> Sequence[Figure]:
    """`goal` is for the mount; taking one off is mostly the kernel's own time."""
    ours, theirs = sides
    mounts = Times(tuple(ours.mounts)), Times(tuple(theirs.mounts))
    unmounts = Times(tuple(ours.unmounts)), Times(tuple(theirs.unmounts))
    alone = f", of which jq's start {_jq_ms():.0f} ms"
    return [
        _against(f"FlexVolume {kind} mount", *mounts, goal, alone),
        _against(f"FlexVolume {kind} unmount", *unmounts),
    ]


def _jq_ms() -> float:
    """Versions of jq differ in it tenfold."""
    times = list[float]()
    for _ in range(9):
        begin = time.monotonic()
        subprocess.run(["jq", "-n", "1"], check=True, stdout=subprocess.DEVNULL)
        times.append((time.monotonic() - begin) * 1000)
    return Times(times).p50


def _against(what: str, ours: Times, theirs: Times, goal: int = 0, more: str = "") -> Figure:
    """Our median against the script's, which shall be `goal` times as long."""
    ratio = theirs.p50 / ours.p50
    return Figure(
        what,
        str(ours),
        f"p50 <= 1/{goal} of it" if goal else "",
        ratio >= goal if goal else None,
        f"bash and jq: {theirs}{more}; {ratio:.1f}x",
    )


def _crowd(few: _Node, many: _Node, rounds: int) -> Sequence[Figure]:
    """A node with ten volumes and one with a hundred in turns."""
    before = many.agent.memory_info().rss
    few.fill(FEW)
    many.fill(MANY)
    for turn in range(rounds + 1):
        for there in (few, many):
            if turn <= 1:
                there.ours.forget()
            there.go(there.ours, f"more-{turn}", TMPFS)
    return [
        _flat(f"FlexVolume tmpfs mount with {MANY} volumes", few.ours.mounts, many.ours.mounts),
        _flat(f"FlexVolume tmpfs unmount with {MANY}", few.ours.unmounts, many.ours.unmounts),
        _memory(many.agent, before),
    ]


def _flat(what: str, few: Sequence[float], many: Sequence[float]) -> Figure:
    ours, before = Times(tuple(many)), Times(tuple(few))
    ratio, p99 = ours.p50 / before.p50, ours.p99 / before.p99
    beside = f"with {FEW}: {before}; p50 {ratio:.2f}x, p99 {p99:.2f}x"
    return Figure(what, str(ours), f"p50 <= {FLAT} of it", ratio <= FLAT, beside)


def _memory(agent: psutil.Process, before: int) -> Figure:
    now = agent.memory_info().rss
    return Figure(
        f"memory (RSS) with {MANY} volumes",
        f"{now / _MIB:.1f} MiB",
        "<= 64 MiB",
        now <= 64 * _MIB,
        f"before the first: {before / _MIB:.1f} MiB",
    )


def _make_image(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(_IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", path], check=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin"})
