"""Whether mounts that the agent makes are seen by kubelet and runtime. Changes nothing.

In a mount namespace of its own (a container, a systemd unit with file system protection) what is
mounted stays there, unless the kubelet's directory is a mount that is shared with the host's.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from ringbolt.linux.mount import MountPoint, read_mountinfo

_HOW = (
    "in a DaemonSet mount it with `mountPropagation: Bidirectional`, in a systemd unit use no file "
    "system protection (deploy/systemd/volumes.conf), and let it be shared on the host: "
    "`mount --make-rshared /`"
)


def find_lack(kubelet_dir: Path) -> str:
    """Why pods would not see their volumes, and what to do; empty if they do."""
    mounts = read_mountinfo()
    if not _is_apart(mounts):
        return ""
    return judge(mounts, os.path.realpath(kubelet_dir))


def judge(mounts: Iterable[MountPoint], folder: str) -> str:
    """The same, of the mounts of a namespace beside the host's."""
    mounts = tuple(mounts)
    above = [one for one in mounts if _covers(one.target, folder)]
    top = max(above, key=lambda one: len(one.target), default=None)
    if top is None or (top.target == "/" and top.fstype == "overlay"):
        return f"pods' volumes: {folder} of the host is not mounted into the agent's container"
    if not any(tag.startswith("shared:") for tag in top.propagation):
        return f"pods' volumes: what is mounted below {folder} is seen by the agent alone; {_HOW}"
    return ""


def _covers(target: str, folder: str) -> bool:
    return target in {"/", folder} or folder.startswith(target.rstrip("/") + "/")


def _is_apart(mounts: Iterable[MountPoint]) -> bool:
    """Whether this is not the first process's mount namespace; what may not look there is so."""
    if any(one.target == "/" and one.fstype == "overlay" for one in mounts):
        return True
    try:
        return not Path("/proc/self/ns/mnt").samefile("/proc/1/ns/mnt")
    except PermissionError:
        return True
