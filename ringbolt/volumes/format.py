"""Make a file system where there is provably nothing, and find the one that is there otherwise.

mkfs runs here and nowhere else, and takes a `Blank`, which only `blankness` makes. What is there
already is never changed: another file system than the wanted one is a refusal.
"""

import os
import uuid
from dataclasses import dataclass

from ringbolt.linux import command
from ringbolt.linux.command import ENVIRONMENT, Handed
from ringbolt.volumes.blankness import Blank, prove_blank, prove_unfinished
from ringbolt.volumes.content import find_filesystem
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import (
    DeadlineError,
    FullError,
    InvalidError,
    MismatchError,
    NotAvailableError,
    NotBlankError,
)
from ringbolt.volumes.filesystem_check import is_sound
from ringbolt.volumes.held import Held
from ringbolt.volumes.spec import FormatPolicy, FsType
from ringbolt.volumes.superblock import Superblock
from ringbolt.volumes.tombstones import Tombstone, Tombstones

PACKAGES = {FsType.EXT4: "e2fsprogs", FsType.XFS: "xfsprogs", FsType.BTRFS: "btrfs-progs"}
"""Where the programs of a file system are from, by Debian's names."""

SMALLEST = {FsType.EXT4: 256 << 10, FsType.XFS: 300 << 20, FsType.BTRFS: 109 << 20}
"""Bytes that mkfs wants at least (mkfs.xfs 6, mkfs.btrfs 6 with data and metadata apart)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """`fs_type` None takes what is there. `encryptable` makes an ext4 ready for fscrypt."""

    fs_type: FsType | None
    policy: FormatPolicy
    encryptable: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """The file system that is there now; `made` in this call."""

    superblock: Superblock
    made: bool


def ensure_filesystem(
    held: Held, wanted: Wanted, tombstones: Tombstones, deadline: Deadline
) -> Ready:
    """Find the wanted file system, or make it where `wanted` allows that and nothing is there.

    Raises MismatchError (another one is there), NotBlankError, InvalidError (too small),
    NotAvailableError, FullError, DeadlineError, and OSError where the device cannot be read.
    """
    if wanted.policy is FormatPolicy.IF_BLANK and (blank := _begun(held, tombstones, deadline)):
        return Ready(_make(blank, wanted, tombstones, deadline), made=True)
    found = find_filesystem(held)
    if found is None:
        if wanted.policy is FormatPolicy.NEVER:
            raise NotBlankError(
                f"{held.name} holds no file system that is known here, and `format` is never; "
                "nothing was written. With format: if-blank one is made if it holds zeros only"
            )
        return Ready(_make(prove_blank(held), wanted, tombstones, deadline), made=True)
    _require(found, wanted, held)
    tombstones.finish(held.identity)
    return Ready(found, made=False)


def _begun(held: Held, tombstones: Tombstones, deadline: Deadline) -> Blank | None:
    """Proof that only our own unfinished file system is there; None: look at it as at any other."""
    tombstone = tombstones.find(held.identity)
    if tombstone is None:
        return None
    try:
        return prove_unfinished(held, tombstone.fs_type)
    except NotBlankError:
        found = find_filesystem(held)
    if found is None or found.uuid != tombstone.uuid:
        return None
    if not found.unfinished and (not found.fresh or is_sound(held, found.fs_type, deadline)):
        return None
    return Blank(held)


def _require(found: Superblock, wanted: Wanted, held: Held) -> None:
    if wanted.fs_type is not None and wanted.fs_type is not found.fs_type:
        raise MismatchError(
            f"{held.name} holds {found.fs_type.value}, not {wanted.fs_type.value}; nothing was "
            "written. Ask for the file system that is there, or name another device"
        )
    if found.unfinished:
        raise MismatchError(
            f"{held.name} holds an {found.fs_type.value} that was never finished; nothing was "
            "written. Look at it with the tools of that file system"
        )
    if wanted.encryptable and not found.encryptable:
        raise MismatchError(
            f"{held.name} holds a file system that is not ready for encryption; `tune2fs -O "
            "encrypt` makes an ext4 ready"
        )


def _make(blank: Blank, wanted: Wanted, tombstones: Tombstones, deadline: Deadline) -> Superblock:
    held = blank.held
    fs_type = wanted.fs_type or FsType.EXT4
    if held.size < SMALLEST[fs_type]:
        raise InvalidError(
            f"{held.name} has {held.size} bytes, {fs_type.value} needs {SMALLEST[fs_type]}"
        )
    tombstone = Tombstone(fs_type, uuid.uuid4())
    tombstones.begin(held.identity, tombstone)
    with held.shown() as (path, fds):
        argv = _argv(tombstone, wanted, path)
        _run(argv, fs_type, held, fds, deadline)
    os.fsync(held.fd)
    held.refresh()
    made = find_filesystem(held)
    if made is None or made.uuid != tombstone.uuid or made.unfinished:
        raise MismatchError(
            f"{held.name} was formatted, but what is read back is not what was written: the "
            "device loses or lies about writes; do not use it"
        )
    tombstones.finish(held.identity)
    return made


def _argv(tombstone: Tombstone, wanted: Wanted, path: str) -> tuple[str, ...]:
    """No option that forces: the programs look once more for themselves. Nothing is discarded."""
    name = str(tombstone.uuid)
    match tombstone.fs_type:
        case FsType.EXT4:
            features = ("-O", "encrypt") if wanted.encryptable else ()
            return ("mkfs.ext4", "-q", "-m0", "-Enodiscard", "-U", name, *features, path)
        case FsType.XFS:
            return ("mkfs.xfs", "-q", "-K", "-m", f"uuid={name}", path)
        case FsType.BTRFS:
            return ("mkfs.btrfs", "-q", "-K", "-U", name, path)


def _run(
    argv: tuple[str, ...], fs_type: FsType, held: Held, fds: tuple[int, ...], deadline: Deadline
) -> None:
    try:
        outcome = command.run(argv, ENVIRONMENT, deadline.left_s(), Handed(fds=fds))
    except FileNotFoundError as error:
        raise NotAvailableError(
            f"{argv[0]} is not installed on this node: install {PACKAGES[fs_type]}"
        ) from error
    if outcome.code is None:
        raise DeadlineError(f"{argv[0]} on {held.name} took too long; the next try goes on with it")
    if outcome.code:
        if "No space left" in outcome.output:
            raise FullError(f"{held.name}: no space is left for the file system's own blocks")
        raise MismatchError(f"{held.name}: {argv[0]} {outcome.failure}")
