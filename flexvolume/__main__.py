"""`python -m flexvolume`: the driver in one process, for debugging and for hosts with Python.

The same door and room as the agent's, with the same locks and records, by what the agent's
configuration allows. RINGBOLT_SOCKET says where the agent would meet launchers: its folder is the
run directory. Nothing but the one document may ever be printed: a kubelet reads stderr with it.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from flexvolume.call import Call
from flexvolume.door import handle
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.kinds import open_volumes
from ringbolt.volumes.setting import read_setting
from ringbolt.volumes.volumes import Volumes

SOCKET = "/run/ringbolt/agent.sock"
LIMIT_S = 95.0
"""A pod's volumes are waited for about 2 minutes; a kubelet itself sets a call no limit."""


def main(arguments: tuple[str, ...], variables: Mapping[str, str]) -> int:
    """Serve the call of this process; its exit code, which is always 0."""
    run_dir = Path(variables.get("RINGBOLT_SOCKET") or SOCKET).parent

    def open_room() -> Volumes:
        return open_volumes(read_setting(run_dir))

    reply = handle(Call(arguments, variables), open_room, Deadline.after(LIMIT_S))
    sys.stdout.buffer.write(reply.stdout)
    sys.stdout.buffer.flush()
    return 0


def _silence() -> None:
    """Warnings and tracebacks have no place beside the document."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, 2, inheritable=False)
    os.close(nowhere)


if __name__ == "__main__":
    _silence()
    sys.exit(main(tuple(sys.argv[1:]), os.environ))
