"""What every call stands on: the places, what is remembered, locks, the policy and the kinds."""

import os
from collections.abc import Generator, Iterable, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from ringbolt.volumes.backend import Backend, Encrypting
from ringbolt.volumes.credentials import Credentials
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import DeadlineError, NotAvailableError, RefusedError
from ringbolt.volumes.locks import Locks
from ringbolt.volumes.paths import Places
from ringbolt.volumes.policy import Grant, Policy, host_path, permit, root_of
from ringbolt.volumes.records import Records
from ringbolt.volumes.spec import BY_SECRETS, Encryption, Kind
from ringbolt.volumes.volume import NO_SECRETS, Secrets, Tenant, Volume, VolumeId


def table_of(backends: Iterable[Backend]) -> Mapping[Kind, Backend]:
    """The kinds by their names."""
    return {one.kind: one for one in backends}


@dataclass(slots=True)
class Ground:
    """Of one room. `policy` and `backends` change when the configuration does."""

    places: Places
    records: Records
    locks: Locks
    policy: Policy
    backends: Mapping[Kind, Backend]
    quarantined: MutableMapping[VolumeId, str] = field(default_factory=dict[VolumeId, str])
    secrets: dict[VolumeId, Secrets] = field(default_factory=dict[VolumeId, Secrets], repr=False)
    """Of volumes that are mounted anew when their server dies; in memory alone."""

    def backend(self, kind: Kind) -> Backend:
        """Raises NotAvailableError where this node cannot do the kind."""
        backend = self.backends.get(kind)
        lacks = backend.lacks() if backend else "it is not built in"
        if backend is None or lacks:
            raise NotAvailableError(f"this node has no {kind.value} volumes: {lacks}")
        return backend

    def grant(self, volume: Volume, tenant: Tenant, secrets: Secrets = NO_SECRETS) -> Grant:
        """What the policy and the kind allow, the volume marked by the secrets it is mounted with.

        Raises what `Volumes.validate` does.
        """
        backend = self.backend(volume.kind)
        _check_encryption(volume, backend)
        grant = permit(self.policy, volume, tenant, backend.options)
        self._check_ours(host_path(volume))
        backend.validate(grant.volume)
        if volume.kind not in BY_SECRETS:
            return grant
        mark = Credentials(self.places.run_dir).mark(secrets)
        return replace(grant, volume=replace(grant.volume, credential=mark))

    def _check_ours(self, path: str) -> None:
        """No root that its operator drew too wide gives away other pods' volumes and secrets."""
        root = root_of(self.policy.roots, path)
        if root is None:
            return
        # Below its root no link is followed, and whoever made one could change it meanwhile.
        real, places = f"{os.path.realpath(root)}{path[len(root) :]}/", self.places
        for own in (places.state_dir / "volumes", places.run_dir, places.kubelet_dir):
            kept = f"{os.path.realpath(own)}/"
            if real.startswith(kept) or kept.startswith(real):
                raise RefusedError(
                    f"{path} is not to be had: {own} is the agent's or the kubelet's"
                )

    def quarantine(self, volume_id: VolumeId, why: str) -> None:
        """Tell of a volume that the kernel may still be busy with, until a call on it succeeds."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        self.quarantined.setdefault(volume_id, f"since {since}: {why}")

    @contextmanager
    def alone(self, volume_id: VolumeId, call: str, deadline: Deadline) -> Generator[None]:
        """Be the only call on a volume; one that gets no answer puts it into quarantine.

        Raises TryAgainError.
        """
        with self.locks.hold(volume_id, call, deadline):
            try:
                yield
            except DeadlineError as error:
                self.quarantine(volume_id, str(error))
                raise


def _check_encryption(volume: Volume, backend: Backend) -> None:
    """Nobody who asks for encryption ever gets a plain volume."""
    if volume.encryption is Encryption.NONE:
        return
    can = backend.encryptions if isinstance(backend, Encrypting) else frozenset[Encryption]()
    if volume.encryption not in can:
        how = volume.encryption.value
        raise NotAvailableError(f"this node cannot encrypt {volume.kind.value} volumes with {how}")
