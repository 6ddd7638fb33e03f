"""What answers refer to, made true before they are given: stable links and CDI files.

It turns `ringbolt.devices` plans into answers with the paths of this agent. A link or CDI file that
cannot be written fails every Allocate of its resource with the reason, until it can be written.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from ringbolt.devices import links
from ringbolt.devices.device import Device, Snapshot, device_of
from ringbolt.devices.injection import Injection, Surroundings, plan
from ringbolt.devices.qualifiers import Qualifiers, qualify
from ringbolt.devices.resource import Resource, ResourceName

_log = structlog.get_logger()


class Injector:
    """Owner of the links directory and of this agent's files in the CDI directory."""

    def __init__(self, links_dir: Path, cdi_dir: Path) -> None:
        self._links_dir = links_dir
        self._cdi_dir = cdi_dir
        self._around = Surroundings(links_dir)
        self._qualifiers: Mapping[ResourceName, Qualifiers] = {}
        self._links_error: OSError | None = None

    def prepare(self, snapshot: Snapshot) -> None:
        """Bring links and CDI files to the Snapshot. Blocks on the file system; never raises."""
        devices = [device for group in snapshot.devices.values() for device in group]
        held = {device_of(gone.unit) for group in snapshot.gone.values() for gone in group}
        self._links_error = None
        try:
            links.sync(self._links_dir, devices, held)
        except OSError as error:
            self._links_error = error
            _log.error("links not written", directory=str(self._links_dir), error=str(error))
        self._around = Surroundings(self._links_dir, snapshot.tree, links.find_binds(devices))
        self._qualifiers = qualify(tuple(snapshot.resources.values()))

    def inject(self, resource: Resource, devices: Sequence[Device]) -> Injection:
        """What a container gets for `devices`, in the order asked for. Raises OSError."""
        if self._links_error:
            raise self._links_error
        injection = plan(resource, devices, self._around, self._qualifiers.get(resource.name))
        for lack in injection.lacks:
            _log.warning("not given", resource=resource.name, lack=lack)
        return injection
