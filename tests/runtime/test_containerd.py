"""A real containerd and runc on a node of their own: its pods get their network from us."""

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from queue import Empty, SimpleQueue
from signal import Signals
from typing import Self

import grpc
import pytest

from tests.kernel.launcher_lab import build
from tests.kernel.network_lab import Pod, dial, new_pod, serving
from tests.runtime.cni_lab import until
from tests.runtime.containerd_lab import Machine, Running, import_image, machine
from tests.runtime.cri_lab import PodWish

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]
RANGES = (ip_network("10.89.0.0/24"), ip_network("fd00:89::/64"))
both_modes = pytest.mark.parametrize("node", ["bridge", "routed"], indirect=True)
HASTY = "-DADD_MS=20000 -DADD_WAIT_MS=150 -DDEL_MS=10000 -DDEL_WAIT_MS=150"
TELL_NAME = ("/bin/busybox", "nc", "-ll", "-p", "80", "-e", "/bin/busybox", "hostname")


@pytest.fixture(scope="module")
def prepared(
    tmp_path_factory: pytest.TempPathFactory, need_program: Callable[[str, str], str]
) -> Iterator[Machine]:
    """A node whose runtime has its image; nothing runs there."""
    for name, package in (("cc", "gcc"), ("nsenter", "util-linux"), ("nft", "nftables")):
        need_program(name, package)
    with machine(tmp_path_factory.mktemp("m"), need_program) as made:
        made.start_containerd()
        import_image(made)
        made.end_containerd()
        yield made


@pytest.fixture
def bare(prepared: Machine) -> Iterator[Machine]:
    """The node with containerd; it has no network and no agent."""
    prepared.configure()
    try:
        prepared.start_containerd()
        yield prepared
    finally:
        for pod in prepared.runtime.pods():
            with suppress(grpc.RpcError):
                prepared.runtime.end(pod)
        prepared.ringbolt("uninstall", *prepared.places(), "--force")
        prepared.end_containerd()


