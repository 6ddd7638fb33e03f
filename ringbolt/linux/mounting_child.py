"""The process that runs one program that mounts, for `mount_program`; single-threaded, of its own.

What it makes is seen in its mount namespace alone and handed over by descriptor; then it ends. It
is the parent of all that the program leaves behind, so it can end every one of them.
"""

import base64
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from ringbolt.linux import libc
from ringbolt.linux.command import ENVIRONMENT
from ringbolt.linux.mount import (
    MNT_DETACH,
    MS_NODEV,
    MS_NOSUID,
    MS_REC,
    MS_SLAVE,
    mount,
    read_mountinfo,
    umount,
)
from ringbolt.linux.mount_api import open_tree
from ringbolt.linux.namespaces import CLONE_NEWCGROUP, CLONE_NEWNS, setns, unshare
from ringbolt.linux.process import set_child_subreaper

_OUTPUT = 2000
_REAP_S = 2.0
_ROOM_SIZE = "size=4m,mode=0700"


class _FailedError(Exception):
    """The program did not mount."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


class _Room(NamedTuple):
    """The directories and files of the tmpfs that only this process and the program see."""

    path: str

    @property
    def target(self) -> str:
        return f"{self.path}/target"

    @property
    def files(self) -> str:
        return f"{self.path}/files"

    @property
    def output(self) -> str:
        return f"{self.path}/output"


def main() -> None:
    """Do the job on standard input, answer on the socket whose descriptor is the last argument."""
    job = json.load(sys.stdin)
    end = time.monotonic() + job["timeout_s"]
    room = _Room(job["room"])
    set_child_subreaper()
    with socket.socket(fileno=int(sys.argv[2])) as channel:
        try:
            tree, answer = _work(job, room, end)
            socket.send_fds(channel, [json.dumps(answer).encode()], [tree])
        except (OSError, _FailedError) as error:
            _end_all()
            number = error.number if isinstance(error, _FailedError) else error.errno or errno.EIO
            text = str(error) if isinstance(error, _FailedError) else f"{error.strerror}"
            answer = {"errno": number, "text": text, "output": _said(room)}
            with suppress(OSError):
                channel.send(json.dumps(answer).encode())


def _work(job: dict[str, Any], room: _Room, end: float) -> tuple[int, dict[str, Any]]:
    cgroup = _settle_in(job["cgroups"])
    _seclude(job, room)
    argv = [
        one.replace("{target}", room.target).replace("{files}", room.files) for one in job["argv"]
    ]
    process = _start(argv, room, serves=job["serves"])
    _await_mount(process, job, room, end)
    servers = sorted(_children()) if job["serves"] else []
    _require_answer(room, end)
    tree = open_tree(room.target, clone=True)
    # The server's namespace must not keep alive what it serves.
    umount(room.target, MNT_DETACH)
    return tree, {"errno": 0, "servers": servers, "cgroup": cgroup}


# --- The place ---------------------------------------------------------------------------------


def _settle_in(cgroups: list[str]) -> str:
    """Move into the first cgroup that lets us in, so that what is started lives there."""
    if not cgroups:
        return ""
    with suppress(OSError):  # in a container: moves are checked against the namespace's root
        setns("/proc/1/ns/cgroup", CLONE_NEWCGROUP)
    for path in cgroups:
        with suppress(OSError):
            os.makedirs(path, exist_ok=True)
            libc.write(f"{path}/cgroup.procs", "0")
            return path
    return ""


def _seclude(job: dict[str, Any], room: _Room) -> None:
    unshare(CLONE_NEWNS)
    try:
        mount("", "/", flags=MS_SLAVE | MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a chroot's root is no mount
            raise
        for point in read_mountinfo():
            with suppress(OSError):
                mount("", point.target, flags=MS_SLAVE)
    for hidden in job["hidden"]:
        _hide(hidden)
    mount("ringbolt", room.path, "tmpfs", MS_NOSUID | MS_NODEV, _ROOM_SIZE)
    os.mkdir(room.target)
    os.mkdir(room.files, 0o700)
    for name, data in (*job["files"].items(), ("stdin", job["stdin"])):
        fd = os.open(f"{room.files}/{name}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(base64.b64decode(data))


def _hide(directory: str) -> None:
    """Take off every mount at or below it; the copies here would keep them all busy."""
    below = directory.rstrip("/") + "/"
    targets = [one.target for one in read_mountinfo()]
    for target in reversed([one for one in targets if f"{one}/".startswith(below)]):
        with suppress(OSError):
            umount(target, MNT_DETACH)


# --- The program -------------------------------------------------------------------------------


def _start(argv: list[str], room: _Room, *, serves: bool) -> "subprocess.Popen[bytes]":
    """Its output goes to a file of the room, so whatever it leaves behind holds nothing of ours.

    One that serves gets a session of its own: this process's group is killed when it ends.
    """
    output = os.open(room.output, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
    stdin = os.open(f"{room.files}/stdin", os.O_RDONLY)
    os.unlink(f"{room.files}/stdin")
    try:
        return subprocess.Popen(
            argv,
            env=ENVIRONMENT,
            cwd="/",
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=serves,
        )
    except FileNotFoundError:
        raise _FailedError(errno.ENOENT, f"{argv[0]} is not installed") from None
    finally:
        os.close(output)
        os.close(stdin)


def _await_mount(
    process: "subprocess.Popen[bytes]", job: dict[str, Any], room: _Room, end: float
) -> None:
    """Until it has mounted: it ended well, or serves in the foreground and its mount is there."""
    name = os.path.basename(job["argv"][0])
    ended = os.pidfd_open(process.pid)
    mounts = os.open("/proc/self/mountinfo", os.O_RDONLY)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(mounts, select.POLLPRI)
    while True:
        if job["foreground"] and _is_mounted(room):
            return
        left = end - time.monotonic()
        ready = {fd for fd, _ in poll.poll(max(0, left) * 1000)}
        if not ready:
            raise _FailedError(errno.ETIMEDOUT, f"{name} took too long and was killed")
        if ended in ready:
            break
    code = process.wait()
    if code:
        raise _FailedError(errno.EIO, f"{name} {_how(code)}")
    if not _is_mounted(room):
        raise _FailedError(errno.EIO, f"{name} ended without a word and mounted nothing")


def _is_mounted(room: _Room) -> bool:
    return any(one.target == room.target for one in read_mountinfo())


def _require_answer(room: _Room, end: float) -> None:
    """That somebody answers for the mount, asked by a process that can be killed."""
    pid = os.fork()
    if pid == 0:
        try:
            os.stat(room.target)
            os._exit(0)
        except OSError as error:
            os._exit((error.errno or errno.EIO) & 0xFF)
    asked = os.pidfd_open(pid)
    try:
        if not select.select([asked], [], [], max(0.0, end - time.monotonic()))[0]:
            raise _FailedError(errno.ETIMEDOUT, "it is mounted, but nobody answers for it")
        if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            raise _FailedError(code, f"it is mounted, but does not answer: {os.strerror(code)}")
    finally:
        os.close(asked)


def _said(room: _Room) -> str:
    with suppress(OSError), open(room.output, "rb") as file:
        return file.read(_OUTPUT).decode(errors="replace")
    return ""


def _how(code: int) -> str:
    return f"exited with {code}" if code > 0 else f"was ended by {signal.Signals(-code).name}"


# --- The end -----------------------------------------------------------------------------------


def _children() -> Iterator[int]:
    """Processes whose parent this one is, by birth or as the next of kin (proc_pid_stat(5))."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
                if int(parent) == os.getpid() and state != b"Z":
                    yield int(name)


def _end_all() -> None:
    """Kill what was started, and what that started: orphans become ours, so look again.

    One that hangs in the kernel ends when the kernel lets it; it is not waited for long.
    """
    end = time.monotonic() + _REAP_S
    while (left := end - time.monotonic()) > 0 and (found := list(_children())):
        for pid in found:
            with suppress(OSError):
                ended = os.pidfd_open(pid)
                try:
                    os.kill(pid, signal.SIGKILL)
                    select.select([ended], [], [], left)
                finally:
                    os.close(ended)
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
