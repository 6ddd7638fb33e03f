"""The launcher as built here, and agents of every kind of badness for it to meet."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from daemon import frame

ROOT = Path(__file__).parents[2]
HANGS_S = 60.0
CONF = b'{"cniVersion": "1.1.0", "name": "pods", "type": "ringbolt"}'
PROUD = "-DADD_MS=20000 -DADD_WAIT_MS=150 -DDEL_MS=10000 -DDEL_WAIT_MS=150"
"""It hardly waits for an agent that is away, and as long as any for one that is there."""
SHORT = "-DADD_MS=1000 -DADD_WAIT_MS=150 -DDEL_MS=1000 -DDEL_WAIT_MS=150"


def build(folder: Path, flags: str = "") -> Path:
    """The launcher for this machine, by its own compiler."""
    environment = {**os.environ, "CFLAGS": flags}
    command = [str(ROOT / "launcher/build"), str(folder), "--native"]
    subprocess.run(command, env=environment, check=True)
    return folder / f"launcher-{os.uname().machine}"


@dataclass(frozen=True)
class Launcher:
    """A launcher that seeks its agent in `folder`."""

    program: Path
    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "agent.sock"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def environment(self, command: str, **variables: str) -> dict[str, str]:
        named = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "c1",
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": "/proc/self/ns/net",
            "CNI_PATH": "/opt/cni/bin",
            "RINGBOLT_SOCKET": str(self.socket),
        }
        return {key: value for key, value in (named | variables).items() if value}

    def start(self, command: str, **variables: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [self.program],
            env=self.environment(command, **variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(
        self, command: str, *, stdin: bytes = CONF, **variables: str
    ) -> "subprocess.CompletedProcess[bytes]":
        return self.run_as(self.program, (), self.environment(command, **variables), stdin)

    def call_volume(self, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        """As a kubelet calls a FlexVolume driver: the name makes it one."""
        driver = self.folder / "volume"
        if not driver.exists():
            shutil.copy(self.program, driver)
        return self.run_as(driver, arguments, {"RINGBOLT_SOCKET": str(self.socket)}, b"")

    def run_as(
        self,
        program: Path,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        stdin: bytes,
    ) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [program, *arguments],
            env=environment,
            input=stdin,
            capture_output=True,
            timeout=HANGS_S,
            check=False,
        )


Manner = Callable[[socket.socket], None]
"""What an agent does with a connection; it is closed afterwards."""


@dataclass
class FalseAgent:
    """Treats its callers as its manners say, the last one for ever. `calls`: what it got whole."""

    manners: list[Manner]
    calls: list[tuple[frame.Call, list[int]]] = field(
        default_factory=list[tuple[frame.Call, list[int]]]
    )
    seen: int = 0

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            manner = self.manners[min(self.seen, len(self.manners) - 1)]
            self.seen += 1
            with connection:
                try:
                    manner(connection)
                except OSError:  # the launcher had enough
                    continue

    def take(self, connection: socket.socket) -> frame.Call:
        data, inodes = receive(connection)
        call = frame.parse_call(data)
        self.calls.append((call, inodes))
        return call


def receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """A whole frame, and the inodes of the descriptors that came with it."""
    data, inodes = b"", list[int]()
    while len(data) < frame.HEADER.size or len(data) < _length(data):
        chunk, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 4)
        inodes += (os.fstat(fd).st_ino for fd in descriptors)
        for fd in descriptors:
            os.close(fd)
        if not chunk:
            break
        data += chunk
    return data, inodes


def _length(data: bytes) -> int:
    return frame.HEADER.size + int.from_bytes(data[8:12], "big")


@contextmanager
def false_agent(path: Path, *manners: Manner) -> Iterator[FalseAgent]:
    """An agent at `path` with these manners."""
    agent = FalseAgent(list(manners))
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(128)
        thread = threading.Thread(target=agent.serve, args=(listener,))
        thread.start()
        try:
            yield agent
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            path.unlink(missing_ok=True)
