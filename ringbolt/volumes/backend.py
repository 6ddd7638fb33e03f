"""The seam between the core and the kinds of volumes: what one kind must know of itself.

The core owns paths, locks, records, guards, attaching and refcounts; a kind only turns a volume
into a *detached* mount and back. A kind is one module with one class that fits `Backend`, handed to
`Volumes` in a table, so the core names no kind.

Rules for a kind:
- `open_tree` answers the descriptor of a complete, detached mount (fsmount(2), or open_tree(2) with
  OPEN_TREE_CLONE) and pushes its undo after each step. What a killed process leaves must vanish
  with its descriptors or be found again from the volume alone (names derived from its id).
- Nothing is ever attached by a kind; a mount that only a helper can make is made aside, cloned, and
  taken off.
- `release`, `delete` succeed where there is nothing any more.
- No option, secret or device path of a volume enters argv, an environment or an error text unless
  it is public by its nature.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from ringbolt.linux.mount import MountPoint
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.outcome import Created, Snapshot, Stats
from ringbolt.volumes.spec import Kind
from ringbolt.volumes.volume import NO_SECRETS, Secrets, Volume


@dataclass(frozen=True, slots=True)
class Ask:
    """One call on a volume: `volume` as the policy granted it, whose options are all allowed.

    `options` are the superblock's; those of the mount (`noexec`, `noatime`) are the core's.
    """

    volume: Volume
    deadline: Deadline
    secrets: Secrets = NO_SECRETS
    options: tuple[str, ...] = ()


class Backend(Protocol):
    """One kind of volume."""

    @property
    def kind(self) -> Kind:
        """Its kind."""
        ...

    @property
    def staged(self) -> bool:
        """Whether a volume has one superblock, mounted once and cloned for each publication.

        Others are published directly, `subdir` included, each time by `open_tree`.
        """
        ...

    @property
    def remote(self) -> bool:
        """Whether touching a mount of it can hang: then only a killable child does."""
        ...

    @property
    def options(self) -> frozenset[str]:
        """Names of superblock options that are harmless in anybody's hands."""
        ...

    def lacks(self) -> str:
        """What this node lacks for it and what to install, empty if nothing: asked at start."""
        ...

    def validate(self, volume: Volume) -> None:
        """Raise InvalidError, RefusedError or NotAvailableError for what can never be."""
        ...

    def create(self, ask: Ask) -> Created:
        """Make what is missing, all or nothing. Raises FullError, MismatchError, NotFoundError."""
        ...

    def open_tree(self, ask: Ask, undo: ExitStack) -> int:
        """The descriptor of a detached mount of the volume, which the caller closes."""
        ...

    def holds(self, volume: Volume, point: MountPoint, fd: int) -> bool:
        """Whether a mount is of this volume; `fd` is its root, opened with O_PATH."""
        ...

    def release(self, volume: Volume) -> None:
        """Take back what is left once the last mount of it is gone."""
        ...

    def delete(self, volume: Volume) -> bool:
        """Delete its data, which is not mounted; False: there was none. RefusedError: not ours."""
        ...

    def expand(self, ask: Ask, size: int, fd: int | None) -> int:
        """Grow to at least `size` bytes, mounted at `fd` or not; how large it is now."""
        ...

    def snapshot(self, ask: Ask, name: str) -> Snapshot:
        """Copy it as it is now, as a volume `name` of the same namespace."""
        ...

    def stats(self, volume: Volume, fd: int) -> Stats:
        """Of a mount of it, opened at `fd`."""
        ...
