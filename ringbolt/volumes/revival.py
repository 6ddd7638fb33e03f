"""Mounts whose server died, made anew for all the pods that had them.

A container that runs already sees the new mount where its volumeMounts say `mountPropagation:
HostToContainer`; another has the dead one until it is started again. What has to be known of a
volume is remembered, but for its secrets, which only this process had.
"""

from contextlib import ExitStack

from ringbolt.volumes.backend import Ask
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import NotAvailableError
from ringbolt.volumes.ground import Ground
from ringbolt.volumes.publication import Publisher
from ringbolt.volumes.records import Published
from ringbolt.volumes.servers import Server, Servers
from ringbolt.volumes.staging import Staging
from ringbolt.volumes.volume import NO_SECRETS, VolumeId


class Revival:
    """Looks for dead servers, and mounts anew."""

    def __init__(self, ground: Ground, staging: Staging, publisher: Publisher) -> None:
        self._ground = ground
        self._staging = staging
        self._publisher = publisher
        self._servers = Servers(ground.places.run_dir)

    def living(self) -> tuple[tuple[VolumeId, Server], ...]:
        """Servers that run; their ends are worth waiting for."""
        return tuple((one, server) for one, server in self._servers.all() if server.is_alive)

    def dead(self) -> tuple[VolumeId, ...]:
        """Volumes that are staged and whose server runs no more."""
        found = self._servers.all()
        return tuple(one for one, server in found if not server.is_alive and self._is_staged(one))

    def revive(self, volume_id: VolumeId, deadline: Deadline) -> tuple[str, ...]:
        """Mount it anew where it was; what was done, nothing where its server lives.

        Raises NotAvailableError: its secrets are not known, TryAgainError, what mounting raises.
        """
        known = [one for one in self._published() if one.volume.id == volume_id]
        with ExitStack() as held:
            for one in sorted(known, key=lambda one: str(one.publication.target)):
                target = str(one.publication.target)
                held.enter_context(self._ground.locks.hold(target, "revive", deadline))
            held.enter_context(self._ground.alone(volume_id, "revive", deadline))
            server = self._servers.find(volume_id)
            staged = self._ground.records.staged(volume_id)
            if server is None or server.is_alive or staged is None:
                return ()
            volume, secrets = staged.volume, self._ground.secrets.get(volume_id, NO_SECRETS)
            if volume.credential and not secrets.values:
                raise NotAvailableError(
                    f"the server of {volume_id} died, and its secrets are not known since the "
                    "agent was started: restart its pods"
                )
            ask = Ask(volume, deadline, secrets, staged.options)
            _, remarks = self._staging.ensure(ask, held=staged.held)
            again = [one for one in known if self._ground.records.published(one.publication.target)]
            for one in again:
                remarks = (*remarks, *self._publish(one, ask))
        return (
            *remarks,
            f"{volume_id} was mounted anew for {len(again)} pods: its server had died",
        )

    def _publish(self, record: Published, ask: Ask) -> tuple[str, ...]:
        tenant = record.publication.tenant
        grant = self._ground.grant(record.volume, tenant, ask.secrets)
        wanted = Ask(record.volume, ask.deadline, ask.secrets, grant.options)
        _, remarks = self._publisher.ensure(wanted, grant.attributes, record.publication)
        return remarks

    def _published(self) -> tuple[Published, ...]:
        return tuple(self._ground.records.all_published())

    def _is_staged(self, volume_id: VolumeId) -> bool:
        return self._ground.records.staged(volume_id) is not None
