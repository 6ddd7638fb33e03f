"""A node full of pods that come and go while agents and calls are killed: nothing lost or left.

Each pod is a kubelet's worker: it makes its calls again until they succeed, or lets a mount that
failed be and unmounts. What it wrote must be there whenever its volume is.
"""

import hashlib
import json
import random
import subprocess
import threading
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ringbolt.linux import loop, mount
from tests.kernel.driver_lab import Driver, agent, install, prepared
from tests.kernel.launcher_lab import HANGS_S, ROOT
from tests.kernel.test_cni_plugin import wait_until
from tests.kernel.test_volume_driver import launcher

__all__ = ["launcher"]
pytestmark = pytest.mark.root

PODS = 50
CALLERS = 12
TURNS = 4
KILLS = 6
CALL_KILLED = 0.15
GIVEN_UP = 0.3
NAME = "data"


@dataclass
class Pod:
    """A pod with one volume; `written` is what must be in it: names and digests."""

    driver: Driver
    options: Mapping[str, str]
    choose: random.Random
    mounted: bool = False
    written: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def lasts(self) -> bool:
        return self.options["kind"] != "tmpfs"

    def live(self, turns: int, done: "Progress") -> None:
        """Mount, read, write, mount again, unmount; whether it ends mounted is chance."""
        for turn in range(turns):
            if self._mount():
                self._use(turn)
                if self.choose.random() < 0.3:
                    self._insist("mount")
            if turn < turns - 1 or self.choose.random() < 0.5:
                self.unmount()
            done.count()

    def unmount(self) -> None:
        """And remove the directory, as the kubelet does, which finds it empty and unguarded."""
        self._insist("unmount")
        self.mounted = False
        self.driver.target(NAME).rmdir()
        if not self.lasts:
            self.written.clear()

    def check(self) -> None:
        """All that was ever written is there, as it was."""
        for name, digest in self.written.items():
            found = (self.driver.target(NAME) / name).read_bytes()
            assert hashlib.sha256(found).hexdigest() == digest

    def _mount(self) -> bool:
        """Whether it is mounted; a pod may be deleted before it is."""
        while not self._call("mount"):
            if self.choose.random() < GIVEN_UP:
                return False
        self.mounted = True
        return True

    def _use(self, turn: int) -> None:
        self.check()
        content = self.choose.randbytes(20_000)
        name = f"{self.driver.pod}-{turn}"
        (self.driver.target(NAME) / name).write_bytes(content)
        self.written[name] = hashlib.sha256(content).hexdigest()

    def _insist(self, verb: str) -> None:
        while not self._call(verb):
            pass

    def _call(self, verb: str) -> bool:
        """Make one call, which may be killed at any moment; whether it succeeded."""
        more = [json.dumps({**self.driver.said(NAME), **self.options})] if verb == "mount" else []
        words = [*self.driver.argv, verb, str(self.driver.target(NAME)), *more]
        variables = {"RINGBOLT_SOCKET": str(self.driver.run_dir / "agent.sock")}
        killed = self.choose.random() < CALL_KILLED
        with subprocess.Popen(words, cwd=ROOT, env=variables, stdout=subprocess.PIPE) as process:
            try:
                said, _ = process.communicate(
                    timeout=self.choose.random() / 20 if killed else HANGS_S
                )
            except subprocess.TimeoutExpired:
                assert killed, f"{verb} hangs"
                process.kill()
                return False
        return bool(json.loads(said)["status"] == "Success")


@dataclass
class Progress:
    """How much of the storm is over."""

    turns: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self) -> None:
        with self._lock:
            self.turns += 1


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Path]:
    """Short enough for a socket's path."""
    with prepared(tmp_path):
        yield tmp_path


