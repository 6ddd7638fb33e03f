"""The seam between the core and the kinds of volumes: what one kind must know of itself.

The core owns paths, locks, records, guards, attaching and refcounts; a kind only turns a volume
into a *detached* mount and back. A kind is one module with one class that fits `Backend`, handed to
`Volumes` in a table, so the core names no kind. What only some can is a protocol of its own:
`Growing`, `Copying`, `Listing`, `Resetting`, `Encrypting`.

Rules for a kind:
- `open_tree` answers the descriptor of a complete, detached mount (fsmount(2), or open_tree(2) with
  OPEN_TREE_CLONE) and pushes its undo after each step. What a killed process leaves must vanish
  with its descriptors or be found again from the volume alone (names derived from its id).
- Nothing is ever attached by a kind; a mount that only a program can make is made aside, cloned,
  and taken off.
- `release` and `delete` succeed where there is nothing any more.
- A block volume's tree is a clone of the device's node, a file.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ringbolt.linux.mount import MountPoint
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.mounts import Root
from ringbolt.volumes.outcome import Created, Snapshot
from ringbolt.volumes.spec import Encryption, Kind
from ringbolt.volumes.volume import NO_SECRETS, Secrets, Volume


@dataclass(frozen=True, slots=True)
class Ask:
    """One call on a volume: `volume` as the policy granted it.

    `options` are the superblock's, all allowed; those of the mount (`noexec`, `noatime`) are the
    core's. `max_size` is for what is made without a size asked for.
    """

    volume: Volume
    deadline: Deadline
    secrets: Secrets = NO_SECRETS
    options: tuple[str, ...] = ()
    max_size: int | None = None


class Backend(Protocol):
    """One kind of volume."""

    @property
    def kind(self) -> Kind:
        """Its kind."""
        ...

    @property
    def staged(self) -> bool:
        """Whether a volume has a superblock of its own, mounted once and cloned per publication.

        Others are published directly, `subdir` included, each time by `open_tree`.
        """
        ...

    @property
    def options(self) -> frozenset[str]:
        """Superblock options that are harmless in anybody's hands, or with one value: `a=b`."""
        ...

    def lacks(self) -> str:
        """What this node lacks for it and what to install; empty if nothing. Asked at start."""
        ...

    def validate(self, volume: Volume) -> None:
        """Raise InvalidError, RefusedError or NotAvailableError for what can never be."""
        ...

    def create(self, ask: Ask) -> Created:
        """Make what is missing, all or nothing; the same call again answers the same.

        Raises FullError, MismatchError, NotFoundError, NotBlankError.
        """
        ...

    def open_tree(self, ask: Ask, undo: ExitStack) -> int:
        """The descriptor of a detached mount of the volume, which the caller closes."""
        ...

    def holds(self, volume: Volume, point: MountPoint, root: Root) -> bool:
        """Whether a mount is of this volume, by what mountinfo and its root's inode tell."""
        ...

    def release(self, volume: Volume) -> None:
        """Take back what is left once the last mount of it is gone."""
        ...

    def delete(self, volume: Volume) -> bool:
        """Delete its data, which is not mounted; False: there was none.

        Raises RefusedError where the data is not ours, BusyError.
        """
        ...


@runtime_checkable
class Growing(Protocol):
    """A kind whose volumes can become larger."""

    def expand(self, ask: Ask, size: int, fd: int | None) -> int:
        """Grow to at least `size` bytes; how large it is now.

        `fd` is the root of a mount of it (O_PATH), None: it is not mounted. Smaller than it is: it
        stays as it is.
        """
        ...


@runtime_checkable
class Listing(Protocol):
    """A kind whose volumes lie in our own directories."""

    def volumes(self) -> Iterator[Volume]:
        """Those that lie there now, mounted or not, by their names alone. Raises OSError."""
        ...

    def freeable(self, volume: Volume) -> int | None:
        """Bytes that come free when it is deleted, None: that cannot be known.

        What it shares with a copy does not. Raises NotFoundError, OSError.
        """
        ...


@runtime_checkable
class Resetting(Listing, Protocol):
    """A kind whose volumes begin as something, and can be brought back to that."""

    def reset(self, ask: Ask) -> None:
        """Throw away what was written, all at once, in one that is not mounted.

        Raises NotFoundError, BusyError, FullError.
        """
        ...


@runtime_checkable
class Encrypting(Protocol):
    """A kind that can encrypt; without this a volume that asks for it is refused, never plain."""

    @property
    def encryptions(self) -> frozenset[Encryption]:
        """How, on this node: `open_tree` finds the key in the secrets."""
        ...


@runtime_checkable
class Copying(Protocol):
    """A kind whose volumes can be copied as they are at one moment."""

    def snapshot(self, ask: Ask, name: str, fd: int | None, *, plain: bool) -> Snapshot:
        """Make a volume `name` of the same namespace, of this one's content.

        `fd` is as in `Growing`. `plain` copies what cannot be shared. Raises ConflictError: there
        is one, NotAvailableError, BusyError, FullError.
        """
        ...
