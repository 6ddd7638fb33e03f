"""A publication that somebody unmounted while its pod lives, mounted again where that is safe.

A kubelet unmounts through us, so another's unmount is an accident. Containers that run keep what
they were given; one that starts anew would find an empty directory. Safe means: the guard is there
still, the pod's directory too, and what is shown is the same file system as before.
"""

import os
from pathlib import Path

from ringbolt.linux.inode_flags import is_immutable
from ringbolt.volumes.backend import Ask
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import RefusedError
from ringbolt.volumes.ground import Ground
from ringbolt.volumes.health import ailing
from ringbolt.volumes.mounts import Mounts
from ringbolt.volumes.paths import Spot
from ringbolt.volumes.policy import permit
from ringbolt.volumes.publication import Publisher
from ringbolt.volumes.records import Published
from ringbolt.volumes.spec import Kind
from ringbolt.volumes.staging import Staging


class Restoration:
    """Mounts again."""

    def __init__(self, ground: Ground, staging: Staging, publisher: Publisher) -> None:
        self._ground = ground
        self._staging = staging
        self._publisher = publisher

    def restore(self, target: Path, deadline: Deadline) -> bool:
        """Whether it was mounted again; False: there is no need, or no publication any more.

        Raises RefusedError: it is not safe; and what publishing raises.
        """
        target = self._ground.places.plain(target)
        with self._ground.locks.hold(str(target), "restore", deadline):
            record = self._ground.records.published(target)
            if record is None or Mounts.look().at(self._ground.places.shown(target)):
                return False
            with self._ground.alone(record.volume.id, f"restore {target}", deadline):
                self._check(record)
                backend = self._ground.backend(record.volume.kind)
                tenant = record.publication.tenant
                grant = permit(self._ground.policy, record.volume, tenant, backend.options)
                ask = Ask(grant.volume, deadline, options=grant.options)
                fresh, _ = self._publisher.ensure(ask, grant.attributes, record.publication)
                return fresh

    def _check(self, record: Published) -> None:
        volume, publication = record.volume, record.publication
        pod = Path(self._ground.places.kubelet_root, "pods", publication.tenant.uid or "?")
        if not pod.is_dir():
            raise RefusedError(f"its pod is gone: there is no {pod}")
        if self._ground.backend(volume.kind).staged:
            point = self._staging.point(volume.id)
            if point is None:
                raise RefusedError("its staged mount is gone too")
            if wrong := ailing(point):
                raise RefusedError(wrong[1])
        elif volume.kind is not Kind.DIRECTORY:
            raise RefusedError("what was in it went with the mount")
        if not self._is_guarded(publication.target):
            raise RefusedError("it is not guarded, so somebody may want it unmounted")

    def _is_guarded(self, target: Path) -> bool:
        places = self._ground.places
        with Spot.open(places, places.relative(target)) as spot:
            fd = spot.fd(os.O_RDONLY | os.O_NONBLOCK)
            try:
                return is_immutable(fd)
            except OSError:
                return False
            finally:
                os.close(fd)