@contextmanager
def felled(folder: Path, done: Progress, total: int) -> Generator[None]:
    """Agents in turn: each is killed after its share of the storm, the last one goes on."""
    over = threading.Event()

    def wait_for(turns: int) -> None:
        wait_until(lambda: over.is_set() or done.turns > turns)

    def take_turns() -> None:
        for turn in range(1, KILLS + 1):
            with agent(folder) as process:
                wait_for(turn * total // (KILLS + 1))
                process.kill()
        with agent(folder):
            assert over.wait(120)

    with ThreadPoolExecutor(1) as one:
        turns = one.submit(take_turns)
        try:
            yield
        finally:
            over.set()
            turns.result()


def options_of(number: int, folder: Path) -> dict[str, str]:
    """What a pod asks for: memory, an image of its own or one with others, the node's directory."""
    return (
        {"kind": "tmpfs", "size": "1Mi"},
        {"kind": "loop", "name": f"own{number}", "size": "8Mi"},
        {"kind": "loop", "name": f"shared{number % 3}", "size": "32Mi"},
        {"kind": "dir", "path": f"{folder}/srv/{number}", "create": "true"},
    )[number % 4]


def images(folder: Path) -> dict[str, int]:
    """How many loop devices each image has."""
    found = {path.stem: path.stat() for path in (folder / "state").rglob("*.img")}
    return {name: len(loop.find_by_backing(one.st_dev, one.st_ino)) for name, one in found.items()}


def files_of(folder: Path, what: str) -> list[Path]:
    return [path for path in (folder / "run" / "volumes" / what).rglob("*") if path.is_file()]


def assert_as_mounted(folder: Path, pods: list[Pod]) -> None:
    """The kernel and the records have what is mounted, once, and nothing else."""
    live = [pod for pod in pods if pod.mounted]
    names = {pod.options["name"] for pod in live if pod.options["kind"] == "loop"}
    targets = [str(pod.driver.target(NAME)) for pod in live]
    stagings = [f"{folder}/kubelet/plugins/ringbolt.dev/loop.default.{one}/mount" for one in names]
    found = sorted(point.target for point in Driver((), folder).mounts())
    assert found == sorted([*targets, *stagings])
    # Whoever looks at all the machine's disks may have one open for a moment.
    wait_until(lambda: {name for name, count in images(folder).items() if count} == names)
    assert set(images(folder).values()) <= {0, 1}
    assert len(files_of(folder, "published")) == len(live)
    assert {path.stem.rpartition(".")[2] for path in files_of(folder, "staged")} == names
    for pod in live:
        pod.check()


@pytest.mark.timeout(400)
def test_a_storm_of_pods_while_agents_and_calls_are_killed(node: Path, launcher: Path) -> None:
    argv, done = install(node, launcher), Progress()
    pods = [
        Pod(Driver(argv, node, f"pod{number}"), options_of(number, node), random.Random(number))
        for number in range(PODS)
    ]
    with felled(node, done, PODS * TURNS), ThreadPoolExecutor(CALLERS) as callers:
        lives = [callers.submit(pod.live, TURNS, done) for pod in pods]
        for life in lives:
            life.result()
    with agent(node):  # looks at everything once more
        wait_until(lambda: not files_of(node, "locks"))
        for pod in pods:
            if not pod.mounted:
                pod.unmount()
        assert_as_mounted(node, pods)
        assert 0 < sum(pod.mounted for pod in pods) < PODS
        with ThreadPoolExecutor(CALLERS) as callers:
            list(callers.map(Pod.unmount, pods))
        wait_until(lambda: not files_of(node, "locks"))
        assert_as_mounted(node, [])
        assert list((node / "kubelet" / "plugins").glob("ringbolt.dev/*")) == []
        lasting = [pod for pod in pods if pod.lasts]
        for pod in lasting:
            assert pod.driver.mount(NAME, pod.options) == ""
            pod.check()
            assert pod.driver.unmount(NAME) == ""


def test_a_hundred_pods_ask_for_one_volume_at_once(node: Path, launcher: Path) -> None:
    argv = install(node, launcher)
    drivers = [Driver(argv, node, f"pod{number}") for number in range(100)]
    shared = {"kind": "loop", "name": "data", "size": "16Mi"}
    with agent(node), ThreadPoolExecutor(len(drivers)) as kubelets:
        assert set(kubelets.map(lambda one: one.mount(NAME, shared), drivers)) == {""}
        assert len(drivers[0].mounts()) == len(drivers) + 1
        assert images(node) == {"data": 1}
        (drivers[0].target(NAME) / "file").write_text("seen by all")
        seen = {(one.target(NAME) / "file").read_text() for one in drivers}
        assert seen == {"seen by all"}
        assert set(kubelets.map(lambda one: one.unmount(NAME), drivers)) == {""}
        assert drivers[0].mounts() == []
        wait_until(lambda: images(node) == {"data": 0})


def test_a_state_directory_that_takes_no_writes_is_told_of_and_nothing_is_left(
    node: Path, launcher: Path
) -> None:
    driver, state = Driver(install(node, launcher), node), str(node / "state")
    made, new = {"kind": "loop", "name": "made", "size": "8Mi"}, {"kind": "loop", "name": "new"}
    with agent(node):
        assert driver.mount(NAME, made) == ""
        mount.bind(state, state)
        mount.mount_setattr(state, mount.MOUNT_ATTR_RDONLY)
        try:
            told = driver.mount("other", new, size="8Mi")
            assert "Read-only file system" in told
            assert driver.mount("memory", kind="tmpfs") == ""
            assert driver.unmount("memory") == ""
            assert driver.unmount("other") == ""
            assert driver.unmount(NAME) == ""
            assert driver.mounts() == []
        finally:
            mount.umount(state)
        assert driver.mount("other", new, size="8Mi") == ""
        assert driver.unmount("other") == ""
        wait_until(lambda: images(node) == {"made": 0, "new": 0})
