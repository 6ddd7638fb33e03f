"""Which units must stay on the list although their device is not there: those that a pod holds.

Pure. A kubelet that finds a held id missing from the list reports it as healthy, and one that finds
it missing during its Allocate crashes (contract, sections 1.4.7 and 1.5), so it is listed as
unhealthy until it is released.
"""

from collections.abc import Iterable, Mapping

from ringbolt.devices.device import Device, Gone, UnitId
from ringbolt.devices.resource import ResourceName


def gone_units(
    resource: ResourceName, devices: Iterable[Device], held: Mapping[UnitId, str]
) -> tuple[Gone, ...]:
    """The held units that no device has, in the order of their ids; `held` says by whom."""
    if not held:
        return ()
    there = {unit for device in devices for unit in device.units()}
    return tuple(
        Gone(unit, resource, f"not there any more, held by {held[unit]}")
        for unit in sorted(held.keys() - there)
    )


def lost_units(before: Iterable[Device], now: Iterable[Device]) -> frozenset[UnitId]:
    """Units that were there before and are not now."""
    there = {unit for device in now for unit in device.units()}
    return frozenset(unit for device in before for unit in device.units()) - there
