"""Mount options, told apart: what the mount itself is given and what the superblock is. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from ringbolt.linux import mount
from ringbolt.volumes.errors import InvalidError

_ATTRIBUTES = {
    "nosuid": mount.MOUNT_ATTR_NOSUID,
    "nodev": mount.MOUNT_ATTR_NODEV,
    "noexec": mount.MOUNT_ATTR_NOEXEC,
    "noatime": mount.MOUNT_ATTR_NOATIME,
    "strictatime": mount.MOUNT_ATTR_STRICTATIME,
    "nodiratime": mount.MOUNT_ATTR_NODIRATIME,
    "nosymfollow": mount.MOUNT_ATTR_NOSYMFOLLOW,
}
_TRUST = {"suid": mount.MOUNT_ATTR_NOSUID, "dev": mount.MOUNT_ATTR_NODEV}
_PLAIN = frozenset({"defaults", "rw", "relatime", "exec", "atime", "diratime", "symfollow"})
"""What is so anyway."""

NO_IDMAP = "noidmap"
"""Ours: a pod's group is given files one by one. A runtime cannot map such a mount once more."""

_ALWAYS = mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV

_SHOWN = (
    (mount.MOUNT_ATTR_RDONLY, "ro"),
    (mount.MOUNT_ATTR_NOSUID, "nosuid"),
    (mount.MOUNT_ATTR_NODEV, "nodev"),
    (mount.MOUNT_ATTR_NOEXEC, "noexec"),
    (mount.MOUNT_ATTR_NOATIME, "noatime"),
    (mount.MOUNT_ATTR_NODIRATIME, "nodiratime"),
    (mount.MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow"),
)
"""How mountinfo tells of them."""


@dataclass(frozen=True, slots=True)
class Options:
    """`attributes`: MOUNT_ATTR_* to set. `trust`: of `always`, what is asked not to be set."""

    attributes: int
    trust: int
    readonly: bool
    superblock: tuple[str, ...]


def parse_options(options: Iterable[str]) -> Options:
    """Tell them apart. Raises InvalidError for options that contradict each other."""
    attributes = trust = 0
    readonly = False
    superblock: list[str] = []
    for option in options:
        attributes |= _ATTRIBUTES.get(option, 0)
        trust |= _TRUST.get(option, 0)
        readonly |= option == "ro"
        if option not in _ATTRIBUTES and option not in _TRUST | dict.fromkeys(
            (*_PLAIN, "ro", NO_IDMAP)
        ):
            superblock.append(option)
    if attributes & trust:
        raise InvalidError("mount options contradict each other: suid and nosuid, or dev and nodev")
    if attributes & mount.MOUNT_ATTR_NOATIME and attributes & mount.MOUNT_ATTR_STRICTATIME:
        raise InvalidError("mount options contradict each other: noatime and strictatime")
    return Options(attributes, trust, readonly, tuple(superblock))


def always(block: bool) -> int:  # noqa: FBT001  # of `Volume.block`
    """What every mount is given unasked; a device's node under `nodev` could not be opened."""
    return _ALWAYS & ~mount.MOUNT_ATTR_NODEV if block else _ALWAYS


def option_name(option: str) -> str:
    """Without its value, which may be nobody's business."""
    return option.partition("=")[0]


def shown_as(attributes: int) -> frozenset[str]:
    """The words that mountinfo has for attributes."""
    return frozenset(word for attribute, word in _SHOWN if attributes & attribute)


DECIDED = shown_as(-1)
"""All words of mountinfo that `shown_as` may say: of two mounts that agree, these agree."""
