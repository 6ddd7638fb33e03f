"""The room's door: volumes made, mounted, shown, taken off, and deleted when told so.

Synchronous; any thread may call it, and other processes may do the same beside it. What is recorded
is a hint, mountinfo and the kernel's own state decide. A call on one volume never waits for another
volume.
"""

from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ringbolt.volumes import guard, lasting, standing
from ringbolt.volumes.abilities import KindAbility, find_abilities
from ringbolt.volumes.backend import Ask, Backend
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import (
    BusyError,
    DeadlineError,
    NotFoundError,
    VolumeError,
)
from ringbolt.volumes.extent import Extent, with_size
from ringbolt.volumes.ground import Ground, table_of
from ringbolt.volumes.health import Examination, Examined
from ringbolt.volumes.lasting import Lasting
from ringbolt.volumes.locks import Locks
from ringbolt.volumes.outcome import (
    Created,
    Deleted,
    Published,
    Reconciled,
    Snapshot,
    Staged,
    Stats,
    Unpublished,
    VolumeStatus,
)
from ringbolt.volumes.paths import Places, Spot
from ringbolt.volumes.policy import Policy
from ringbolt.volumes.publication import Publisher
from ringbolt.volumes.quarantine import Quarantine
from ringbolt.volumes.reconciliation import Reconciliation
from ringbolt.volumes.records import Records
from ringbolt.volumes.restoration import Restoration
from ringbolt.volumes.revival import Revival
from ringbolt.volumes.servers import Server
from ringbolt.volumes.spec import Kind, is_ephemeral
from ringbolt.volumes.staging import Staging
from ringbolt.volumes.status import list_volumes
from ringbolt.volumes.volume import (
    NO_SECRETS,
    Namespace,
    Publication,
    Secrets,
    Tenant,
    Volume,
    VolumeId,
    parse_id,
)

if TYPE_CHECKING:
    from ringbolt.volumes.watch import VolumeWatch


