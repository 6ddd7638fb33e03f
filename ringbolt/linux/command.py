"""One program run to its end: bounded in time and output, and killed with all it started.

No shell, no inherited environment. What is secret goes to its standard input, never into argv.
"""

import contextlib
import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

OUTPUT_BYTES = 4096
"""How much of the output is kept, from its beginning."""

ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
}
"""Where programs are found, and that they speak plain English in UTF-8."""

_REAP_S = 1.0

_left: "list[subprocess.Popen[bytes]]" = []
"""Killed, but the kernel does not let them go yet; reaped when it has, by a later run."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended: `code` is None where it was killed for its time, negative for a signal."""

    code: int | None
    output: str

    @property
    def failure(self) -> str:
        """In words what went wrong, with the first line of output; empty where nothing did."""
        if self.code == 0:
            return ""
        how = "took too long and was killed" if self.code is None else _ended(self.code)
        line = self.output.strip().partition("\n")[0]
        return f"{how}: {line}" if line else how


@dataclass(frozen=True, slots=True)
class Handed:
    """What a program is given: the descriptors keep their numbers in it."""

    stdin: bytes = field(default=b"", repr=False)
    fds: tuple[int, ...] = ()


def run(
    argv: Sequence[str], env: Mapping[str, str], timeout_s: float, handed: Handed = Handed()
) -> Outcome:
    """Run `argv` for at most `timeout_s`; then its whole process group is killed.

    Returns as soon as the program itself ends, even if something that it left behind holds its
    output open. Blocks until then. Raises OSError where it cannot be started.
    """
    deadline = time.monotonic() + timeout_s
    with ExitStack() as undo:
        stdin = _open_stdin(handed.stdin)
        undo.callback(os.close, stdin)
        process = subprocess.Popen(
            argv,
            env=env,
            stdin=stdin,
            pass_fds=handed.fds,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        undo.callback(_end, process)
        assert process.stdout is not None
        undo.callback(process.stdout.close)
        ended = os.pidfd_open(process.pid)
        undo.callback(os.close, ended)
        output = b"".join(_read(process.stdout.fileno(), ended, deadline))
        in_time = bool(select.select([ended], [], [], 0)[0])
    code = process.returncode if in_time else None
    return Outcome(code, output.decode(errors="replace"))


def _open_stdin(content: bytes) -> int:
    """In memory, so that nothing has to be written while the program runs."""
    fd = os.memfd_create("stdin", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _read(output: int, ended: int, deadline: float) -> Iterator[bytes]:
    """What arrives until the process ends or the time is up; all of it is read, a part is kept."""
    os.set_blocking(output, False)
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        room = OUTPUT_BYTES
        while (left := deadline - time.monotonic()) > 0:
            ready = {key.fd for key, _ in selector.select(left)}
            if output in ready:
                chunk = os.read(output, 65536)
                yield chunk[:room]
                room -= min(room, len(chunk))
                if not chunk:
                    selector.unregister(output)
            elif ended in ready:
                return


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill what is left of the group, then reap: the other way round its id could be another's.

    A process that hangs in a driver is not waited for.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(_REAP_S)
    except subprocess.TimeoutExpired:
        _left.append(process)
    for one in tuple(_left):
        if one.poll() is not None:
            with contextlib.suppress(ValueError):  # another thread was faster
                _left.remove(one)


def _ended(code: int) -> str:
    if code >= 0:
        return f"exited with {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
