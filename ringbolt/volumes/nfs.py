"""Volumes that are exports of NFS servers, by mount.nfs(8).

Each has a superblock of its own (nosharecache), so that no other volume keeps it alive or changes
how it behaves. The data is the server's: it is never deleted here.
"""

import re
from contextlib import ExitStack

from ringbolt.linux.mount import MountPoint
from ringbolt.linux.mount_program import TARGET, Program
from ringbolt.volumes.ability import CONTAINER_CONTEXT, NODE, Ability
from ringbolt.volumes.aside import Aside
from ringbolt.volumes.backend import Ask
from ringbolt.volumes.errors import InvalidError, RefusedError
from ringbolt.volumes.mount_options import option_name
from ringbolt.volumes.mounts import Root
from ringbolt.volumes.outcome import Created
from ringbolt.volumes.paths import Places
from ringbolt.volumes.spec import Encryption, Kind, Nfs
from ringbolt.volumes.volume import Volume

_HOST = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?\]",
    re.ASCII,
)
_ALWAYS = ("nosuid", "nodev", "nosharecache", "retry=0")
"""`retry`: the kubelet tries again, a mount program that does holds a volume meanwhile."""


class NfsBackend:
    """The kind `nfs`."""

    kind = Kind.NFS
    staged = True
    options = frozenset(
        {
            *("vers", "nfsvers", "minorversion", "rsize", "wsize", "timeo", "retrans"),
            *("hard", "soft", "softerr", "softreval", "nosoftreval", "intr", "nointr", "sync"),
            *("ac", "noac", "acregmin", "acregmax", "acdirmin", "acdirmax", "actimeo", "cto"),
            *("nocto", "lookupcache", "nconnect", "max_connect", "rdirplus", "nordirplus"),
            *("lock", "nolock", "local_lock", "acl", "noacl", "proto", "tcp", "udp", "rdma"),
            *("resvport", "noresvport", "xprtsec", "async", "sec=sys", "sec=none"),
        }
    )
    """Of nfs(5): none names another server, a port, a file or goes on in the background. Kerberos
    takes the tickets of the node and its users, which are not the pod's to use."""

    def __init__(self, places: Places, node: Ability = NODE) -> None:
        self._aside = Aside(places)
        self._node = node

    def lacks(self) -> str:
        """The kernel's client and the program."""
        return self._node.lacks_program("mount.nfs") or self._node.lacks_filesystem("nfs")

    def validate(self, volume: Volume) -> None:
        """Raise InvalidError for what an export cannot be."""
        check_host(_spec(volume).server)
        check_plain(volume)

    def create(self, ask: Ask) -> Created:
        """The server has it, or mounting says so."""
        return Created(ask.volume.id, None, fresh=False)

    def open_tree(self, ask: Ask, undo: ExitStack) -> int:
        """Have it mounted aside. What becomes read-only is each publication, not the superblock."""
        del undo  # a detached mount goes with its descriptor
        spec = _spec(ask.volume)
        options = ",".join((*_ALWAYS, *context_of(self._node, ask), *ask.options))
        program = self._node.program("mount.nfs") or "mount.nfs"
        argv = (program, f"{spec.server}:{spec.path}", TARGET, "-n", "-o", options)
        return self._aside.mount(Program(argv), ask).tree

    def holds(self, volume: Volume, point: MountPoint, root: Root) -> bool:
        """By its type and source; the place is of this volume's id alone."""
        del root
        spec = _spec(volume)
        return point.fstype in ("nfs", "nfs4") and point.source == f"{spec.server}:{spec.path}"

    def release(self, volume: Volume) -> None:
        """Nothing is held."""

    def delete(self, volume: Volume) -> bool:
        """Never: it is the server's."""
        raise RefusedError(f"{_spec(volume).server} has the data: delete it there")


def check_host(text: str) -> None:
    """A host name or address, with IPv6 in brackets. Raises InvalidError."""
    if not _HOST.fullmatch(text):
        raise InvalidError(f"{text[:80]!r} is no host name or address ([2001:db8::1] for IPv6)")


def check_plain(volume: Volume) -> None:
    """What no file system of another machine can be. Raises InvalidError."""
    if volume.block:
        raise InvalidError(f"a {volume.kind.value} volume is no block device")
    if volume.encryption is not Encryption.NONE:
        raise InvalidError(f"a {volume.kind.value} volume cannot be encrypted here")


def context_of(node: Ability, ask: Ask) -> tuple[str, ...]:
    """The label of all its files where SELinux would let no container read them otherwise."""
    asked = any(option_name(option) == "context" for option in ask.options)
    if asked or not node.selinux_enforces():
        return ()
    return (f"context={CONTAINER_CONTEXT}",)


def _spec(volume: Volume) -> Nfs:
    if not isinstance(volume.spec, Nfs):
        raise RefusedError(f"{volume.kind.value} is not nfs")
    return volume.spec
