"""Device nodes: what lstat says of one, making one, and asking sysfs for an event about one."""

import os
import stat
from typing import NamedTuple

from ringbolt.linux import libc

_KINDS = {stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}
_FORMATS = {kind: bits for bits, kind in _KINDS.items()}


class DeviceNode(NamedTuple):
    """A node of its own: `kind` is "c", "b" or "p" (FIFO), `mode` the permission bits."""

    kind: str
    major: int
    minor: int
    mode: int
    uid: int = 0
    gid: int = 0


def read_node(path: str) -> DeviceNode | None:
    """The node at `path`, which is not followed; None where something else stands.

    Raises OSError where nothing does.
    """
    found = os.lstat(path)
    kind = _KINDS.get(stat.S_IFMT(found.st_mode))
    if kind is None:
        return None
    return DeviceNode(
        kind,
        os.major(found.st_rdev),
        os.minor(found.st_rdev),
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
    )


def make_node(path: str, node: DeviceNode) -> None:
    """Make `path` a node with that owner and mode whatever the umask. Raises OSError."""
    try:
        os.mknod(path, _FORMATS[node.kind] | 0o600, os.makedev(node.major, node.minor))
    except OSError as error:
        number = f"{node.kind} {node.major}:{node.minor}"
        raise libc.failed(error.errno or 0, "mknod", path, number) from None
    os.chown(path, node.uid, node.gid)
    os.chmod(path, node.mode)


def synthesise_uevent(sys_path: str, action: str = "change") -> None:
    """Have the kernel send a uevent for a device (Documentation/ABI/testing/sysfs-uevent).

    `sys_path` is its directory below /sys. It announces, it does not add or remove anything.
    """
    path = f"{sys_path}/uevent"
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, action.encode("ascii"))
    except OSError as error:
        raise libc.failed(error.errno or 0, "write", path, action) from None
    finally:
        os.close(fd)
