"""Check a file system before it is mounted for writing, as its superblock says that it needs.

A check never guesses: what cannot be mended without a decision is a refusal, and the file system
stays as it is. Exit codes: e2fsck(8), xfs_repair(8), btrfs-check(8).
"""

import enum

from ringbolt.linux import command
from ringbolt.linux.command import ENVIRONMENT, Handed, Outcome
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import DeadlineError, MismatchError, NotAvailableError
from ringbolt.volumes.held import Held
from ringbolt.volumes.spec import FsType
from ringbolt.volumes.superblock import Superblock

PROGRAMS = {FsType.EXT4: "e2fsck", FsType.XFS: "xfs_repair", FsType.BTRFS: "btrfs"}

_LOOK: dict[FsType, tuple[str, ...]] = {
    FsType.EXT4: ("e2fsck", "-f", "-n"),
    FsType.XFS: ("xfs_repair", "-n"),
    FsType.BTRFS: ("btrfs", "check", "--readonly"),
}
_E2FSCK_MENDED = 3
"""Bits of the exit code: errors were corrected, and the system should be restarted for it."""


class CheckPolicy(enum.Enum):
    """How much a check may change: nothing, what is safe beyond doubt, or all that it can."""

    NEVER = "never"
    PREEN = "preen"
    REPAIR = "repair"


def is_sound(held: Held, fs_type: FsType, deadline: Deadline) -> bool:
    """Whether the program that knows the file system finds no fault; it writes nothing.

    Raises NotAvailableError, DeadlineError.
    """
    return _run(_LOOK[fs_type], held, deadline).code == 0


def check_filesystem(held: Held, found: Superblock, policy: CheckPolicy, deadline: Deadline) -> str:
    """Have a file system checked that says it needs it; what was mended, empty if nothing was.

    xfs and btrfs replay their logs when they are mounted and have no check that changes only what
    is safe beyond doubt. Raises MismatchError (it must be looked at by hand), NotAvailableError,
    DeadlineError.
    """
    if policy is CheckPolicy.NEVER or found.fs_type is not FsType.EXT4 or not found.faults:
        return ""
    why = "; ".join(found.faults)
    argv = ("e2fsck", "-p" if policy is CheckPolicy.PREEN else "-y", "-f")
    outcome = _run(argv, held, deadline)
    assert outcome.code is not None
    if outcome.code & ~_E2FSCK_MENDED:
        raise MismatchError(
            f"{held.name}: {why}, and e2fsck found what it does not mend by itself: "
            f"{_last_line(outcome)}. Run e2fsck on it by hand; nothing else was changed"
        )
    return f"{held.name} was checked ({why}): " + ("mended" if outcome.code else "no fault")


def _run(argv: tuple[str, ...], held: Held, deadline: Deadline) -> Outcome:
    with held.shown() as (path, fds):
        try:
            outcome = command.run((*argv, path), ENVIRONMENT, deadline.left_s(), Handed(fds=fds))
        except FileNotFoundError as error:
            raise NotAvailableError(f"{argv[0]} is not installed on this node") from error
    if outcome.code is None:
        raise DeadlineError(f"{argv[0]} on {held.name} took too long and was ended; try again")
    return outcome


def _last_line(outcome: Outcome) -> str:
    lines = [line for line in outcome.output.splitlines() if line.strip()]
    return lines[-1].strip() if lines else outcome.failure
