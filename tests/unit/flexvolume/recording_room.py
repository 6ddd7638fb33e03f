"""A room that records what the door asks of it, and answers what the test wants."""

from dataclasses import dataclass, field
from pathlib import Path

from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import NotFoundError
from ringbolt.volumes.outcome import Created, Published, Unpublished
from ringbolt.volumes.volume import (
    NO_SECRETS,
    Publication,
    Secrets,
    Tenant,
    Volume,
    VolumeId,
)


@dataclass
class RecordingRoom:
    """`error` is raised by the verb `fails`; `asked` has each verb with what it was given."""

    error: Exception | None = None
    fails: str = "publish"
    there: dict[Path, tuple[Volume, Tenant]] = field(
        default_factory=dict[Path, tuple[Volume, Tenant]]
    )
    asked: list[tuple[str, object]] = field(default_factory=list[tuple[str, object]])
    secrets: list[Secrets] = field(default_factory=list[Secrets])

    def create(
        self, volume: Volume, tenant: Tenant, deadline: Deadline, secrets: Secrets = NO_SECRETS
    ) -> Created:
        assert deadline.left_s() > 0
        self._note("create", (volume, tenant), secrets)
        return Created(volume.id, None, fresh=True)

    def publish(
        self,
        volume: Volume,
        publication: Publication,
        deadline: Deadline,
        secrets: Secrets = NO_SECRETS,
    ) -> Published:
        assert deadline.left_s() > 0
        self._note("publish", (volume, publication), secrets)
        return Published(volume.id, publication.target, fresh=True, remarks=("a remark",))

    def unpublish(self, target: Path, deadline: Deadline, *, remove: bool = False) -> Unpublished:
        assert deadline.left_s() > 0
        self._note("unpublish", (target, remove), NO_SECRETS)
        return Unpublished(target, VolumeId("loop.default.data"), 1, unstaged=True)

    def expand(
        self,
        volume: Volume,
        tenant: Tenant,
        size: int,
        deadline: Deadline,
        secrets: Secrets = NO_SECRETS,
    ) -> int:
        assert deadline.left_s() > 0
        self._note("expand", (volume, tenant, size), secrets)
        return size + 512

    def published_at(self, target: Path) -> tuple[Volume, Tenant]:
        if target not in self.there:
            raise NotFoundError("nothing of ours is mounted there")
        return self.there[target]

    def _note(self, verb: str, given: object, secrets: Secrets) -> None:
        self.asked.append((verb, given))
        self.secrets.append(secrets)
        if self.error and verb == self.fails:
            raise self.error