@pytest.fixture
def node(bare: Machine, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """The node with its network and its agent; pods must leave nothing there."""
    bare.configure(getattr(request, "param", "bridge"))
    bare.install()
    with bare.agent():
        until(lambda: bare.runtime.network().status)
        yield bare
        bare.assert_nothing_remains()


@contextmanager
def running(node: Machine, *wishes: PodWish) -> Generator[list[str]]:
    """Pods that are ended with the block, unless they were before."""
    pods = list[str]()
    try:
        for wish in wishes:
            pods.append(node.runtime.run(wish))
        yield pods
    finally:
        for pod in node.runtime.pods().keys() & set(pods):
            node.runtime.end(pod)


@contextmanager
def space(node: Machine, pod: str) -> Generator[Pod]:
    found = node.space(pod)
    try:
        yield found
    finally:
        found.go()


def test_the_network_is_ready_as_long_as_it_is_installed(bare: Machine) -> None:
    assert not bare.runtime.network().status
    with bare.agent():
        for _ in range(2):
            bare.install()
            until(lambda: bare.runtime.network().status)
            bare.ringbolt("uninstall", *bare.places())
            until(lambda: not bare.runtime.network().status)


@both_modes
def test_pods_have_the_addresses_that_the_runtime_tells_and_reach_each_other(
    node: Machine,
) -> None:
    with running(node, PodWish("one"), PodWish("two")) as pods:
        told = [node.runtime.addresses(pod) for pod in pods]
        for addresses in told:
            assert all(ip_address(one) in net for one, net in zip(addresses, RANGES, strict=True))
        with space(node, pods[0]) as one, space(node, pods[1]) as two:
            for pod, addresses in ((one, told[0]), (two, told[1])):
                (link,) = pod.ip("address", "show", "dev", "eth0")
                has = [item["local"] for item in link["addr_info"] if item["scope"] == "global"]
                assert sorted(has) == sorted(addresses)
            with serving(two, 7000), serving(node.node.space, 7001):
                for mine, theirs in zip(*told, strict=True):
                    assert dial(one, theirs, 7000) == mine
                (route,) = one.ip("route", "show", "default")
                assert dial(one, route["gateway"], 7001) == told[0][0]
        assert sorted(node.node.leases()) == sorted(pods)
        node.runtime.end(pods[0])
        assert node.node.leases() == [pods[1]]


def test_a_pod_that_is_ended_twice_is_gone(node: Machine) -> None:
    with running(node, PodWish("one")) as (pod,):
        for _ in range(2):
            node.runtime.stop(pod)
            assert node.node.leases() == []
        for _ in range(2):
            node.runtime.remove(pod)


def test_a_pod_on_the_nodes_network_needs_nothing(bare: Machine) -> None:
    with running(bare, PodWish("one", on_node_network=True)):
        assert bare.namespaces() == []
        assert not bare.runtime.network().status


# --- What pods ask for ----------------------------------------------------------------------------


@contextmanager
def outside(node: Pod) -> Generator[Pod]:
    """Another machine, 192.0.2.2, at the node's uplink, 192.0.2.1."""
    with ExitStack() as undo:
        far = new_pod("outside")
        undo.callback(far.go)
        words = ("type", "veth", "peer", "name", "far", "netns", far.path)
        node.run("ip", "link", "add", "uplink", *words)
        undo.callback(node.run, "ip", "link", "delete", "uplink")
        for pod, name, address in ((node, "uplink", "192.0.2.1/24"), (far, "far", "192.0.2.2/24")):
            pod.run("ip", "address", "add", address, "dev", name)
            pod.run("ip", "link", "set", name, "up")
        yield far


@both_modes
def test_a_host_port_leads_to_the_container(node: Machine) -> None:
    wish = PodWish("served", ports=[(8089, 80)])
    with outside(node.node.space) as far, running(node, PodWish("other")) as (other,):
        with running(node, wish) as (pod,), space(node, other) as inside:
            node.runtime.start_container(pod, wish, *TELL_NAME)
            callers = [
                (node.node.space, "127.0.0.1"),
                (node.node.space, "192.0.2.1"),
                (far, "192.0.2.1"),
                (inside, "192.0.2.1"),
            ]
            until(lambda: _answers(*callers[0]))
            assert [dial(source, address, 8089) for source, address in callers] == ["served"] * 4
        assert not _answers(far, "192.0.2.1")


def _answers(source: Pod, address: str) -> bool:
    with suppress(AssertionError):
        return bool(dial(source, address, 8089))
    return False


def test_a_pod_that_cannot_have_its_network_leaves_nothing(node: Machine) -> None:
    with running(node, PodWish("first", ports=[(8089, 80)])) as pods:
        for _ in range(2):
            with pytest.raises(grpc.RpcError, match="8089"):
                node.runtime.run(PodWish("second", ports=[(8089, 80)]))
        assert node.node.leases() == pods
        assert list(node.runtime.pods()) == pods
        until(lambda: len(node.node.links()) == 1)


_RECEIVE = """
import socket, sys, time
with socket.create_server(("0.0.0.0", 7000)) as one:
    print("ready", flush=True)
    talk, _ = one.accept()
    count, begun = 0, time.monotonic()
    while chunk := talk.recv(1 << 16):
        count += len(chunk)
    print(count * 8 / (time.monotonic() - begun))
"""
_SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 7000)) as one:
    one.sendall(bytes(int(sys.argv[2])))
"""


def rate(source: Pod, target: Pod, address: str, size: int) -> float:
    """How fast so many bytes come through, in bits a second."""
    words = ["nsenter", f"--net={target.path}", sys.executable, "-c", _RECEIVE]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout
        assert receiver.stdout.readline() == "ready\n"
        source.run(sys.executable, "-c", _SEND, address, str(size))
        return float(receiver.stdout.readline())


def test_a_pods_bandwidth_is_what_its_annotations_say(node: Machine) -> None:
    limits = {f"kubernetes.io/{way}-bandwidth": "40M" for way in ("ingress", "egress")}
    wishes = (PodWish("limited", annotations=limits), PodWish("free"), PodWish("other"))
    with running(node, *wishes) as pods, ExitStack() as undo:
        limited, free, other = (undo.enter_context(space(node, pod)) for pod in pods)
        addresses = {
            pod.name: node.runtime.addresses(pod.name)[0] for pod in (limited, free, other)
        }
        for source, target in ((limited, other), (other, limited)):
            slow = rate(source, target, addresses[target.name], 4 << 20)
            assert slow < 60_000_000
        until(lambda: rate(free, other, addresses[other.name], 4 << 20) > 3 * slow)


# --- Restarts -------------------------------------------------------------------------------------


def test_pods_outlive_their_runtime_and_go_with_its_successor(node: Machine) -> None:
    with running(node, PodWish("one"), PodWish("two")) as pods, ExitStack() as undo:
        told = [node.runtime.addresses(pod) for pod in pods]
        one, two = (undo.enter_context(space(node, pod)) for pod in pods)
        node.end_containerd()
        with serving(two, 7000):
            assert dial(one, told[1][0], 7000) == told[0][0]
        node.start_containerd()
        assert [node.runtime.addresses(pod) for pod in pods] == told


def test_a_pod_whose_namespace_is_gone_gives_its_address_back(node: Machine) -> None:
    with running(node, PodWish("one")) as (pod,):
        (name,) = node.namespaces()
        pid = node.runtime.details(pod)["pid"]
        script = f"kill -9 {pid} && umount /run/netns/{name} && rm /run/netns/{name}"
        subprocess.run(node.words("sh", "-c", script), check=True)
        node.runtime.stop(pod)
        assert node.node.leases() == []


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A launcher that waits for its agent for 0.15 s only."""
    return build(tmp_path_factory.mktemp("hasty"), HASTY)


