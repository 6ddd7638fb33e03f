"""The device controller of cgroup v1: which device nodes the processes of a group may open.

cgroup v2 has no such file; there the same takes an eBPF program (BPF_CGROUP_DEVICE).
"""

import os
import time
from collections.abc import Iterable

from ringbolt.linux import libc
from ringbolt.linux.mount import read_mountinfo

_REMOVAL_DEADLINE_S = 2.0


def own_group() -> str | None:
    """The directory of this process's group in the device hierarchy; None where there is none."""
    point = next((p for p in read_mountinfo() if "devices" in p.super_options), None)
    if point is None or point.fstype != "cgroup":
        return None
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if "devices" in controllers.split(","):
                below = path.removeprefix(point.root.rstrip("/")).strip("/")
                return os.path.join(point.target, below).rstrip("/")
    return None


def create(group: str, allowed: Iterable[str]) -> None:
    """Make a group that denies all but the `allowed` rules (`c 10:229 rw`). Raises OSError."""
    os.mkdir(group)
    libc.write(f"{group}/devices.deny", "a")
    for rule in allowed:
        libc.write(f"{group}/devices.allow", rule)


def join(group: str) -> None:
    """Move this process into the group."""
    libc.write(f"{group}/cgroup.procs", "0")


def remove(group: str) -> None:
    """Remove the group; a process just killed may leave it a moment late, which is waited for."""
    deadline = time.monotonic() + _REMOVAL_DEADLINE_S
    while True:
        try:
            return os.rmdir(group)
        except FileNotFoundError:
            return None
        except OSError as error:
            if time.monotonic() > deadline:
                raise libc.failed(error.errno or 0, "rmdir", group) from None
            time.sleep(0.002)
