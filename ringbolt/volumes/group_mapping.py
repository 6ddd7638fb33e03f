"""A pod's group in a volume without touching its files: two groups change places in the mount.

A volume whose root lets its group write, whichever that is, is shown with that group and the pod's
changed about (an idmapped mount): what the one owns on the disk is the other's in the pod, and what
the pod makes is the volume's group's on the disk. It takes no time however many files there are,
and pods of different groups can share a volume. Where there is no such root yet, or a file system
cannot, files are given to the group one by one, as the kubelet does.
"""

import errno
import os
import stat
import threading
from collections import OrderedDict
from contextlib import suppress

from ringbolt.linux.mount import idmap
from ringbolt.linux.statfs import statfs
from ringbolt.linux.user_namespace import IdRange, open_user_namespace
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.mount_options import NO_IDMAP
from ringbolt.volumes.ownership import give_to_group
from ringbolt.volumes.volume import Volume

_CAN = frozenset({"ext4", "xfs", "btrfs", "f2fs"})
"""Those that have lasting owners and can be shown with others."""
_CANNOT = frozenset({errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENOSPC, errno.EOPNOTSUPP})
_READY = stat.S_IRGRP | stat.S_IWGRP | stat.S_IXGRP | stat.S_ISGID
_IDS = (1 << 32) - 1
"""How many ids there are; the last number is none."""
_MOST = 16


class GroupMappings:
    """Maps that were made, kept for the next time: each takes a process to make."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._namespaces: OrderedDict[tuple[int, int], int] = OrderedDict()

    def give(self, tree: int, group: int, volume: Volume, deadline: Deadline) -> None:
        """Let `group` write what a detached mount shows.

        Raises DeadlineError, RefusedError, OSError.
        """
        found = os.fstat(tree)
        ready = found.st_mode & _READY == _READY and found.st_gid != group
        if ready and NO_IDMAP not in volume.options and statfs(tree).name in _CAN:
            try:
                self._swap(tree, found.st_gid, group)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
            else:
                return
        give_to_group(tree, group, deadline)

    def close(self) -> None:
        """Let go of all that are kept; mounts keep theirs."""
        with self._turn:
            while self._namespaces:
                os.close(self._namespaces.popitem()[1])

    def _swap(self, tree: int, one: int, other: int) -> None:
        pair = (min(one, other), max(one, other))
        with self._turn:
            if pair not in self._namespaces:
                self._namespaces[pair] = open_user_namespace([IdRange(0, 0, _IDS)], swapped(*pair))
            self._namespaces.move_to_end(pair)
            idmap(tree, self._namespaces[pair])
            while len(self._namespaces) > _MOST:
                _, oldest = self._namespaces.popitem(last=False)
                with suppress(OSError):
                    os.close(oldest)


def swapped(low: int, high: int) -> tuple[IdRange, ...]:
    """All ids as they are, but two of them changed about; `low` is the smaller one."""
    ranges = (
        IdRange(0, 0, low),
        IdRange(low, high, 1),
        IdRange(low + 1, low + 1, high - low - 1),
        IdRange(high, low, 1),
        IdRange(high + 1, high + 1, _IDS - high - 1),
    )
    return tuple(one for one in ranges if one.length)
