"""CNI beside the reference chain: the same calls, exec'd the same way, in turns, on one node."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

from benchmarks import node
from benchmarks.figures import Figure, Times
from benchmarks.lab import LabError
from benchmarks.node import Conf, Plugin, Pod
from ringbolt.linux import loopback

REFERENCE = Path("/usr/lib/cni")
AT_ONCE = 8
BATCH = 5
"""Calls of one side before it is the other's turn: the machine's mood shall meet both."""
_Result = TypeVar("_Result")
_LAUNCHER = Path(__file__).parents[1] / "launcher/build"
_RATE = {f"{way}{what}": 80_000_000 for way in ("ingress", "egress") for what in ("Rate", "Burst")}


@dataclass(slots=True)
class Side:
    """A chain of plugins, as a runtime execs it, and how long that took in milliseconds."""

    chain: Sequence[Plugin]
    socket: Path
    mapped: bool = False
    adds: list[float] = field(default_factory=list[float])
    deletions: list[float] = field(default_factory=list[float])
    numbers: "count[int]" = field(default_factory=lambda: count(1))

    def add(self, pod: Pod, wishes: Conf) -> Conf:
        """One after the other, each with the result so far."""
        result: Conf = {}
        for plugin in self.chain:
            more = {**wishes, **({"prevResult": result} if result else {})}
            result = node.start(plugin, "ADD", pod, self.socket, more).end()
        return result

    def delete(self, pod: Pod, wishes: Conf, result: Conf) -> None:
        """The other way round."""
        for plugin in reversed(self.chain):
            more = {**wishes, "prevResult": result}
            node.start(plugin, "DEL", pod, self.socket, more).end()

    def _wishes(self) -> Conf:
        """What the runtime asks for a pod: a port of its own, and limits; or nothing."""
        if not self.mapped:
            return {}
        port = 20000 + next(self.numbers)
        mapping = {"hostPort": port, "containerPort": 80, "protocol": "tcp"}
        return {"runtimeConfig": {"portMappings": [mapping], "bandwidth": _RATE}}

    def go(self, pods: Sequence[Pod]) -> None:
        """Attach the pods and take them off again, each by itself."""
        wishes = [self._wishes() for _ in pods]
        results = list[Conf]()
        for pod, wish in zip(pods, wishes, strict=True):
            results.append(timed(self.adds, partial(self.add, pod, wish)))
        for pod, wish, result in zip(pods, wishes, results, strict=True):
            timed(self.deletions, partial(self.delete, pod, wish, result))

    def ask_version(self, pod: Pod) -> None:
        """Of the first plugin of the chain."""
        node.start(self.chain[0], "VERSION", pod, self.socket, {}).end()

    def go_at_once(self, pods: Sequence[Pod]) -> None:
        """Attach them all at the same time with the first plugin of the chain."""
        ready = [node.prepare(self.chain[0], "ADD", pod, self.socket, {}) for pod in pods]
        begin = time.monotonic()
        calls = [one.start() for one in ready]
        results = [call.end() for call in calls]
        self.adds.append((time.monotonic() - begin) * 1000)
        for pod, result in zip(pods, results, strict=True):
            self.delete(pod, {}, result)


def timed(times: list[float], work: Callable[[], _Result]) -> _Result:
    begin = time.monotonic()
    result = work()
    times.append((time.monotonic() - begin) * 1000)
    return result


def lacks() -> str:
    """Why these figures cannot be had here; "" if they can."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    missing = [kind for kind in ("bridge", "host-local", "portmap", "bandwidth") if not _has(kind)]
    if missing:
        words = f"needs the reference plugins ({', '.join(missing)} missing in {REFERENCE})"
        return f"{words}: apt-get install containernetworking-plugins"
    for name, package in (("iptables", "iptables"), ("cc", "gcc")):
        if not shutil.which(name):
            return f"needs {name}: apt-get install {package}"
    return ""


def _has(kind: str) -> bool:
    return (REFERENCE / kind).exists()


def calls(folder: Path, rounds: int) -> Sequence[Figure]:
    """ADD and DEL of `rounds` pods each way; nothing where that cannot be. Raises OSError."""
    if why := lacks():
        print(f"left out: CNI beside the reference plugins: {why}", file=sys.stderr)
        return ()
    build_launcher(folder)
    try:
        return node.in_namespace(lambda: _measure(folder, rounds))
    except LabError as error:  # a kernel without what one of the plugins needs
        print(f"left out: CNI beside the reference plugins: {error}", file=sys.stderr)
        return ()


def build_launcher(folder: Path) -> Path:
    """The launcher for this machine. Raises CalledProcessError."""
    subprocess.run([_LAUNCHER, folder, "--native"], check=True)
    return folder / f"launcher-{os.uname().machine}"


