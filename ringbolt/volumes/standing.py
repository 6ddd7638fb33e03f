"""How a place stands: nothing mounted, the right thing, stacked, dead, or somebody else's.

Looks, and puts right what can be put right without harm: copies on top of each other are taken off
until one is left, dead mounts are detached. What is not ours stays and is told of.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from ringbolt.linux.mount import MNT_DETACH, MNT_FORCE, MountPoint
from ringbolt.volumes import hanging
from ringbolt.volumes.errors import BusyError, ConflictError, DeadlineError
from ringbolt.volumes.mounts import CORRUPT, Mounts, Root, is_gone
from ringbolt.volumes.outcome import State
from ringbolt.volumes.paths import Spot

Right = Callable[[MountPoint, Root], bool]
"""Whether a mount is the one that is wanted."""

_MOST = 65536
"""More than the kernel lets anybody mount (fs.mount-max is 100,000 for all places together)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """`points` lie on each other, the lowest first."""

    state: State
    points: tuple[MountPoint, ...] = ()

    @property
    def top(self) -> MountPoint:
        """The one that is seen."""
        return self.points[-1]


def look(spot: Spot, right: Right) -> Standing:
    """How it stands now. Raises DeadlineError, OSError where that cannot be told."""
    # Reading mountinfo costs with all that is mounted on the node.
    points = Mounts.look().at(spot.path) if spot.is_mount() else ()
    if not points:
        return Standing(State.MISSING)
    if is_gone(points[-1]):
        return Standing(State.CORRUPT, points)
    try:
        root = read_root(spot, points[-1])
    except OSError as error:
        if error.errno in CORRUPT:
            return Standing(State.CORRUPT, points)
        raise
    top = points[-1]
    alike = all(_same(one, top) for one in points)
    if not alike or not right(top, root):
        return Standing(State.FOREIGN, points)
    return Standing(State.STACKED if len(points) > 1 else State.MOUNTED, points)


def read_root(spot: Spot, top: MountPoint) -> Root:
    """What is seen at a place. Raises OSError, of CORRUPT where the mount is dead."""
    if hanging.can_hang(top.fstype):
        return hanging.read_root(spot)
    fd = spot.fd()
    try:
        found = os.fstat(fd)
    finally:
        os.close(fd)
    return Root(found.st_dev, found.st_ino)


def settle(spot: Spot, right: Right) -> tuple[Standing, tuple[str, ...]]:
    """Put it right, so that the place is MISSING or MOUNTED; and what was done.

    Raises ConflictError where something is mounted that is not the wanted, OSError.
    """
    found = look(spot, right)
    if found.state is State.FOREIGN:
        raise ConflictError(f"{spot.path} has {described(found.points)} on it, which is not it")
    if found.state is State.CORRUPT:
        unmount_all(spot, MNT_DETACH)
        return Standing(State.MISSING), (f"detached what was dead at {spot.path}",)
    if found.state is State.STACKED:
        for _ in found.points[1:]:
            spot.unmount()
        remark = f"took {len(found.points) - 1} copies off {spot.path}"
        return Standing(State.MOUNTED, found.points[:1]), (remark,)
    return found, ()


class Unmounted(NamedTuple):
    """`lazily`: what hung was only detached; its users, if it has any, keep it alive."""

    number: int
    lazily: bool = False


def unmount_all(spot: Spot, flags: int = 0) -> Unmounted:
    """Take off everything at exactly this place. Raises BusyError, DeadlineError, OSError."""
    lazily = False
    hangs = any(hanging.can_hang(one.fstype) for one in Mounts.look().at(spot.path))
    for number in range(_MOST):
        try:
            if hangs:
                found, forced = _unmount_hanging(spot, flags)
                lazily |= forced
            else:
                found = spot.unmount(flags)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise BusyError(_busy(spot)) from None
            raise
        if not found:
            return Unmounted(number, lazily)
    raise BusyError(f"{spot.path}: something mounts on it as fast as it is unmounted")


def _unmount_hanging(spot: Spot, flags: int) -> tuple[bool, bool]:
    """Politely, by force, and at last out of sight only; whether there was any, and that.

    Who has a file open on what is dead cannot be waited for: it may never be able to close it.
    """
    for harder in (0, MNT_FORCE):
        with suppress(DeadlineError):
            try:
                return hanging.unmount(spot, flags | harder), False
            except OSError as error:
                if error.errno != errno.EBUSY or _answers(spot):
                    raise
                break
    return hanging.unmount(spot, MNT_DETACH), True


def _answers(spot: Spot) -> bool:
    try:
        hanging.read_root(spot)
    except DeadlineError:
        return False
    except OSError as error:
        return error.errno not in CORRUPT
    return True


def _busy(spot: Spot) -> str:
    below = Mounts.look().below(spot.path)
    if below:
        return f"{spot.path} is busy: {below[-1].target} is mounted in it"
    return f"{spot.path} is busy: a process has a file of it open, see `fuser -vm {spot.path}`"


def described(points: tuple[MountPoint, ...]) -> str:
    """What is mounted, for people."""
    return " under ".join(f"{one.fstype} {one.source}{one.root}" for one in reversed(points))


def _same(one: MountPoint, other: MountPoint) -> bool:
    return (one.device, one.root, one.fstype) == (other.device, other.root, other.fstype)
