"""What pods send each other in a second, beside the reference's: bridge and routes, in turns.

Short transfers in many turns: what else the machine does meets all of them alike.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import network, node
from benchmarks.figures import Figure
from benchmarks.lab import LabError
from benchmarks.node import Conf, Plugin, Pod
from ringbolt.linux import loopback, network_namespace

BYTES = "256M"
STREAMS = (1, 4)
WITHIN = 0.95
"""Two runs of the very same pair of pods differ by more than the rest."""
_LOWEST_PORT = 5201
_GIGA = 1e9
_TRIES = 3  # iperf3 (3.12) loses a result now and then


@dataclass(slots=True)
class _Pair:
    """Two pods of one network, one of which serves; in bits per second what each transfer got."""

    name: str
    client: Pod
    server: Pod
    address: str
    rates: dict[int, list[float]] = field(default_factory=dict[int, list[float]])

    @contextmanager
    def serving(self) -> Generator[None]:
        """An iperf3 that answers as long as the block runs."""
        words = _inside(self.server, "-s", "-p", str(_LOWEST_PORT), "--forceflush")
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout
                process.stdout.readline()
                yield
            finally:
                process.kill()

    def transfer(self, streams: int) -> None:
        """Send, and keep what the receiver counted. Raises LabError."""
        more = ("-P", str(streams), "-n", BYTES, "-J")
        words = _inside(self.client, "-c", self.address, "-p", str(_LOWEST_PORT), *more)
        said: Conf = {}
        for _ in range(_TRIES):
            done = subprocess.run(words, capture_output=True, check=False)
            said = json.loads(done.stdout or b"{}")
            if received := said.get("end", {}).get("sum_received"):
                self.rates.setdefault(streams, []).append(received["bits_per_second"])
                return
        raise LabError(f"iperf3 between pods of {self.name}: {said.get('error', 'no result')}")

    def rate(self, streams: int) -> float:
        """The upper quartile of the transfers with as many streams, in Gbit/s.

        Whatever else the machine does makes transfers slower, never faster.
        """
        return statistics.quantiles(self.rates[streams], n=4, method="inclusive")[2] / _GIGA


def _inside(pod: Pod, *words: str) -> list[str]:
    return ["nsenter", f"--net={pod.path}", "iperf3", *words]


def rates(folder: Path, rounds: int) -> Sequence[Figure]:
    """Transfers between pods, `rounds` of each kind; nothing where that cannot be."""
    why = network.lacks()
    if not why and not shutil.which("iperf3"):
        why = "needs iperf3: apt-get install iperf3"
    if why:
        print(f"left out: throughput between pods: {why}", file=sys.stderr)
        return ()
    network.build_launcher(folder)
    try:
        return node.in_namespace(lambda: _measure(folder, rounds))
    except LabError as error:
        print(f"left out: throughput between pods: {error}", file=sys.stderr)
        return ()


def _measure(folder: Path, rounds: int) -> Sequence[Figure]:
    loopback.bring_up()
    other = node.in_namespace(_open_other)
    with ExitStack() as undo:
        socket = undo.enter_context(node.agent(folder / "throughput"))
        names = ("bridge", "routed", "reference bridge", "reference ptp")
        made = undo.enter_context(node.pods([f"{n[0]}{n[-3:]}{i}" for n in names for i in (1, 2)]))
        pairs: list[_Pair] = []
        for index, name in enumerate(names):
            start = partial(_attach, _plugin(folder, name, index), socket)
            both = made[2 * index : 2 * index + 2]
            if name.startswith("reference"):
                found = [network_namespace.inside(other, partial(start, pod)) for pod in both]
            else:
                found = [start(pod) for pod in both]
            pairs.append(_Pair(name, both[0], both[1], found[1]))
            undo.enter_context(pairs[-1].serving())
        _take_turns(pairs, rounds)
    bridge, routed, reference, ptp = pairs
    return [
        _against(one, reference, ptp, streams) for streams in STREAMS for one in (bridge, routed)
    ]


def _open_other() -> int:
    """A second node, so that the packet filter of the one is not in the other's way."""
    loopback.bring_up()
    return network_namespace.open_namespace("/proc/thread-self/ns/net")


def _plugin(folder: Path, name: str, index: int) -> Plugin:
    subnet = f"10.{211 + index}.0.0/24"
    if name.startswith("reference"):
        kind = name.split()[1]
        ipam = {"type": "host-local", "dataDir": str(folder / "throughput-leases")}
        return Plugin(
            network.REFERENCE / kind, network.conf_of(kind, name.split()[1], subnet, ipam)
        )
    launcher = folder / f"launcher-{os.uname().machine}"
    conf: Conf = {**network.conf_of("ringbolt", f"rb{name}0", subnet), "mode": name, "name": name}
    return Plugin(launcher, conf)


def _attach(plugin: Plugin, socket: Path, pod: Pod) -> str:
    """Its address."""
    result = node.start(plugin, "ADD", pod, socket, {}).end()
    return str(result["ips"][0]["address"]).partition("/")[0]


def _take_turns(pairs: Sequence[_Pair], rounds: int) -> None:
    """The first turn is not counted."""
    for turn in range(rounds + 1):
        for streams in STREAMS:
            for one in pairs if turn % 2 else reversed(pairs):
                one.transfer(streams)
        if turn == 0:
            for one in pairs:
                one.rates.clear()


def _against(ours: _Pair, reference: _Pair, ptp: _Pair, streams: int) -> Figure:
    rate, theirs = ours.rate(streams), reference.rate(streams)
    return Figure(
        f"pod to pod by {ours.name}, {streams} TCP stream{'s' if streams > 1 else ''}",
        f"p75 {rate:.1f} Gbit/s, n={len(ours.rates[streams])}",
        f">= {WITHIN:g}x",
        rate >= WITHIN * theirs,
        f"reference bridge: {theirs:.1f} Gbit/s; {rate / theirs:.2f}x; "
        f"its ptp: {ptp.rate(streams):.1f}",
    )
