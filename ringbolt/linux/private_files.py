"""Programs run where some directories show files that only they see.

For what takes secrets from its own configuration alone: the files lie on a tmpfs of a mount
namespace of theirs, and are gone with the last of them.
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ringbolt.linux import command
from ringbolt.linux.command import ENVIRONMENT, Handed, Outcome
from ringbolt.linux.mount import MS_NODEV, MS_NOSUID, MS_REC, MS_SLAVE, mount, read_mountinfo
from ringbolt.linux.namespaces import CLONE_NEWNS, unshare

_MAIN = (
    "import sys; sys.path.insert(0, sys.argv[1])\n"
    "from ringbolt.linux import private_files\nprivate_files.main()"
)


@dataclass(frozen=True, slots=True)
class Private:
    """`folder` shows `files` (by name) instead of what is there, `empty` directories nothing."""

    folder: str
    files: Mapping[str, bytes] = field(repr=False)
    empty: tuple[str, ...] = ()


def run_private(argvs: Sequence[Sequence[str]], private: Private, timeout_s: float) -> Outcome:
    """Run programs one after the other, until one fails; all are killed once the time is over.

    Raises OSError where nothing can be started.
    """
    files = {name: base64.b64encode(data).decode() for name, data in private.files.items()}
    job = {"argvs": argvs, "folder": private.folder, "files": files, "empty": private.empty}
    argv = (sys.executable, "-I", "-S", "-c", _MAIN, str(Path(__file__).parents[2]))
    return command.run(argv, ENVIRONMENT, timeout_s, Handed(json.dumps(job).encode()))


def main() -> None:
    """The child: what it makes is seen by what it starts alone."""
    job = json.load(sys.stdin)
    unshare(CLONE_NEWNS)
    for target in ("/", *(one.target for one in read_mountinfo())):
        with suppress(OSError):  # a chroot's root is no mount
            mount("", target, flags=MS_SLAVE | (MS_REC if target == "/" else 0))
    for folder in (job["folder"], *job["empty"]):
        mount("ringbolt", folder, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=0700")
    for name, data in job["files"].items():
        fd = os.open(f"{job['folder']}/{name}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(base64.b64decode(data))
    for argv in job["argvs"]:
        code = subprocess.run(argv, env=ENVIRONMENT, stdin=subprocess.DEVNULL, check=False)
        if code.returncode:
            sys.exit(code.returncode if code.returncode > 0 else 128)
