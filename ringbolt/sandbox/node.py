"""The sandbox's node: a network beside the host's, where agent and plugins run, and an outside.

Everything in it is entered by a process of its own (`node_entry`), so this one stays where it is.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from pathlib import Path
from typing import Any

from ringbolt.linux.namespaces import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUSER
from ringbolt.sandbox.cni_exec import Ended

_INIT = Path(__file__).with_name("node_init.py")
_ENTRY = Path(__file__).with_name("node_entry.py")
_UPLINK = "uplink0"
_V6 = "/proc/sys/net/ipv6"
# What documentation is free to use (RFC 5737, RFC 3849): it meets nobody's own addresses.
_NODE = ("192.0.2.1/24", "2001:db8::1/64")
_OUTSIDE = ("192.0.2.2/24", "2001:db8::2/64")

Join = Sequence[tuple[str, int]]
"""Namespaces to enter in this order: paths of nsfs, and their CLONE_NEW*."""


class NodeError(Exception):
    """The node cannot be made, or something in it failed; the message says what."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node that lives. `directory` holds its pods' network namespaces.

    `addresses` are its own, `outside_addresses` those of the host behind its uplink.
    """

    pid: int
    user_namespace: bool
    directory: Path
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    outside_addresses: tuple[IPv4Interface | IPv6Interface, ...]

    @property
    def join_user(self) -> Join:
        """The namespace that owns the node's; without root the pods' are made below it."""
        return [(f"/proc/{self.pid}/ns/user", CLONE_NEWUSER)] if self.user_namespace else []

    @property
    def join_mounts(self) -> Join:
        """The way to what is mounted on the node."""
        return [*self.join_user, (f"/proc/{self.pid}/ns/mnt", CLONE_NEWNS)]

    @property
    def join_network(self) -> Join:
        """The way into the node's network."""
        return [*self.join_user, (f"/proc/{self.pid}/ns/net", CLONE_NEWNET)]

    def command(self, *argv: str) -> tuple[str, ...]:
        """The command line that becomes `argv` on the node."""
        return self._entry(do="exec", argv=argv)

    def outside_command(self, *argv: str) -> tuple[str, ...]:
        """The command line that becomes `argv` outside."""
        return self._entry(self._outside, do="exec", argv=argv)

    async def run(
        self, argv: Sequence[str], variables: Mapping[str, str], stdin: bytes = b""
    ) -> Ended:
        """Exec a plugin on the node; what it took does not include our way to it."""
        clock, written = os.pipe()
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, clock)
            with contextlib.closing(os.fdopen(written, "wb")):
                process = await asyncio.create_subprocess_exec(
                    *self._entry(do="time", argv=argv, time_fd=written),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    pass_fds=[written],
                    env={**os.environ, **variables},
                )
            stdout, stderr = await process.communicate(stdin)
            took = os.read(clock, 64)
        assert process.returncode is not None
        return Ended(process.returncode, stdout, stderr, float(took or 0))

    async def keep(self, pid: int, name: str) -> Path:
        """Keep a process's network namespace at a path, as runtimes do. Raises NodeError."""
        path = self.directory / name
        await self._do(do="keep", source=f"/proc/{pid}/ns/net", target=str(path))
        return path

    async def release(self, path: Path) -> None:
        """Let go of a namespace that was kept. Raises NodeError."""
        await self._do(do="release", target=str(path))

    @property
    def _outside(self) -> str:
        return f"/proc/{self.pid}/root{self.directory / 'outside'}"

    async def _do(self, **what: object) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._entry(**what),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        if process.returncode:
            raise NodeError(said.decode(errors="replace").strip())

    def _entry(self, network: str = "", /, **what: object) -> tuple[str, ...]:
        own = f"/proc/{self.pid}"
        join = [
            *self.join_user,
            (f"{own}/ns/mnt", CLONE_NEWNS),
            (network or f"{own}/ns/net", CLONE_NEWNET),
        ]
        plan = json.dumps({"join": join, "root": f"{own}/root", **what})
        return (sys.executable, "-SI", str(_ENTRY), plan)


@contextlib.asynccontextmanager
async def open_node(directory: Path, *, user_namespace: bool) -> AsyncGenerator[Node]:
    """A node, for as long as the context lasts. Raises NodeError where this user may make none."""
    both = _families()
    plan: dict[str, Any] = {
        "user_namespace": user_namespace,
        "uplink": _UPLINK,
        "node_addresses": _NODE[both],
        "outside_addresses": _OUTSIDE[both],
        "outside": str(directory / "outside"),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-SI", str(_INIT)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(plan).encode() + b"\n")
        answer = json.loads(await process.stdout.readline() or b"{}")
        if "ready" not in answer:
            raise NodeError(f"no network of its own can be made here: {answer.get('error')}")
        yield Node(
            process.pid,
            user_namespace,
            directory,
            tuple(map(ip_interface, _NODE[both])),
            tuple(map(ip_interface, _OUTSIDE[both])),
        )
    finally:
        process.stdin.close()
        await process.wait()


def _families() -> slice:
    """IPv4 first, and IPv6 where this kernel has it."""
    return slice(None) if Path(_V6).exists() else slice(1)