def _measure(folder: Path, rounds: int) -> Sequence[Figure]:
    loopback.bring_up()
    with node.agent(folder / "network") as socket:
        worlds = _Worlds(folder, socket)
        floor = worlds.version(rounds)
        plain = worlds.alone(rounds, mapped=False)
        mapped = worlds.alone(rounds, mapped=True)
        together = worlds.at_once(max(AT_ONCE, rounds // 4))
    return [
        _against("CNI VERSION: the exec alone", floor, "adds"),
        _against("CNI ADD, masquerade", plain, "adds", 10),
        _against("CNI ADD, masquerade, host port, bandwidth", mapped, "adds", 15),
        _against("CNI DEL, masquerade", plain, "deletions", 15),
        _against("CNI DEL, masquerade, host port, bandwidth", mapped, "deletions"),
        _rate("CNI ADD, masquerade, 8 at once", together, 8),
    ]


@dataclass(frozen=True, slots=True)
class _Worlds:
    """Makes both sides for a measurement and has them take turns."""

    folder: Path
    socket: Path

    def _sides(self, *, mapped: bool) -> tuple[Side, Side]:
        launcher = self.folder / f"launcher-{os.uname().machine}"
        ours = Plugin(launcher, conf_of("ringbolt", "rbbench0", "10.201.0.0/16"))
        kinds = ("bridge", "portmap", "bandwidth") if mapped else ("bridge",)
        ipam = {"type": "host-local", "dataDir": str(self.folder / "host-local")}
        reference = [
            Plugin(REFERENCE / kind, conf_of(kind, "refbench0", "10.202.0.0/16", ipam))
            for kind in kinds
        ]
        return Side([ours], self.socket, mapped), Side(reference, self.socket, mapped)

    def _take_turns(
        self,
        sides: tuple[Side, Side],
        turns: int,
        size: int,
        go: Callable[[Side, Sequence[Pod]], None],
    ) -> None:
        """The first turn makes bridges and tables and is not counted."""
        for turn in range(turns + 1):
            for side in sides:
                before = node.count_links()
                with node.pods([f"bench-{turn}-{number}" for number in range(size)]) as made:
                    go(side, made)
                if turn == 0:
                    side.adds.clear()
                    side.deletions.clear()
                    continue
                node.await_that(partial(_no_more_links_than, before), "the links of pods to go")

    def version(self, rounds: int) -> tuple[Side, Side]:
        """What it costs to be exec'd and to answer, with nothing to do."""
        sides = self._sides(mapped=False)
        with node.pods(["bench-version"]) as (pod,):
            for _ in range(rounds):
                for side in sides:
                    timed(side.adds, partial(side.ask_version, pod))
        return sides

    def alone(self, rounds: int, *, mapped: bool) -> tuple[Side, Side]:
        """One pod after the other."""
        sides = self._sides(mapped=mapped)
        turns = max(1, rounds // BATCH)
        self._take_turns(sides, turns, BATCH, Side.go)
        return sides

    def at_once(self, turns: int) -> tuple[Side, Side]:
        """Eight pods at the same time."""
        sides = self._sides(mapped=False)
        self._take_turns(sides, turns, AT_ONCE, Side.go_at_once)
        return sides


def _no_more_links_than(count: int) -> bool:
    return node.count_links() <= count


def conf_of(kind: str, bridge: str, subnet: str, ipam: Conf | None = None) -> Conf:
    return {
        "cniVersion": "1.0.0",
        "name": "bench",
        "type": kind,
        "bridge": bridge,
        "isGateway": True,
        "ipMasq": True,
        "ipam": {
            "ranges": [[{"subnet": subnet}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            **(ipam or {}),
        },
    }


def _against(what: str, sides: tuple[Side, Side], which: str, goal: int = 0) -> Figure:
    """Our median against the reference's, which shall be `goal` times as long."""
    ours, theirs = (Times(getattr(side, which)) for side in sides)
    ratio = theirs.p50 / ours.p50
    return Figure(
        what,
        str(ours),
        f"p50 <= 1/{goal} of it" if goal else "",
        ratio >= goal if goal else None,
        f"reference: {theirs}; {ratio:.1f}x",
    )


def _rate(what: str, sides: tuple[Side, Side], goal: int) -> Figure:
    """Attachments a second, from the median time of all eight."""
    times = [Times(side.adds) for side in sides]
    ours, theirs = (AT_ONCE * 1000 / one.p50 for one in times)
    return Figure(
        what,
        f"{ours:.0f}/s; {times[0]}",
        f">= {goal}x",
        ours >= goal * theirs,
        f"reference: {theirs:.0f}/s; {times[1]}; {ours / theirs:.1f}x",
    )
