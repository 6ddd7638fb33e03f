"""What answers refer to, made true before they are given: stable links and CDI files.

It turns `ringbolt.devices` plans into answers with the paths of this agent. A link or CDI file that
cannot be written fails every Allocate of its device or resource with the reason, until it can be
written: that is tried at every change and with every full look.
"""

import contextlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from daemon import cdi
from daemon.lean import structlog
from ringbolt.devices import links
from ringbolt.devices.device import Device, DeviceId, Snapshot, device_of
from ringbolt.devices.injection import Injection, Surroundings, plan
from ringbolt.devices.prestart import Machine
from ringbolt.devices.qualifiers import Qualifiers, qualify
from ringbolt.devices.resource import Resource, ResourceName

_log = structlog.get_logger()


class Injector:
    """Owner of the links directory and of this agent's files in the CDI directory."""

    def __init__(self, links_dir: Path, cdi_dir: Path) -> None:
        self._links_dir = links_dir
        self._cdi_dir = cdi_dir
        self.machine = Machine(links_dir)
        self._around = Surroundings(links_dir)
        self._qualifiers: Mapping[ResourceName, Qualifiers] = {}
        self._links_error: OSError | None = None
        self._cdi_errors: Mapping[ResourceName, OSError] = {}
        self._linked: links.Targets | None = None

    def prepare(self, snapshot: Snapshot, *, whole: bool) -> None:
        """Bring links and CDI files to the Snapshot. Blocks on the file system; never raises.

        `whole`: also mend links that somebody else has changed since they were made.
        """
        devices = [device for group in snapshot.devices.values() for device in group]
        held = {device_of(gone.unit) for group in snapshot.gone.values() for gone in group}
        self._links_error = None
        with contextlib.ExitStack() as undo:
            try:
                undo.enter_context(links.locked(self._links_dir))
                self._link(devices, held, whole=whole)
            except OSError as error:
                self._links_error, self._linked = error, None
                _log.error("links not written", directory=str(self._links_dir), error=str(error))
            self._around = Surroundings(self._links_dir, snapshot.tree, links.find_binds(devices))
            self._qualifiers = qualify(tuple(snapshot.resources.values()))
            self._cdi_errors = self._write_cdi(snapshot)

    def _link(self, devices: Sequence[Device], held: Collection[DeviceId], *, whole: bool) -> None:
        wanted = links.targets(devices, held)
        if self._linked is None:
            links.sync(self._links_dir, devices, held)
        else:
            # Nobody's but our own: a second agent, with a newer configuration, may have others.
            names = wanted.keys() | self._linked.keys()
            known = links.found(self._links_dir, names) if whole else self._linked
            links.update(self._links_dir, known, wanted)
        self._linked = wanted

    def inject(self, resource: Resource, devices: Sequence[Device]) -> Injection:
        """What a container gets for `devices`, in the order asked for. Raises OSError."""
        for error in (self._link_error(devices), self._cdi_errors.get(resource.name)):
            if error:
                raise error
        injection = plan(resource, devices, self._around, self._qualifiers.get(resource.name))
        for lack in injection.lacks:
            _log.warning("not given", resource=resource.name, lack=lack)
        return injection

    def _link_error(self, devices: Sequence[Device]) -> OSError | None:
        if not isinstance(self._links_error, links.LinksError):
            return self._links_error
        errors = self._links_error.errors
        return next((errors[device.id] for device in devices if device.id in errors), None)

    def _write_cdi(self, snapshot: Snapshot) -> Mapping[ResourceName, OSError]:
        """Write what owner and mode need; the errors keep their resources from being allocated."""
        errors: dict[ResourceName, OSError] = {}
        wanting = [r for r in snapshot.resources.values() if r.container.needs_cdi]
        for resource in wanting:
            devices = snapshot.devices[resource.name]
            try:
                names = self._qualifiers[resource.name]
                cdi.write(self._cdi_dir, resource, devices, names, snapshot.tree)
            except OSError as error:
                errors[resource.name] = error
                _log.error("CDI file not written", resource=resource.name, error=str(error))
        try:
            cdi.prune(self._cdi_dir, [resource.name for resource in wanting])
        except OSError as error:
            _log.warning("stale CDI files stay", directory=str(self._cdi_dir), error=str(error))
        return errors
