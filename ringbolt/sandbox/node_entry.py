"""The process that enters the sandbox's node and does one thing there: run as a file by `node`.

Its one argument is JSON: which namespaces to enter, and what to do: become a program, run one and
say how long it took, keep a pod's network namespace by a bind mount, or let go of it. Input,
output and environment are the program's own. It is started for each call of a plugin: import
nothing that can be left out.
"""

import json
import os
import signal
import sys
import time
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from ringbolt.linux import mount, namespaces, process


def main(plan: dict[str, Any]) -> int:
    """Enter and do it."""
    folder = os.getcwd()
    with_root = os.open(plan["root"], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    # All are found before the first is entered: /proc shows them to those outside.
    joined = [(f"/proc/self/fd/{os.open(path, os.O_RDONLY)}", kind) for path, kind in plan["join"]]
    for path, kind in joined:
        namespaces.setns(path, kind)
    # Entering a mount namespace leads to its root, which in a chroot is not ours.
    os.fchdir(with_root)
    os.chroot(".")
    os.chdir(folder)
    for path, _ in joined:
        os.close(int(path.rpartition("/")[2]))
    # Not before: a change of credentials takes it back.
    process.set_parent_death_signal(signal.SIGTERM)
    return _WORK[plan["do"]](plan)


def _exec(plan: dict[str, Any]) -> int:
    """Become the program."""
    os.execvpe(plan["argv"][0], plan["argv"], os.environ)  # noqa: S606


def _time(plan: dict[str, Any]) -> int:
    """Run the program and write the seconds it took to `time_fd`."""
    began = time.perf_counter()
    argv = plan["argv"]
    pid = os.posix_spawn(argv[0], argv, os.environ)
    code = process.exit_code(os.waitpid(pid, 0)[1])
    os.write(plan["time_fd"], repr(time.perf_counter() - began).encode())
    return code


def _keep(plan: dict[str, Any]) -> int:
    """Bind the namespace `source` onto the file `target`, so that it outlives its processes."""
    os.close(os.open(plan["target"], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444))
    mount.bind(plan["source"], plan["target"])
    return 0


def _release(plan: dict[str, Any]) -> int:
    """Take it off again."""
    mount.umount(plan["target"], mount.MNT_DETACH)
    os.unlink(plan["target"])
    return 0


_WORK = {"exec": _exec, "time": _time, "keep": _keep, "release": _release}

if __name__ == "__main__":
    try:
        sys.exit(main(json.loads(sys.argv[1])))
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        sys.exit(1)
