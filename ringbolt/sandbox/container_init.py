"""The process that becomes a container: run as a file by `container`, never imported by it.

It reads one line of JSON (the plan) from its standard input and reports lines on the status
descriptor: that it is ready, or an error. That descriptor's end without an error means that the
program runs (exec closed it). From then on its input is its leash: a line is a signal to pass on,
its end means that the sandbox is gone, and the container goes too. Start-up is what a pod waits
for: import nothing that can be left out.
"""

import json
import os
import select
import signal
import sys
from typing import Any, NoReturn

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from ringbolt.linux import device_cgroup, loopback, mount, namespaces, process
from ringbolt.sandbox.steps import Step

_NOT_FOUND, _NOT_EXECUTABLE, _SETUP_FAILED = 127, 126, 128


def main() -> int:
    """Read the plan and be the pod or the container it describes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    plan: dict[str, Any] = json.loads(_read_line(0))
    status = int(plan["status_fd"])
    os.set_inheritable(status, False)  # noqa: FBT003 - the one argument it has
    try:
        return _pod(plan, status) if plan["kind"] == "pod" else _container(plan, status)
    except OSError as error:
        _report(status, error=str(error.strerror or error), errno=error.errno)
        return _SETUP_FAILED


def _pod(plan: dict[str, Any], status: int) -> int:
    """Hold the namespaces that a pod's containers share, until the leash is let go."""
    for path, kind in plan["join"]:
        namespaces.setns(path, kind)
    uid, gid = os.geteuid(), os.getegid()
    shared = namespaces.CLONE_NEWIPC | namespaces.CLONE_NEWUTS
    shared |= 0 if plan["host_network"] else namespaces.CLONE_NEWNET
    namespaces.unshare(shared | (namespaces.CLONE_NEWUSER if plan["user_namespace"] else 0))
    if plan["user_namespace"]:
        namespaces.map_self(uid, gid)
    namespaces.sethostname(plan["hostname"])
    if not plan["host_network"]:
        loopback.bring_up()
    _report(status, ready=True)
    os.close(status)
    while os.read(0, 4096):
        pass
    return 0


def _container(plan: dict[str, Any], status: int) -> int:
    """Join the pod, fork the container's first process, and watch over it."""
    group: str | None = plan["device_group"]
    if group:
        device_cgroup.create(group, plan["device_rules"])
    try:
        _join(plan["join"])
        namespaces.unshare(namespaces.CLONE_NEWPID)
        child = os.fork()
        if child == 0:
            _first_process(plan, status)
        os.close(status)
        return _watch(child)
    finally:
        if group:
            device_cgroup.remove(group)


def _join(wanted: list[tuple[str, int]]) -> None:
    for path, kind in wanted:
        if kind != namespaces.CLONE_NEWNS:
            namespaces.setns(path, kind)
            continue
        # Entering a mount namespace leads to its root, which in a chroot is not ours.
        folder = os.getcwd()
        root = os.open(f"{path.removesuffix('/ns/mnt')}/root", os.O_PATH | os.O_CLOEXEC)
        namespaces.setns(path, kind)
        os.fchdir(root)
        os.chroot(".")
        os.chdir(folder)
        os.close(root)


def _watch(child: int) -> int:
    """Pass signals on until the child ends; kill it when the leash is let go."""
    ended = os.pidfd_open(child)
    ready = select.poll()
    ready.register(0, select.POLLIN)
    ready.register(ended, select.POLLIN)
    while True:
        events = dict(ready.poll())
        if ended in events:
            return process.exit_code(os.waitpid(child, 0)[1])
        wanted = os.read(0, 4096).split()
        if not wanted:
            ready.unregister(0)
            os.kill(child, signal.SIGKILL)
        for name in wanted:
            os.kill(child, signal.Signals[name.decode("ascii")])


def _first_process(plan: dict[str, Any], status: int) -> NoReturn:
    """Be PID 1: build the root, start the program, reap, and end as it ends."""
    try:
        process.set_parent_death_signal(signal.SIGKILL)
        if plan["device_group"]:
            device_cgroup.join(plan["device_group"])
        _build_root(plan)
        _report(status, ready=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP})
        program = os.fork()
        if program == 0:
            _start(plan, status)
        os.close(status)
        process.set_capabilities(["KILL"])
        os._exit(_reap(program))
    except OSError as error:
        _report(status, error=str(error.strerror or error), errno=error.errno)
    os._exit(_SETUP_FAILED)


def _build_root(plan: dict[str, Any]) -> None:
    os.umask(0o022)
    # Only here: the watcher stays on the host's mounts, or it could not remove the device group.
    namespaces.unshare(namespaces.CLONE_NEWNS)
    mount.make_private("/")
    mount.mount("tmpfs", plan["root"], "tmpfs", options="mode=755")
    for step in plan["steps"]:
        Step.from_json(step).apply(plan["root"])
    mount.pivot_root(plan["root"])


def _start(plan: dict[str, Any], status: int) -> NoReturn:
    """Become the container's program, or report why not."""
    try:
        _enter_terminal(plan)
        _become(plan)
        os.chdir(plan["working_dir"])
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number in (signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(plan["argv"][0], plan["argv"], plan["env"])  # noqa: S606
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        _report(status, error=str(error.strerror), errno=error.errno, program=plan["argv"][0])
        os._exit(_NOT_FOUND if missing else _NOT_EXECUTABLE)


def _enter_terminal(plan: dict[str, Any]) -> None:
    """Standard input: the terminal the user lent, or nothing."""
    terminal = plan["terminal_fd"]
    if terminal is None:
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        return
    os.dup2(terminal, 0)
    os.close(terminal)
    # A shell goes back to the process group it found; that of the sandbox it could not even name.
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)


def _become(plan: dict[str, Any]) -> None:
    """Take on the container's user and give up what it may not do."""
    keep = plan["capabilities"]
    process.limit_bounding_set(keep)
    if not plan["single_user"]:
        os.setgroups(plan["groups"])
    os.setresgid(plan["gid"], plan["gid"], plan["gid"])
    os.setresuid(plan["uid"], plan["uid"], plan["uid"])
    if plan["uid"] == 0:
        process.set_capabilities(keep)
    if plan["no_new_privileges"]:
        process.set_no_new_privileges()


def _reap(program: int) -> int:
    """Wait for every orphan; the program's exit code, once it has ended."""
    while True:
        number = signal.sigwait({signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP})
        if number != signal.SIGCHLD:
            os.kill(program, number)
            continue
        while True:
            pid, result = os.waitpid(-1, os.WNOHANG)
            if pid == program:
                return process.exit_code(result)
            if pid == 0:
                break


def _report(status: int, **facts: object) -> None:
    os.write(status, json.dumps(facts).encode() + b"\n")


def _read_line(fd: int) -> bytes:
    """The plan; nothing follows it before the status was reported."""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(fd, 65536)
        if not part:
            raise OSError(0, "the plan ends before its line does")
        line += part
    return line


if __name__ == "__main__":
    os._exit(main())
