"""What is mounted where, by /proc/.../mountinfo: the only truth about mounts.

One look is one value; questions cost what they ask for, not what else is mounted on the node.
"""

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from ringbolt.linux.mount import MountPoint, parse_mountinfo

CORRUPT = frozenset(
    {
        errno.ENOTCONN,
        errno.ESTALE,
        errno.EIO,
        errno.EACCES,
        errno.EHOSTDOWN,
        errno.EWOULDBLOCK,
        errno.ENODEV,
    }
)
"""What opening a dead mount answers (IsCorruptedMnt of Kubernetes' mount-utils)."""

_ESCAPED = {ord(character): f"\\{ord(character):03o}" for character in " \t\n\\"}
_MOUNTINFO = "/proc/thread-self/mountinfo"


class Root(NamedTuple):
    """What a mount shows at its root: `st_dev` and `st_ino`."""

    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Mounts:
    """One look at the mounts of this mount namespace."""

    text: str

    @classmethod
    def look(cls) -> Self:
        """As it is now."""
        with open(_MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            return cls(file.read())

    def at(self, path: str) -> tuple[MountPoint, ...]:
        """What is mounted at exactly `path`, the lowest first."""
        found = [one for one in self._like(f" {_escaped(path)} ") if one.target == path]
        return tuple(_stacked(found))

    def of(self, device: tuple[int, int]) -> tuple[MountPoint, ...]:
        """Every mount of a superblock."""
        number = f" {device[0]}:{device[1]} "
        return tuple(one for one in self._like(number) if one.device == device)

    def below(self, path: str) -> tuple[MountPoint, ...]:
        """What is mounted under `path`, itself not."""
        prefix = path.rstrip("/") + "/"
        found = self._like(f" {_escaped(prefix)}")
        return tuple(one for one in found if one.target.startswith(prefix))

    def _like(self, text: str) -> tuple[MountPoint, ...]:
        """Parse only the lines that hold `text`."""
        lines: list[str] = []
        start = self.text.find(text)
        while start >= 0:
            end = self.text.find("\n", start)
            lines.append(self.text[self.text.rfind("\n", 0, start) + 1 : end])
            start = self.text.find(text, end)
        return tuple(parse_mountinfo("\n".join(lines)))


def is_gone(point: MountPoint, sysfs: str = "/sys") -> bool:
    """Whether the disk below a mount was taken out: what it still shows is what was cached.

    A btrfs numbers its mounts by itself and is known by its source.
    """
    major, minor = point.device
    if major:
        return not Path(sysfs, "dev", "block", f"{major}:{minor}").exists()
    if point.fstype != "btrfs":
        return False
    return not Path(sysfs, "class", "block", Path(point.source).name).exists()


def _escaped(path: str) -> str:
    return path.translate(_ESCAPED)


def _stacked(found: list[MountPoint]) -> list[MountPoint]:
    """In the order in which they lie on each other, by who is whose parent."""
    parents = {one.mount_id: one.parent_id for one in found}

    def height(mount_id: int) -> int:
        above = 0
        while (mount_id := parents.get(mount_id, 0)) in parents:
            above += 1
        return above

    return sorted(found, key=lambda one: height(one.mount_id))
