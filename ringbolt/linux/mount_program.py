"""Programs that mount (mount.nfs(8), sshfs(1), ...), and what they mounted as a detached mount.

Each runs in a mount namespace of its own, below a tmpfs that only it sees: nobody meets a mount
that is half made, a name that was hidden stays hidden, and what a killed one leaves goes with its
processes. The work is `mounting_child`'s, a process for each, which is killed with all that it
started when its time is over. Secrets lie in files of that tmpfs, mode 0600.
"""

import base64
import errno
import json
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringbolt.linux import command
from ringbolt.linux.command import ENVIRONMENT, Handed

TARGET = "{target}"
"""In `argv`: the directory to mount on."""

FILES = "{files}"
"""In `argv`: the directory of `Program.files`."""

_GRACE_S = 5.0
"""For the child to end what it started, once the time is over; then its group is killed here."""

_MESSAGE = 65536
_MAIN = "import sys; sys.path.insert(0, sys.argv[1])\nfrom ringbolt.linux import mounting_child\n"


@dataclass(frozen=True, slots=True)
class Program:
    """What is run. `files` are secrets by file name, `stdin` a secret too.

    `serves`: a process of it stays and answers for the mount; `foreground`: the very one that was
    started. `hidden` are directories whose mounts it must not keep busy. `cgroups` are directories
    of cgroup v2, the first that lets it in is where it lives.
    """

    argv: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes], repr=False)
    stdin: bytes = field(default=b"", repr=False)
    serves: bool = False
    foreground: bool = False
    hidden: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mounted:
    """`tree` is the descriptor of a detached mount, the caller's to close.

    `servers` are the processes that answer for it, `cgroup` where they live, empty: with us.
    """

    tree: int
    servers: tuple[int, ...] = ()
    cgroup: str = ""


class MountProgramError(OSError):
    """The program did not mount; `output` is the beginning of what it said, perhaps a secret."""

    def __init__(self, number: int, text: str, output: str = "") -> None:
        super().__init__(number, text)
        self.output = output


def mount_program(program: Program, room: Path, timeout_s: float) -> Mounted:
    """Run it for at most `timeout_s`; `room` is any directory of ours, it stays empty.

    Raises MountProgramError (ETIMEDOUT: it was killed with all that it started; EIO: it failed;
    ENOENT: there is no such program), OSError.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, ExitStack() as undo:
        fd = theirs.fileno()
        root = str(Path(__file__).parents[2])
        code = f"{_MAIN}mounting_child.main()"
        argv = (sys.executable, "-I", "-S", "-c", code, root, str(fd))
        handed = Handed(_job(program, room, timeout_s), fds=(fd,))
        outcome = command.run(argv, ENVIRONMENT, timeout_s + _GRACE_S, handed)
        theirs.close()
        answer, fds = _receive(ours)
        for one in fds:
            undo.callback(os.close, one)
        if outcome.code or not answer:
            raise MountProgramError(*_failure(outcome, program))
        if failed := answer.get("errno"):
            raise MountProgramError(failed, answer["text"], answer["output"])
        (tree,) = fds
        undo.pop_all()
        return Mounted(tree, tuple(answer["servers"]), answer["cgroup"])


def _job(program: Program, room: Path, timeout_s: float) -> bytes:
    files = {name: base64.b64encode(data).decode() for name, data in program.files.items()}
    job = {
        "argv": program.argv,
        "files": files,
        "stdin": base64.b64encode(program.stdin).decode(),
        "serves": program.serves,
        "foreground": program.foreground,
        "hidden": program.hidden,
        "cgroups": program.cgroups,
        "room": str(room),
        "timeout_s": timeout_s,
    }
    return json.dumps(job).encode()


def _receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The child's one message; nothing where it was killed before."""
    message, fds, _, _ = socket.recv_fds(channel, _MESSAGE, 1)
    return (json.loads(message) if message else {}), fds


def _failure(outcome: command.Outcome, program: Program) -> tuple[int, str, str]:
    if outcome.code is None:
        return errno.ETIMEDOUT, f"{program.argv[0]} took too long and was killed", ""
    return errno.EIO, f"{program.argv[0]} could not be run", outcome.output[-2000:]