def test_without_an_agent_pods_are_refused_for_now_and_still_deleted(
    bare: Machine, hasty: Path
) -> None:
    bare.install(hasty)
    with bare.agent():
        until(lambda: bare.runtime.network().status)
        pods = [bare.runtime.run(PodWish(name)) for name in ("one", "two")]
    with pytest.raises(grpc.RpcError, match="the agent is away"):
        bare.runtime.run(PodWish("three"))
    bare.runtime.end(pods[0])
    assert list(bare.runtime.pods()) == [pods[1]]
    assert sorted(bare.node.leases()) == sorted(pods)
    with bare.agent():
        until(lambda: bare.node.leases() == [pods[1]])
        with running(bare, PodWish("three")):
            assert len(bare.node.leases()) == 2
        bare.runtime.end(pods[1])
        bare.assert_nothing_remains()


def test_a_runtime_that_asks_for_it_hears_whether_the_agent_is_there(bare: Machine) -> None:
    if int(bare.runtime.version().removeprefix("v").partition(".")[0]) < 2:
        pytest.skip("needs containerd 2 or newer: older ones never ask for STATUS")
    bare.install()
    for _ in range(2):
        until(lambda: "the agent does not answer" in bare.runtime.network().message)
        with bare.agent():
            until(lambda: bare.runtime.network().status)


# --- Under load -----------------------------------------------------------------------------------

MAKERS = 2
ROUNDS = 2


class Load:
    """Pods that some callers make and others end, all the time, until it is enough."""

    def __init__(self, node: Machine) -> None:
        self._node = node
        self._enough = threading.Event()
        self._callers = ThreadPoolExecutor(MAKERS + 1)
        self._calls = list[Future[None]]()
        self._pods = SimpleQueue[str]()
        self.made = 0

    def __enter__(self) -> Self:
        self._calls = [self._callers.submit(self._make, number) for number in range(MAKERS)]
        self._calls.append(self._callers.submit(self._end))
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._callers.shutdown()

    def goes_on(self) -> None:
        """Wait until there are some more pods."""
        wanted = self.made + 2 * MAKERS
        until(lambda: self.made >= wanted or any(call.done() for call in self._calls))

    def end(self) -> list[str]:
        """The pods that still run; the first error of a call is raised."""
        self._enough.set()
        for call in self._calls:
            call.result()
        return list(self._left())

    def _make(self, number: int) -> None:
        for count in itertools.count():
            if self._enough.is_set():
                return
            self._pods.put(self._node.runtime.run(PodWish(f"p{number}-{count}")))
            self.made += 1

    def _end(self) -> None:
        while not self._enough.is_set():
            with suppress(Empty):
                self._node.runtime.end(self._pods.get(timeout=1))

    def _left(self) -> Iterator[str]:
        with suppress(Empty):
            while True:
                yield self._pods.get_nowait()


Change = Callable[[Machine, Running], Running]


def killed(node: Machine, agent: Running) -> Running:
    agent.end(Signals.SIGKILL)
    return node.start_agent()


def restarted(node: Machine, agent: Running) -> Running:
    agent.end()
    return node.start_agent()


def upgraded(node: Machine, agent: Running) -> Running:
    """The new one takes over while the old one still serves what it began."""
    new = node.start_agent()
    agent.end()
    return new


@pytest.mark.parametrize("change", [killed, restarted, upgraded])
def test_no_pod_notices_that_the_agent_is(bare: Machine, change: Change) -> None:
    bare.install()
    agent = bare.start_agent()
    try:
        until(lambda: bare.runtime.network().status)
        with Load(bare) as load:
            for _ in range(ROUNDS):
                load.goes_on()
                agent = change(bare, agent)
            load.goes_on()
            pods = load.end()
        assert sorted(bare.runtime.pods()) == sorted(pods)
        until(lambda: sorted(bare.node.leases()) == sorted(pods))
        until(lambda: len(bare.node.links()) == len(pods))
        told = [address for pod in pods for address in bare.runtime.addresses(pod)]
        assert len(set(told)) == 2 * len(pods)
        for pod in pods:
            bare.runtime.end(pod)
        bare.assert_nothing_remains()
    finally:
        agent.end()
