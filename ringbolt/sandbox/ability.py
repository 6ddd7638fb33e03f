"""What this machine lets this user do for containers, found once and told in plain sentences."""

import enum
import os
import subprocess
import sys
from dataclasses import dataclass

from ringbolt.linux import device_cgroup, mount, namespaces, process

_NEEDED = frozenset({"SYS_ADMIN", "NET_ADMIN", "MKNOD", "SETUID", "SETGID", "SETPCAP", "CHOWN"})
_PROBE = (
    "import ctypes, sys; libc = ctypes.CDLL(None, use_errno=True); "
    f"sys.exit(libc.unshare({namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWNS:#x}) and 1)"
)
_PROBE_DEADLINE_S = 20


class Means(enum.Enum):
    """How containers are made."""

    ROOT = "root"
    """Real device nodes, real users."""
    USER_NAMESPACE = "user namespace"
    """The host's nodes bound into place; one user."""
    NONE = "none"
    """Not at all."""


@dataclass(frozen=True, slots=True)
class Ability:
    """The means, the device group below which containers get theirs, and what is left out."""

    means: Means
    device_group: str | None
    lacks: tuple[str, ...]


def find_ability() -> Ability:
    """Look at this process's privileges; starts a short process where only a try can tell."""
    if not mount.root_is_mount():
        return Ability(Means.NONE, None, (_CHROOT,))
    held = process.effective_capabilities()
    if held >= _NEEDED and namespaces.in_initial_user_namespace():
        return _as_root()
    if _user_namespaces_allowed():
        return Ability(Means.USER_NAMESPACE, None, _USER_NAMESPACE_LACKS)
    return Ability(Means.NONE, None, _NONE_LACKS)


def _as_root() -> Ability:
    group = device_cgroup.own_group()
    if group is not None and os.access(group, os.W_OK):
        return Ability(Means.ROOT, group, ())
    return Ability(Means.ROOT, None, (_NO_GROUP,))


def _user_namespaces_allowed() -> bool:
    probe = subprocess.run([sys.executable, "-SIc", _PROBE], check=False, timeout=_PROBE_DEADLINE_S)
    return probe.returncode == 0


_NO_GROUP = (
    "There is no writable cgroup v1 device controller (cgroup v2 needs an eBPF program, which the "
    "sandbox does not load): containers lose CAP_MKNOD instead, so they open only the nodes they "
    "were given; r, w and m in a device's permissions are not enforced one by one."
)
_CHROOT = (
    "This is a bare chroot: `/` is no mount point, so the kernel gives containers no root of their "
    "own and no pod can be run. Enter it with `systemd-nspawn`, or bind it onto itself first: "
    "`mount --bind DIRECTORY DIRECTORY && chroot DIRECTORY`."
)
_USER_NAMESPACE_LACKS = (
    (
        "Without root no device node can be made: the host's own nodes are bound into the "
        "container, with the host's owner and mode, so a container opens only what you may open."
    ),
    (
        "A CDI file's uid, gid and mode have no effect, and runAsUser must be 0: the user "
        "namespace has one user, you."
    ),
    "Permissions (rwm) are the host's: there is no device cgroup without root.",
)
_NONE_LACKS = (
    (
        "This user may make no user namespace, so no pod can be run. Run this command as root, or "
        "let root allow it: `sysctl user.max_user_namespaces=10000`, on Debian also "
        "`sysctl kernel.unprivileged_userns_clone=1`, on Ubuntu "
        "`sysctl kernel.apparmor_restrict_unprivileged_userns=0`; in a container, a seccomp "
        "profile that lets unshare(2) through."
    ),
)
