"""One program run for a device: bounded in time and output, and killed with all it started.

For `health` and `prestart`. No shell, no inherited environment, no standard input.
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
from dataclasses import dataclass

from ringbolt.devices.device import Device

OUTPUT_BYTES = 4096
"""How much of the output is kept, from its beginning."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REAP_S = 1.0


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


def environment(device: Device) -> Mapping[str, str]:
    """What the program is told of the device: RINGBOLT_DEVICE (id), _RESOURCE, _NODES, _SYSFS.

    RINGBOLT_NODES holds the nodes on the host, separated by commas; RINGBOLT_SYSFS the physical
    device's folder below /sys, empty where it has none.
    """
    return {
        "PATH": _PATH,
        "LC_ALL": "C.UTF-8",
        "RINGBOLT_DEVICE": device.id,
        "RINGBOLT_RESOURCE": device.resource,
        "RINGBOLT_NODES": ",".join(member.dev_node for member in device.members),
        "RINGBOLT_SYSFS": device.anchor.sys_path if device.anchor else "",
    }


def run(argv: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Outcome:
    """Run `argv` for at most `timeout_s`; then its whole process group is killed.

    Returns as soon as the program itself ends, even if something that it left behind holds its
    output open. Blocks until then. Raises OSError where it cannot be started.
    """
    deadline = time.monotonic() + timeout_s
    with ExitStack() as undo:
        process = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
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
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_REAP_S)


def _ended(code: int) -> str:
    if code >= 0:
        return f"exited with {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
