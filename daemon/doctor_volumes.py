"""What pods' volumes need: rules, driver, directories, kernel, tools. Checks for `doctor`."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from daemon import cni_install, volume_install
from daemon.doctor import Check, Finding, Node, Verdict
from daemon.volume_policy import volume_policy
from ringbolt.linux import command, mount_api
from ringbolt.linux.inode_flags import get_flags
from ringbolt.linux.statfs import statfs
from ringbolt.volumes.inspection import ground_to_look
from ringbolt.volumes.mounts import Mounts
from ringbolt.volumes.paths import Places
from ringbolt.volumes.policy import Policy
from ringbolt.volumes.setting import Setting
from ringbolt.volumes.spec import Kind
from ringbolt.volumes.tracing import covering

_DRIVER_S = 5.0
_INSTALL = "ringbolt install"
_LEAST_FREE = 1 << 30
_LEAST_SHARE = 20
"""One of so many parts of a disk should be free."""


def _rules(node: Node) -> Finding | None:
    if node.config is None or node.config.volumes is None:
        return Finding(Verdict.OK, "none are configured: pods get theirs from elsewhere")
    count = len(_policy(node).rules)
    if not count:
        todo = "write rules below volumes.allow"
        return Finding(Verdict.WARN, "volumes.allow is empty: no pod gets a volume", todo)
    return Finding(Verdict.OK, f"{count} rule{'s' if count != 1 else ''} say who gets what")


def _roots(node: Node) -> Finding | None:
    missing = [one for one in _policy(node).roots if not Path(one).is_dir()]
    if missing:
        todo = "make them, or correct volumes.roots"
        return Finding(Verdict.WARN, f"{', '.join(missing)} of volumes.roots: not there", todo)
    roots = _policy(node).roots
    return Finding(Verdict.OK, f"{', '.join(roots)} can be had") if roots else None


def _driver(node: Node) -> Finding:
    """Where the running kubelet looks."""
    del node
    path = volume_install.find_folder() / volume_install.DRIVER
    if not path.exists():
        return Finding(Verdict.FAIL, f"{path} is not there: no pod gets a volume", _INSTALL)
    try:
        done = command.run([str(path), "init"], command.ENVIRONMENT, _DRIVER_S)
    except OSError as error:
        return Finding(Verdict.FAIL, f"{path} cannot be run: {error.strerror}", _INSTALL)
    if done.failure or not _is_success(done.output):
        what = done.failure or "its answer is not that of a driver"
        return Finding(Verdict.FAIL, f"{path} does not answer init: {what}", _INSTALL)
    try:
        is_ours = path.read_bytes() == cni_install.find_launcher().read_bytes()
    except OSError:
        return Finding(Verdict.OK, f"{path} answers")
    if not is_ours:
        return Finding(Verdict.WARN, f"{path} answers, and is of another version", _INSTALL)
    return Finding(Verdict.OK, f"{path} answers")


def _is_success(text: str) -> bool:
    try:
        return bool(json.loads(text)["status"] == "Success")
    except (ValueError, KeyError, TypeError):
        return False


def _kubelet_dir(node: Node) -> Finding:
    """Mounts made below it must reach the host and the pods."""
    folder = node.places.kubelet_dir
    if not folder.is_dir():
        return Finding(Verdict.FAIL, f"{folder} is not there", "set --kubelet-dir")
    shown = os.path.realpath(folder)  # as mountinfo has it
    point = covering(Mounts.look(), shown)
    if point and not _is_shared(point.mount_id):
        what = f"{folder} lies on {point.target}, whose mounts reach no other mount namespace"
        return Finding(Verdict.WARN, what, f"mount --make-rshared {point.target}")
    return Finding(Verdict.OK, f"what is mounted below {folder} is seen by all")


def _is_shared(mount_id: int) -> bool:
    for line in Mounts.look().text.splitlines():
        fields = line.partition(" - ")[0].split(" ")
        if fields[0] == str(mount_id):
            return any(one.startswith("shared:") for one in fields[6:])
    return False


def _guards(node: Node) -> Finding:
    """Whether empty directories below mounts can be made immutable."""
    folder = node.places.kubelet_dir
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        get_flags(fd)
        name = statfs(fd).name
    except OSError:
        what = f"{folder} lies on a file system without chattr +i: should a mount go, pods would"
        return Finding(Verdict.WARN, f"{what} write to it", "put it on ext4, xfs or btrfs")
    finally:
        os.close(fd)
    return Finding(Verdict.OK, f"{folder} lies on {name}: without its mount none can be written to")


def _room(node: Node) -> Finding:
    """Where image files lie."""
    folder = node.places.state_dir
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    found = statfs(str(there))
    free = f"{found.available >> 20} MiB are free below {folder}"
    if found.available < min(_LEAST_FREE, found.size // _LEAST_SHARE):
        return Finding(Verdict.WARN, free, "make room: volumes in image files lie there")
    return Finding(Verdict.OK, free)


def _kernel(node: Node) -> Finding:
    del node
    if not mount_api.is_supported():
        what = "the kernel has no fsopen and move_mount"
        return Finding(Verdict.FAIL, what, "use Linux 5.12 or later, without a seccomp filter")
    return Finding(Verdict.OK, "mounts are built aside and put in place whole")


def _kinds(node: Node) -> Finding:
    """What the kinds that rules give need."""
    places = Places(node.places.run_dir, node.places.state_dir, node.places.kubelet_dir)
    ground = ground_to_look(Setting(places, _policy(node)))
    wanted = {kind for rule in ground.policy.rules for kind in rule.kinds}
    found = {kind.value: ground.backends.get(kind) for kind in Kind if kind in wanted}
    lacks = {name: one.lacks() if one else "it is not built in" for name, one in found.items()}
    lacking = {name: lack for name, lack in lacks.items() if lack}
    if lacking:
        what = f"rules give {', '.join(lacking)}, which this node cannot"
        return Finding(Verdict.WARN, what, "; ".join(lacking.values()))
    return Finding(Verdict.OK, "this node can all kinds that rules give")


def _policy(node: Node) -> Policy:
    return volume_policy(node.config.volumes if node.config else None)


def _with_volumes(check: Check) -> Callable[[Node], Finding | None]:
    return lambda node: check(node) if _policy(node).rules else None


CHECKS: tuple[tuple[str, Check], ...] = (
    ("volumes", _rules),
    *(
        (name, _with_volumes(check))
        for name, check in (
            ("volumes' roots", _roots),
            ("volume driver", _driver),
            ("kubelet's directory", _kubelet_dir),
            ("mount guards", _guards),
            ("room for volumes", _room),
            ("mounting", _kernel),
            ("kinds of volumes", _kinds),
        )
    ),
)
