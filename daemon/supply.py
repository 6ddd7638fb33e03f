"""What one resource gives: its units by id, which are preferred, what a container gets for them.

Values only; `plugin` turns them into the wire and back. Allocation is a pure function of the
newest Snapshot and the ids asked for.
"""

import functools
from collections.abc import Mapping, Sequence

from daemon.holders import Holders
from daemon.injector import Injector
from daemon.inventory import Inventory
from daemon.offload import in_thread
from ringbolt.devices import allocation, prestart
from ringbolt.devices.device import Device, Snapshot, State, UnitId
from ringbolt.devices.injection import Injection
from ringbolt.devices.resource import Resource, ResourceName


class AllocationError(Exception):
    """A container cannot be given what it asks for; the message says what and why."""


class UnknownUnitError(AllocationError):
    """An id that is not, or not any more, one of this resource's."""


class NotAllocatableError(AllocationError):
    """A device that is known but cannot be handed out now."""


class Supply:
    """One resource, seen through the newest Snapshot."""

    def __init__(
        self, resource: Resource, inventory: Inventory, holders: Holders, injector: Injector
    ) -> None:
        self.name: ResourceName = resource.name
        self.pre_starts = resource.prestart is not None
        """Fixed, as the kubelet asks once; the newest Snapshot may not know of a reload yet."""
        self._configured = resource
        self._inventory = inventory
        self._holders = holders
        self._injector = injector
        self._index: tuple[int, Mapping[UnitId, Device]] = (-1, {})

    @property
    def resource(self) -> Resource:
        """The resource as the newest Snapshot has it, or had it before it was removed."""
        resources = self._inventory.snapshot.resources
        self._configured = resources.get(self.name, self._configured)
        return self._configured

    def prefer(self, available: Sequence[str], must_include: Sequence[str], size: int) -> list[str]:
        """Which `size` of the `available` ids to take; never raises."""
        snapshot = self._inventory.snapshot
        devices = snapshot.devices.get(self.name, ())
        policy = self.resource.allocate
        return allocation.prefer(policy, devices, available, must_include, size)

    def allocate(self, units: Sequence[UnitId]) -> Injection:
        """What a container that was given `units` gets. Raises AllocationError."""
        with self._holders.allocating(self.name, units):
            devices = [self._healthy(unit) for unit in units]
            try:
                return self._injector.inject(self.resource, devices)
            except OSError as error:
                raise AllocationError(f"{self.name}: {error}") from error

    async def prestart(self, units: Sequence[UnitId]) -> None:
        """Run the configured pre-start actions. Raises AllocationError."""
        actions = self.resource.prestart
        if actions is None:
            return
        devices = {device.id: device for device in map(self._known, units)}
        for device in devices.values():
            run = functools.partial(prestart.run, device, actions, self._injector.machine)
            try:
                await in_thread(run, timeout_s=actions.timeout_s + 1)
            except prestart.PreStartError as error:
                raise NotAllocatableError(f"{self.name}: {error}") from error
            except TimeoutError:
                raise NotAllocatableError(
                    f"{self.name}: {device.id}: pre-start actions hang for over "
                    f"{actions.timeout_s} s; the device's driver does not answer"
                ) from None

    def _healthy(self, unit: UnitId) -> Device:
        device = self._known(unit)
        if device.state is not State.HEALTHY:
            raise NotAllocatableError(f"{self.name}: {unit} is unhealthy: {device.reason}")
        return device

    def _known(self, unit: UnitId) -> Device:
        snapshot = self._inventory.snapshot
        if device := self._by_unit(snapshot).get(unit):
            return device
        for gone in snapshot.gone.get(self.name, ()):
            if gone.unit == unit:
                raise NotAllocatableError(f"{self.name}: {unit} is {gone.reason}")
        raise UnknownUnitError(f"{self.name}: no device has the id {unit!r}")

    def _by_unit(self, snapshot: Snapshot) -> Mapping[UnitId, Device]:
        version, index = self._index
        if version != snapshot.version:
            devices = snapshot.devices.get(self.name, ())
            index = {unit: device for device in devices for unit in device.units()}
            self._index = (snapshot.version, index)
        return index
