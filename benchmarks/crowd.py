"""Whether a pod's start stays the same however many pods a node has, and what many of them weigh.

A node with ten pods and one with a thousand take turns, so the machine's mood meets both.
"""

import asyncio
import os
import resource
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import network, node
from benchmarks.figures import Figure, Times
from benchmarks.network import BATCH, Side, conf_of
from benchmarks.node import Plugin
from ringbolt.linux import loopback, network_namespace
from ringbolt.linux.namespaces import CLONE_NEWNET, unshare

FEW, MANY, FULL = 10, 1000, 110
GOAL = 1.2
_DESCRIPTORS = 4096
_CONF = conf_of("ringbolt", "rbbench0", "10.201.0.0/16")


@dataclass(frozen=True, slots=True)
class _Node:
    """A node with a crowd of pods: a thread that lives in a namespace of its own."""

    thread: ThreadPoolExecutor
    side: Side

    def take_turn(self, turn: int) -> None:
        """Attach some pods more and take them off again."""
        self.thread.submit(self._take_turn, turn).result()

    def _take_turn(self, turn: int) -> None:
        with node.pods([f"more-{turn}-{number}" for number in range(BATCH)]) as pods:
            self.side.go(pods)


@contextmanager
def _crowded(folder: Path, program: Path, count: int) -> Generator[_Node]:
    with (
        ThreadPoolExecutor(1, initializer=unshare, initargs=(CLONE_NEWNET,)) as thread,
        ExitStack() as undo,
    ):

        def fill() -> Side:
            loopback.bring_up()
            socket = undo.enter_context(node.agent(folder))
            side = Side([Plugin(program, _CONF)], socket)
            names = [f"crowd-{number}" for number in range(count)]
            for pod in undo.enter_context(node.pods(names)):
                side.add(pod, {})
            return side

        try:
            yield _Node(thread, thread.submit(fill).result())
        finally:
            thread.submit(undo.close).result()


@dataclass(slots=True)
class Inhabited:
    """A namespace for an agent that is to have a full node's pods; without one where that fails."""

    program: Path
    netns_fd: int | None = None
    attached: int = 0
    undo: ExitStack = field(default_factory=ExitStack)

    @property
    def prefix(self) -> Sequence[str]:
        """What starts a program in there."""
        if self.netns_fd is None:
            return ()
        return ("nsenter", f"--net=/proc/{os.getpid()}/fd/{self.netns_fd}", "--")

    async def attach(self, socket: Path) -> None:
        """Give the pods their network, by the agent at this socket."""
        if self.netns_fd is not None:
            await asyncio.to_thread(self._inside, lambda: self._attach(socket))

    def close(self) -> None:
        """Have the pods go."""
        if self.netns_fd is not None:
            self._inside(self.undo.close)
            os.close(self.netns_fd)

    def _inside(self, work: Callable[[], None]) -> None:
        assert self.netns_fd is not None, "there is a namespace"
        network_namespace.inside(self.netns_fd, work)

    def _attach(self, socket: Path) -> None:
        side = Side([Plugin(self.program, _CONF)], socket)
        names = [f"full-{number}" for number in range(FULL)]
        for pod in self.undo.enter_context(node.pods(names)):
            side.add(pod, {})
            self.attached += 1


@asynccontextmanager
async def inhabited(folder: Path) -> AsyncGenerator[Inhabited]:
    """Make the namespace and the launcher, or neither where `network.lacks` something."""
    there = Inhabited(folder / f"launcher-{os.uname().machine}")
    if not network.lacks():
        await asyncio.to_thread(network.build_launcher, folder)
        there.netns_fd = await asyncio.to_thread(node.in_namespace, _open_with_loopback)
    try:
        yield there
    finally:
        await asyncio.to_thread(there.close)


def _open_with_loopback() -> int:
    loopback.bring_up()
    return network_namespace.open_namespace("/proc/thread-self/ns/net")


def flat(folder: Path, rounds: int) -> Sequence[Figure]:
    """ADD on a node with ten pods and on one with a thousand; nothing where that cannot be."""
    if network.lacks():
        return ()
    program = network.build_launcher(folder)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, _DESCRIPTORS), hard))
    with (
        _crowded(folder / "few", program, FEW) as few,
        _crowded(folder / "many", program, MANY) as many,
    ):
        for turn in range(max(1, rounds // BATCH) + 1):
            if turn == 1:  # the first was not counted
                few.side.adds.clear()
                many.side.adds.clear()
            few.take_turn(turn)
            many.take_turn(turn)
    ours, before = Times(many.side.adds), Times(few.side.adds)
    ratio, medians = ours.p99 / before.p99, ours.p50 / before.p50
    beside = f"with {FEW} pods: {before}; p99 {ratio:.2f}x, p50 {medians:.2f}x"
    goal = f"p99 <= {GOAL} of it"
    return [Figure(f"CNI ADD with {MANY} pods", str(ours), goal, ratio <= GOAL, beside)]