class Volumes:
    """The volumes of this node. Makes its folders in the run directory; raises OSError."""

    def __init__(self, places: Places, policy: Policy, backends: Iterable[Backend]) -> None:
        records, locks = Records(places.run_dir), Locks(places.run_dir)
        quarantine = Quarantine(places.run_dir)
        self._ground = Ground(places, records, locks, policy, table_of(backends), quarantine)
        self._staging = Staging(self._ground)
        self._publisher = Publisher(self._ground, self._staging)
        self._revival = Revival(self._ground, self._staging, self._publisher)
        self._extent = Extent(self._ground, self._staging)
        self._lasting = Lasting(self._ground, self._staging, self._extent)

    def adopt(self, policy: Policy, backends: Iterable[Backend]) -> None:
        """Go on by another configuration; what is mounted stays."""
        self._ground.policy = policy
        self._ground.backends = table_of(backends)

    def close(self) -> None:
        """Let go of descriptors that are kept to be fast; what is mounted stays."""
        self._publisher.close()

    def abilities(self) -> tuple[KindAbility, ...]:
        """What of each kind this node can, and what to install for the rest."""
        return find_abilities(self._ground.backends.values())

    def validate(self, volume: Volume, tenant: Tenant) -> VolumeId:
        """Whether this pod may have this volume here; nothing is touched.

        Raises RefusedError, InvalidError, NotAvailableError.
        """
        self._ground.grant(volume, tenant)
        return volume.id

    def create(
        self, volume: Volume, tenant: Tenant, deadline: Deadline, secrets: Secrets = NO_SECRETS
    ) -> Created:
        """Make what is missing of its data; the same call again answers the same.

        Raises what `validate` does, FullError, MismatchError, NotFoundError, TryAgainError.
        """
        grant = self._ground.grant(volume, tenant, secrets)
        backend = self._ground.backend(volume.kind)
        ask = Ask(grant.volume, deadline, secrets, grant.options, grant.max_size)
        if is_ephemeral(volume.spec):
            return backend.create(ask)  # nothing lasts of it that two calls could make
        with self._ground.alone(grant.volume.id, "create", deadline):
            return backend.create(ask)

    def find(self, namespace: Namespace, name: str) -> tuple[Volume, ...]:
        """Volumes with data of ours by their name, at most one of a kind; for who has no spec.

        One that is mounted is as it was asked for, of others only the name is known: enough for
        `delete`, `reset` and `snapshot`. Raises OSError.
        """
        return lasting.find(self._ground, namespace, name)

    def delete(self, volume: Volume, deadline: Deadline) -> Deleted | None:
        """Delete its data, and nothing else ever does; None: there was none.

        Raises BusyError while anybody has it, RefusedError for data that is not ours.
        """
        return self._lasting.delete(volume, deadline)

    def reset(self, volume: Volume, deadline: Deadline) -> Deleted:
        """Throw away what was written above the read-only part of an overlay with a name.

        Killed anywhere, it has all of that or nothing. Raises BusyError while anybody has it,
        NotFoundError, NotAvailableError: the kind has no such part.
        """
        return self._lasting.reset(volume, deadline)

    def stage(
        self, volume: Volume, tenant: Tenant, deadline: Deadline, secrets: Secrets = NO_SECRETS
    ) -> Staged:
        """Mount it at its staging place until `unstage`; kinds that need none: nothing happens.

        Raises what `validate` does, ConflictError, MismatchError, TryAgainError, OSError.
        """
        grant = self._ground.grant(volume, tenant, secrets)
        volume_id = grant.volume.id
        path = self._ground.places.stagings / volume_id / "mount"
        if not self._ground.backend(volume.kind).staged:
            return Staged(volume_id, path, fresh=False)
        with self._ground.alone(volume_id, "stage", deadline):
            ask = Ask(grant.volume, deadline, secrets, grant.options)
            fresh, _ = self._staging.ensure(ask, held=True)
        return Staged(volume_id, path, fresh)

    def publish(
        self,
        volume: Volume,
        publication: Publication,
        deadline: Deadline,
        secrets: Secrets = NO_SECRETS,
    ) -> Published:
        """Show it at a target, staged where its kind needs that; the same call again is content.

        Raises what `validate` and `stage` do, NotFoundError: no such `subdir`. Then nothing of it
        is left.
        """
        grant = self._ground.grant(volume, publication.tenant, secrets)
        volume_id = grant.volume.id
        ask = Ask(grant.volume, deadline, secrets, grant.options)
        target = self._ground.places.plain(publication.target)
        publication = replace(publication, target=target)
        with (
            self._ground.locks.hold(str(target), "publish", deadline),
            self._ground.alone(volume_id, f"publish {target}", deadline),
            ExitStack() as undo,
        ):
            remarks: tuple[str, ...] = ()
            if self._ground.backend(volume.kind).staged:
                undo.callback(self._undo_stage, volume_id)
                _, remarks = self._staging.ensure(ask, held=False)
            fresh, more = self._publisher.ensure(ask, grant.attributes, publication)
            undo.pop_all()
            self._ground.quarantined.pop(volume_id, None)
            if volume.kind is Kind.FUSE:
                self._ground.secrets[volume_id] = secrets
        return Published(volume_id, target, fresh, (*remarks, *more))

    def unpublish(self, target: Path, deadline: Deadline, *, remove: bool = False) -> Unpublished:
        """Take everything off a target, and unstage its volume if that was the last user.

        The path alone is enough. Content with whatever is gone already. `remove`: the directory or
        file too. Raises InvalidError, BusyError, TryAgainError, OSError.
        """
        target = self._ground.places.plain(target)
        with self._ground.locks.hold(str(target), "unpublish", deadline), ExitStack() as held:
            record = self._ground.records.published(target)
            volume_id = record.volume.id if record else self._staging.shown_at(target)
            if volume_id is not None:
                held.enter_context(self._ground.alone(volume_id, f"unpublish {target}", deadline))
            count, lazily = self._clear(target, remove=remove)
            unstaged, remarks = self._let_go(volume_id, record.volume if record else None)
            if lazily:
                remarks = (*remarks, f"{target} hung and was only detached")
                self._ground.quarantine(volume_id or VolumeId(str(target)), remarks[-1])
            self._ground.records.drop_published(target)
        return Unpublished(target, volume_id, count, unstaged, remarks)

    def unstage(self, volume_id: VolumeId, deadline: Deadline) -> bool:
        """Take off a staged mount that nobody uses; False: it was not staged.

        Raises BusyError while it is published, TryAgainError, OSError.
        """
        parse_id(volume_id)
        with self._ground.alone(volume_id, "unstage", deadline):
            if used := self._staging.users(volume_id):
                raise BusyError(f"{volume_id} is still published at {used[0].target}")
            record = self._ground.records.staged(volume_id)
            return self._staging.remove(volume_id, record.volume if record else None)

    def published_at(self, target: Path) -> tuple[Volume, Tenant]:
        """What was published at a target, and for whom. Raises NotFoundError, InvalidError."""
        record = self._ground.records.published(self._ground.places.plain(target))
        if record is None:
            raise NotFoundError(f"nothing of ours is mounted at {target}")
        return record.volume, record.publication.tenant

    def stats(self, target: Path) -> Stats:
        """Of what is published at a target. Raises NotFoundError, DeadlineError, OSError."""
        return self._extent.stats(target)

    def expand(
        self,
        volume: Volume,
        tenant: Tenant,
        size: int,
        deadline: Deadline,
        secrets: Secrets = NO_SECRETS,
    ) -> int:
        """Grow it to at least `size` bytes, mounted or not; how large it is now.

        Raises what `validate` does, FullError, NotFoundError, NotAvailableError: the kind cannot.
        """
        grant = self._ground.grant(with_size(volume, size), tenant)
        ask = Ask(grant.volume, deadline, secrets, grant.options)
        with self._ground.alone(volume.id, "expand", deadline):
            return self._extent.expand(ask, size)

    def snapshot(
        self,
        volume: Volume,
        tenant: Tenant | None,
        name: str,
        deadline: Deadline,
        *,
        plain: bool = False,
    ) -> Snapshot:
        """Copy it as it is now, as a volume `name` of its namespace.

        `tenant` None is the node's operator, who needs no rule: only data of our own is ever
        copied. `plain` copies byte for byte what cannot share blocks. Raises what `validate` does,
        ConflictError: there is one, NotAvailableError, BusyError, FullError.
        """
        return self._lasting.snapshot(volume, tenant, name, deadline, plain=plain)

    def servers(self) -> tuple[tuple[VolumeId, Server], ...]:
        """Processes that answer for volumes, and run; once one ends, `revive` its volume."""
        return self._revival.living()

    def dead(self) -> tuple[VolumeId, ...]:
        """Volumes whose server runs no more."""
        return self._revival.dead()

    def revive(self, volume_id: VolumeId, deadline: Deadline) -> tuple[str, ...]:
        """Mount such a volume anew for all its pods; what was done. Nothing where its server lives.

        Raises NotAvailableError (its secrets are not known), what `publish` does.
        """
        return self._revival.revive(volume_id, deadline)

    def reconcile(self) -> Reconciled:
        """Bring what a killed process or a reboot left to the state it should have.

        For the start; harmless at any time, for what could not be unstaged when it should have.
        Mounts decide, then records. Data is never deleted, only told of. Raises OSError.
        """
        return Reconciliation(self._ground, self._staging).run()

    def list(self, *, probe: bool = False) -> tuple[VolumeStatus, ...]:
        """Volumes that are mounted or lie in our own directories, by their ids. Raises OSError.

        `probe` looks whether mounts answer, which takes a process for each that could hang.
        """
        return list_volumes(self._ground, probe=probe)

    def examine(self) -> Examined:
        """What is wrong with those that are mounted, by the kernel alone: cannot hang.

        Raises OSError.
        """
        return Examination(self._ground).run()

    def watch(self) -> "VolumeWatch":
        """What hears that a look is due, in this thread's mount namespace. Raises OSError."""
        from ringbolt.volumes.watch import VolumeWatch  # noqa: PLC0415 - only an agent hears

        return VolumeWatch(self._ground)

    def restore(self, target: Path, deadline: Deadline) -> bool:
        """Mount again what somebody unmounted while its pod lives; False: there is no need.

        Raises RefusedError: it would not be safe; and what `publish` does.
        """
        restoration = Restoration(self._ground, self._staging, self._publisher)
        return restoration.restore(target, deadline)

    def _clear(self, target: Path, *, remove: bool) -> standing.Unmounted:
        places = self._ground.places
        try:
            with Spot.open(places, places.relative(target)) as spot:
                done = standing.unmount_all(spot)
                guard.take_off(spot)
                if remove:
                    spot.remove()
                return done
        except FileNotFoundError:
            return standing.Unmounted(0)

    def _let_go(
        self, volume_id: VolumeId | None, volume: Volume | None
    ) -> tuple[bool, tuple[str, ...]]:
        """After a publication ended: unstage what nobody uses, release what was not staged."""
        backend = self._ground.backends.get(volume.kind) if volume else None
        if volume and backend and not backend.staged:
            backend.release(volume)
            return False, ()
        if volume_id is None:
            return False, ()
        try:
            return self._unstage_unused(volume_id), ()
        except (BusyError, DeadlineError) as error:
            return False, (f"{volume_id} stays staged for now: {error}",)

    def _undo_stage(self, volume_id: VolumeId) -> None:
        """What does not go now, goes with the next call or at the next start."""
        with suppress(VolumeError, OSError):
            self._unstage_unused(volume_id)

    def _unstage_unused(self, volume_id: VolumeId) -> bool:
        record = self._ground.records.staged(volume_id)
        if (record and record.held) or self._staging.users(volume_id):
            return False
        return self._staging.remove(volume_id, record.volume if record else None)
