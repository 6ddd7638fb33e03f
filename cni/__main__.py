"""`python -m cni`: the plugin in one process, for debugging and for hosts with Python.

The same door and room as the agent's, on the same leases. RINGBOLT_SOCKET says where the agent
would meet launchers: its folder is the run directory.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from cni.call import Call
from cni.codes import CniError, Code, encode_error
from cni.door import handle
from cni.late_network import LateNetwork
from ringbolt.network.network import Network

SOCKET = "/run/ringbolt/agent.sock"
STDIN_MAX = 1 << 20


def main(variables: Mapping[str, str]) -> int:
    """Serve the call of this process; its exit code."""
    run_dir = Path(variables.get("RINGBOLT_SOCKET") or SOCKET).parent
    stdin = _read_stdin(variables.get("CNI_COMMAND", ""))
    if len(stdin) > STDIN_MAX:
        error = CniError(Code.IO_FAILURE, "ringbolt: stdin is larger than 1 MiB")
        _print(encode_error(error, None))
        return 1
    with ExitStack() as opened:
        network = opened.enter_context(closing(LateNetwork(lambda: _open_network(run_dir))))
        netns_fd = _open_namespace(variables.get("CNI_NETNS", ""), opened)
        reply = handle(Call(variables, stdin, netns_fd), network)
    sys.stderr.write(reply.stderr.decode())
    _print(reply.stdout)
    return reply.code


def _open_network(run_dir: Path) -> Network:
    run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    return Network(run_dir, coalesce=False)


def _read_stdin(command: str) -> bytes:
    if command in ("", "VERSION"):  # a terminal may be all that is there
        return b""
    return sys.stdin.buffer.read(STDIN_MAX + 1)


def _open_namespace(path: str, opened: ExitStack) -> int | None:
    """The descriptor of CNI_NETNS; None where it cannot be opened, which the door judges."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    opened.callback(os.close, fd)
    return fd


def _print(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main(os.environ))
