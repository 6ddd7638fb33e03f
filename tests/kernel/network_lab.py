"""Nodes and pods for the tests of the network: namespaces, and iproute2 as the oracle."""

import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ringbolt.linux import network_namespace
from ringbolt.linux.libc import call
from ringbolt.linux.namespaces import CLONE_NEWNET
from ringbolt.network.attachment import Attach, Attached, ContainerId, Detach, InterfaceName
from ringbolt.network.network import Network
from ringbolt.network.settings import NetworkName, Range, RangeSet, Settings

FOUR: RangeSet = (Range(ipaddress.ip_network("10.88.0.0/24")),)
SIX: RangeSet = (Range(ipaddress.ip_network("fd00:88::/64")),)
SETTINGS = Settings(NetworkName("pods"), (FOUR, SIX), bridge="rb0")


@dataclass
class Pod:
    """A network namespace, held by its descriptor alone."""

    name: str
    fd: int
    closing: ExitStack = field(default_factory=ExitStack)

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def run(self, *words: str) -> str:
        """What a program says inside."""
        return run("nsenter", f"--net={self.path}", *words)

    def ip(self, *words: str) -> list[dict[str, Any]]:
        return list(json.loads(self.run("ip", "-j", *words) or "[]"))

    def go(self) -> None:
        self.closing.close()


def run(*words: str) -> str:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def ip(*words: str) -> list[dict[str, Any]]:
    return list(json.loads(run("ip", "-j", *words) or "[]"))


def links() -> dict[str, dict[str, Any]]:
    return {one["ifname"]: one for one in ip("-d", "link", "show")}


def new_pod(name: str = "pod") -> Pod:
    """A fresh namespace; close it with `go`."""

    def make() -> int:
        call("unshare", CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        pod = Pod(name, network_namespace.inside(here, make))
    finally:
        os.close(here)
    pod.closing.callback(os.close, pod.fd)
    return pod


def attach(pod: Pod, settings: Settings = SETTINGS, /, **more: Any) -> Attach:
    wanted = Attach(
        ContainerId(pod.name), InterfaceName("eth0"), pod.fd, f"/run/netns/{pod.name}", settings
    )
    return replace(wanted, **more)


def detach(pod: Pod, settings: Settings = SETTINGS, *, gone: bool = False) -> Detach:
    fd = None if gone else pod.fd
    return Detach(ContainerId(pod.name), InterfaceName("eth0"), settings, fd)


def addresses(result: Attached) -> list[str]:
    return [str(one.address) for one in result.addresses]


def host(result: Attached) -> str:
    """The name of the node's end."""
    return result.interfaces[-2].name


@contextmanager
def pods(*names: str) -> Iterator[list[Pod]]:
    """Namespaces that are gone afterwards."""
    with ExitStack() as undo:
        made = [new_pod(name) for name in names]
        for one in made:
            undo.callback(one.go)
        yield made


@contextmanager
def network(folder: Path, *, coalesce: bool = False) -> Iterator[Network]:
    """A network room with its state in `folder`; its bridge, which it leaves, goes too."""
    try:
        with Network(folder, coalesce=coalesce) as made:
            yield made
    finally:
        for name, one in links().items():
            if name == SETTINGS.bridge or one.get("linkinfo", {}).get("info_kind") == "ifb":
                run("ip", "link", "delete", name)


_TALK = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM) as one:
    one.settimeout(3)
    one.connect((sys.argv[1], int(sys.argv[2])))
    print(one.makefile().readline(), end="")
"""

_LISTEN = """
import socket, sys
with socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6,
                          dualstack_ipv6=True) as one:
    print("ready", flush=True)
    while True:
        talk, peer = one.accept()
        talk.sendall(peer[0].removeprefix("::ffff:").encode() + b"\\n")
        talk.close()
"""


def dial(source: Pod | None, address: str, port: int) -> str:
    """Connect from the pod (None: from the node); whom the server took it for."""
    words = (sys.executable, "-c", _TALK, address, str(port))
    return (source.run(*words) if source else run(*words)).strip()


@contextmanager
def serving(at: Pod | None, port: int) -> Iterator[None]:
    """A server that tells each client its address."""
    inside = ("nsenter", f"--net={at.path}") if at else ()
    words = (*inside, sys.executable, "-c", _LISTEN, str(port))
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            assert server.stdout.readline() == "ready\n"
            yield
        finally:
            server.kill()
