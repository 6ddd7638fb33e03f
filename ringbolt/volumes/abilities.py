"""What of each kind of volume this node can, as one value: for the log at the start, for people."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ringbolt.volumes.backend import Backend
from ringbolt.volumes.spec import Kind


@runtime_checkable
class Partial(Protocol):
    """A kind that may be there in part only."""

    def lacking(self) -> tuple[str, ...]:
        """What of it this node cannot, and what to install; the rest works."""
        ...


@dataclass(frozen=True, slots=True)
class KindAbility:
    """`lack`: why the kind cannot be had and what to install, empty: it can. `partly` as above."""

    kind: Kind
    lack: str = ""
    partly: tuple[str, ...] = ()


def find_abilities(backends: Iterable[Backend]) -> tuple[KindAbility, ...]:
    """Of each kind, as it is now; nothing is mounted or started."""
    return tuple(_ability(one) for one in backends)


def _ability(backend: Backend) -> KindAbility:
    lack = backend.lacks()
    partly = backend.lacking() if not lack and isinstance(backend, Partial) else ()
    return KindAbility(backend.kind, lack, partly)
