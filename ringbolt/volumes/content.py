"""What is on a device, judged: one file system that may be mounted, nothing known, or a refusal.

The first of two questions; "is it blank" is another, and `blankness` alone answers it.
"""

from collections.abc import Iterable

from ringbolt.volumes.errors import MismatchError
from ringbolt.volumes.held import Held
from ringbolt.volumes.signatures import Signature, Usage, find_signatures
from ringbolt.volumes.spec import FsType
from ringbolt.volumes.superblock import Superblock, read_superblock

_OWNERS = frozenset({Usage.RAID, Usage.ENCRYPTION, Usage.VOLUMES, Usage.STORE, Usage.SWAP})
"""Whoever has these on a device reads it through something else: mounting would corrupt that."""


def find_filesystem(held: Held) -> Superblock | None:
    """The file system on a device; None where no known signature is, which is no proof of anything.

    Raises MismatchError where there is something else or more than one thing, OSError where it
    cannot be read.
    """
    found = judge(find_signatures(held.read, held.size), held.name)
    return None if found is None else read_superblock(held.read, found)


def judge(signatures: Iterable[Signature], name: str) -> FsType | None:
    """Which one file system these signatures stand for. Raises MismatchError."""
    signatures = tuple(signatures)
    if owners := [one for one in signatures if one.usage in _OWNERS and not one.copy]:
        raise _mismatch(name, owners)
    main = [one for one in signatures if one.usage is Usage.FILESYSTEM and not one.copy]
    names = {one.name for one in main}
    known = {fs_type.value: fs_type for fs_type in FsType}
    if len(names) == 1 and names <= known.keys():
        return known[main[0].name]
    if main:
        raise _mismatch(name, main)
    if signatures:
        raise _mismatch(name, signatures)
    return None


def _mismatch(name: str, found: Iterable[Signature]) -> MismatchError:
    what = ", ".join(f"{one} ({one.usage.value})" for one in found)
    return MismatchError(
        f"{name} holds {what}, not a file system to mount; nothing was written. Name the device "
        "that has the file system"
    )
