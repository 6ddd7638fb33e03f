"""Data of our own that outlives its mounts: found by its name, deleted, emptied, copied.

All of it takes an explicit call, and a volume that nobody has. Whoever only knows a name, an
operator or a provisioner, finds the volume here: by what lies in our directories, and by what is
remembered of one that is mounted.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from ringbolt.volumes.backend import Ask, Copying, Listing, Resetting
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import BusyError, ConflictError, NotAvailableError, NotFoundError
from ringbolt.volumes.extent import Extent
from ringbolt.volumes.ground import Ground
from ringbolt.volumes.mounts import Mounts
from ringbolt.volumes.outcome import Deleted, Snapshot
from ringbolt.volumes.records import Published
from ringbolt.volumes.spec import Loop, Overlay, Subvolume
from ringbolt.volumes.staging import Staging
from ringbolt.volumes.volume import Namespace, Publication, Tenant, Volume
from ringbolt.volumes.wellformed import check_name


def lying(ground: Ground) -> Iterator[Volume]:
    """Those whose data lies in our own directories. Raises OSError."""
    for backend in ground.backends.values():
        if isinstance(backend, Listing):
            with suppress(FileNotFoundError):
                yield from backend.volumes()


def find(ground: Ground, namespace: Namespace, name: str) -> tuple[Volume, ...]:
    """Those of this name, at most one of a kind. Raises OSError.

    One that is mounted is as it was asked for; of others only the name is known.
    """
    return tuple(
        _remembered(ground, one)
        for one in lying(ground)
        if one.namespace == namespace and getattr(one.spec, "name", None) == name
    )


def _remembered(ground: Ground, volume: Volume) -> Volume:
    if staged := ground.records.staged(volume.id):
        return staged.volume
    shown = next(_published(ground, volume), None)
    return shown.volume if shown else volume


def _published(ground: Ground, volume: Volume) -> Iterator[Published]:
    return (one for one in ground.records.all_published() if one.volume.id == volume.id)


class Lasting:
    """What is done with such data, in one room."""

    def __init__(self, ground: Ground, staging: Staging, extent: Extent) -> None:
        self._ground = ground
        self._staging = staging
        self._extent = extent

    def delete(self, volume: Volume, deadline: Deadline) -> Deleted | None:
        """Delete it; None: there was none. Raises BusyError, RefusedError."""
        with self._ground.alone(volume.id, "delete", deadline), self._idle(volume):
            backend = self._ground.backend(volume.kind)
            freed: int | None = None
            if isinstance(backend, Listing):
                with suppress(NotFoundError, OSError):  # a disk that cannot tell is no reason
                    freed = backend.freeable(volume)
            return Deleted(volume.id, freed) if backend.delete(volume) else None

    def reset(self, volume: Volume, deadline: Deadline) -> Deleted:
        """Throw away what was written. Raises BusyError, NotFoundError, NotAvailableError."""
        backend = self._ground.backend(volume.kind)
        if not isinstance(backend, Resetting):
            raise NotAvailableError(
                f"{volume.id}: below what is written to {volume.kind.value} volumes lies nothing "
                "to go back to"
            )
        with self._ground.alone(volume.id, "reset", deadline), self._idle(volume):
            before = backend.freeable(volume)
            backend.reset(Ask(volume, deadline))
            after = backend.freeable(volume)
        if before is None or after is None:
            return Deleted(volume.id, None)
        return Deleted(volume.id, max(0, before - after))

    def snapshot(
        self, volume: Volume, tenant: Tenant | None, name: str, deadline: Deadline, *, plain: bool
    ) -> Snapshot:
        """Copy it as a volume `name`; nobody makes one of that name meanwhile."""
        check_name(name)
        backend = self._ground.backend(volume.kind)
        if tenant:
            volume = self._ground.grant(volume, tenant).volume
        copy = _renamed(volume, name)
        if copy is None or not isinstance(backend, Copying):
            raise NotAvailableError(f"{volume.kind.value} volumes cannot be copied")
        if copy.id == volume.id:
            raise ConflictError(f"there is a volume {copy.id}: name the copy otherwise")
        with ExitStack() as held:
            for one in sorted((volume.id, copy.id)):  # in one order, whoever copies to whom
                held.enter_context(self._ground.alone(one, "snapshot", deadline))
            fd = held.enter_context(self._extent.mounted(volume))
            return backend.snapshot(Ask(volume, deadline), name, fd, plain=plain)

    @contextmanager
    def _idle(self, volume: Volume) -> Generator[None]:
        """Nobody has it; what a killed process left staged is taken off. Raises BusyError."""
        places, mounts = self._ground.places, Mounts.look()
        shown = tuple(_published(self._ground, volume))
        if has := [one for one in shown if mounts.at(places.shown(one.publication.target))]:
            text = f"{volume.id} is mounted for {_whose(has)}: delete its pods, or unpublish it"
            raise BusyError(text)
        known = f"; it is remembered for {_whose(shown)}" if shown else ""
        self._unstage(volume, known)
        try:
            yield
        except BusyError as error:  # a pod's own mounts outlive the host's
            raise BusyError(f"{error}{known}") from None

    def _unstage(self, volume: Volume, known: str) -> None:
        if (staged := self._staging.point(volume.id)) is None:
            return
        users, record = self._staging.users(volume.id), self._ground.records.staged(volume.id)
        if users or known or (record and record.held):
            where = users[0].target if users else staged.target
            text = f"{volume.id} is mounted at {where}: unpublish and unstage it{known}"
            raise BusyError(text)
        self._staging.remove(volume.id, record.volume if record else volume)


def _whose(records: Iterable[Published]) -> str:
    """The pods that volumes are mounted for."""
    return ", ".join(sorted({_pod(one.publication) for one in records}))


def _pod(place: Publication) -> str:
    who = place.tenant.pod or place.tenant.uid
    return f"{place.tenant.namespace}/{who}" if who else str(place.target)


def _renamed(volume: Volume, name: str) -> Volume | None:
    """The same by another name, None where its kind has none."""
    spec = volume.spec
    if isinstance(spec, Loop | Subvolume | Overlay):
        return replace(volume, spec=replace(spec, name=name))
    return None
