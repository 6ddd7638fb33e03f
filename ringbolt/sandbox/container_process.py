"""Starting `container_init` and holding its leash: one process of a pod or of a container.

What goes into the plan is `runtime`'s business.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROGRAM = Path(__file__).with_name("container_init.py")
_LINE_MAX = 1 << 20


class StartError(Exception):
    """The process could not become what was planned; the message is a runtime's."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a container wrote; `container` is POD/NAME, `stream` "stdout" or "stderr"."""

    container: str
    stream: str
    text: str


Listener = Callable[[LogLine], None]


class ContainerProcess:
    """A started process. `pid` is the watcher's, or the pod's own, as the host counts."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.log: list[LogLine] = []
        self._process = process
        self._readers: list[asyncio.Task[None]] = []

    @property
    def pid(self) -> int:
        """The pid of the started process on the host."""
        return self._process.pid

    def follow(self, listener: Listener) -> None:
        """Collect what it writes, and hand every line on as it comes."""
        streams = {"stdout": self._process.stdout, "stderr": self._process.stderr}
        for stream, reader in streams.items():
            if reader is not None:
                self._readers.append(asyncio.create_task(self._read(stream, reader, listener)))

    async def wait(self) -> int:
        """The exit code (128 + n for signal n), once it ended and all it wrote was read."""
        if self._readers:
            # Not gather: one who gives up waiting would cancel the reading for those who come next.
            await asyncio.wait(self._readers)
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    async def stop(self, grace_s: float) -> int:
        """SIGTERM, and after `grace_s` SIGKILL; the exit code. Nothing of it remains."""
        self._signal("SIGTERM")
        try:
            return await asyncio.wait_for(asyncio.shield(self.wait()), grace_s)
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        """End it at once, with everything in it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        return await self.wait()

    def _signal(self, name: str) -> None:
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(f"{name}\n".encode("ascii"))

    async def _read(self, stream: str, reader: asyncio.StreamReader, listener: Listener) -> None:
        while data := await _line(reader):
            line = LogLine(self.name, stream, data.decode(errors="replace").rstrip("\n"))
            self.log.append(line)
            listener(line)


async def start(
    name: str, plan: Mapping[str, Any], *, terminal: int | None = None
) -> ContainerProcess:
    """Start a process that becomes what `plan` says, and wait until it has.

    With `terminal`, a descriptor, the program's standard input is that and its output goes where
    ours does. Raises StartError.
    """
    own, theirs = os.pipe()
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, theirs)
        reader = await _open_reader(own)
        passed = [theirs]
        if terminal is not None:
            # A number of its own: the child's standard input is the leash.
            terminal = os.dup(terminal)
            undo.callback(os.close, terminal)
            passed.append(terminal)
        process = await _spawn(passed, captured=terminal is None)
    started = ContainerProcess(name, process)
    whole = {**plan, "status_fd": theirs, "terminal_fd": terminal}
    assert process.stdin is not None
    process.stdin.write(json.dumps(whole).encode() + b"\n")
    try:
        answer = (await reader.read()).splitlines()
    except asyncio.CancelledError:
        await started.kill()
        raise
    last: dict[str, Any] = json.loads(answer[-1]) if answer else {}
    if "ready" in last:
        return started
    raise StartError(_words(last, await started.kill()))


async def _spawn(passed: Sequence[int], *, captured: bool) -> asyncio.subprocess.Process:
    output = asyncio.subprocess.PIPE if captured else None
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-SI", str(_PROGRAM)),
        stdin=asyncio.subprocess.PIPE,
        stdout=output,
        stderr=output,
        pass_fds=passed,
        # A terminal's Ctrl-C is for the sandbox, which then ends its containers in order.
        start_new_session=captured,
        limit=_LINE_MAX,
    )


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line; b"" at the end. One that is too long is dropped, or its writer would block."""
    try:
        return await reader.readline()
    except ValueError:
        return b"(more than 1 MiB without a line's end)\n"


async def _open_reader(fd: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=_LINE_MAX)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: protocol, os.fdopen(fd, "rb", buffering=0)
    )
    return reader


def _words(answer: Mapping[str, Any], code: int) -> str:
    """A runtime's words for a failed start (runc's, where a program cannot be executed)."""
    if not answer:
        return f"the container's first process ended with code {code} before it reported"
    error = str(answer["error"])
    program = answer.get("program")
    if program is None:
        return f"failed to create containerd task: {error}"
    if error == os.strerror(2) and "/" not in str(program):
        error = "executable file not found in $PATH"
    return f'failed to start container: exec: "{program}": {error.lower()}'.replace(
        "$path", "$PATH"
    )
