"""A network namespace beside the test's own, and the oracles: `ip`, `tc` and `nft` in JSON."""

import errno
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ringbolt.linux import link, netlink
from ringbolt.linux.link import Change, End, Link
from ringbolt.linux.namespaces import CLONE_NEWNET, unshare

_DOOMED = 0xD00D


def make_namespace() -> int:
    """A descriptor of a new network namespace, which lives as long as it is open."""
    made: list[int] = []

    def make() -> None:
        unshare(CLONE_NEWNET)
        made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


@contextmanager
def namespace() -> Iterator[int]:
    """As `make_namespace`, closed in the end."""
    fd = make_namespace()
    try:
        yield fd
    finally:
        os.close(fd)


def show(*command: str, netns: int | None = None) -> Any:
    """What a program that speaks JSON says, in the test's namespace or in another."""
    path = f"/proc/self/fd/{netns}"
    enter = ["nsenter", f"--net={path}"] if netns is not None else []
    inherited = (netns,) if netns is not None else ()
    done = subprocess.run([*enter, *command], check=True, capture_output=True, pass_fds=inherited)
    return json.loads(done.stdout or "[]")


def show_link(name: str, netns: int | None = None) -> dict[str, Any]:
    """What `ip` knows of one link."""
    found: list[dict[str, Any]] = show("ip", "-j", "-d", "link", "show", "dev", name, netns=netns)
    return found[0]


def must_find(socket: netlink.Socket, name: str) -> Link:
    """The link of this name, which is there."""
    found = link.find(socket, name)
    assert found is not None, f"no link {name}"
    return found


def add_pair(socket: netlink.Socket, host: End, peer: End) -> Link:
    """The host end of a new pair, both ends up where that is possible."""
    socket.request([link.new_veth(host, peer)])
    made = must_find(socket, host.name)
    socket.request([link.set_link(made.index, Change(up=True))])
    if peer.netns_fd is None:
        socket.request([link.set_link(made.peer, Change(up=True))])
    return made


def remove_links(socket: netlink.Socket) -> None:
    """Leave the namespace of `socket` with its loopback alone."""
    doomed = [one.index for one in link.list_links(socket) if one.index != link.LOOPBACK]
    grouped = [link.set_link(index, Change(group=_DOOMED)) for index in doomed]
    # A pod's namespace that was just closed takes its pairs along, at a time of its own.
    wanted = [*grouped, link.delete_group(_DOOMED)]
    socket.request([one.forgiving(errno.ENODEV) for one in wanted])


@contextmanager
def refusal(number: int, words: str = "Errno") -> Iterator[None]:
    """The block ends with an OSError of this errno whose text holds `words`."""
    with pytest.raises(OSError, match=re.escape(words)) as caught:
        yield
    assert caught.value.errno == number
