"""The kubelet's device manager between two RPCs: lists come in, the checkpoint goes out.

How devices are chosen for a container is `allocator`; who is connected is `registration`.
Source: kubelet pkg/kubelet/cm/devicemanager/manager.go.
"""

import random
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from protos import deviceplugin_v1beta1_pb2 as v1beta1
from ringbolt.sandbox.checkpoint import (
    CheckpointError,
    encode,
    read_checkpoint,
    write_checkpoint,
)
from ringbolt.sandbox.device_table import DeviceTable, Quantity
from ringbolt.sandbox.endpoint import Endpoint
from ringbolt.sandbox.events import EventKind, EventLog
from ringbolt.sandbox.generation import Generation
from ringbolt.sandbox.pod_devices import PodDevices
from ringbolt.sandbox.settings import Settings
from ringbolt.sandbox.wire_checks import check_list

T = TypeVar("T")


class DeviceManager:
    """One kubelet process's memory; a restart makes a new one from the checkpoint.

    `active` answers the uids of the pods that have not ended.
    """

    def __init__(
        self,
        generation: Generation,
        settings: Settings,
        directory: Path,
        log: EventLog,
        active: Callable[[], Collection[str]],
    ) -> None:
        self.generation = generation
        self.settings = settings
        self.log = log
        self.table = DeviceTable(settings.timings.grace_s)
        self.held = PodDevices()
        self.allocated: dict[str, set[str]] = {}
        self._directory = directory
        self._active = active
        self._random = random.Random(settings.seed)  # noqa: S311  an order, no secret

    def load(self) -> None:
        """Read the checkpoint; its resources are registered with nothing to offer."""
        try:
            holdings, registered = read_checkpoint(self._directory)
        except CheckpointError as error:
            self.log.publish(EventKind.FAULT, f"goes on without its checkpoint: {error}")
            return
        for holding in holdings:
            self.held.insert(holding)
        self.allocated = self.held.allocated()
        for resource in registered:
            options = v1beta1.DevicePluginOptions()
            endpoint = Endpoint(resource, Path(), options, None, self.settings.clock())
            self.table.remember(resource, endpoint)

    def save(self) -> None:
        """Write the checkpoint."""
        write_checkpoint(self._directory, encode(self.held, self.table.healthy))

    def receive(self, resource: str, answer: v1beta1.ListAndWatchResponse) -> None:
        """A list message, of whichever stream: the newest message counts."""
        listed = answer.devices
        self.table.replace(resource, listed)
        self.save()
        devices = {device.ID: device.health for device in listed}
        self.log.publish(EventKind.LIST, resource=resource, devices=devices)
        held = {i for h in self.held if h.resource == resource for i in h.allocation.ids}
        for text in check_list(resource, listed, self.table.devices, held):
            self.log.publish(EventKind.VIOLATION, text, resource=resource)

    def disconnected(self, resource: str) -> None:
        """Whichever client of the resource ended: all its devices are unhealthy at once."""
        endpoint = self.table.endpoints.get(resource)
        if endpoint is not None:
            self.table.mark_unhealthy(resource)
            endpoint.stopped_s = self.settings.clock()
            self.log.publish(EventKind.DISCONNECTED, resource=resource)

    def node_status(self) -> Mapping[str, Quantity]:
        """Capacity and allocatable; what has been gone for the grace period is dropped now."""
        if self.table.drop_expired(self.settings.clock()):
            self.save()
        return self.table.status()

    def is_plugin_resource(self, resource: str) -> bool:
        """Registered now, or held by a container."""
        return resource in self.table.healthy or resource in self.allocated

    def free_ended_pods(self) -> None:
        """Take back the devices of pods that are gone; done late, when somebody asks."""
        if self.held.keep_only(self._active()):
            self.allocated = self.held.allocated()

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """Some order, as Go's maps and sets have none; the same for the same seed."""
        listed = sorted(items, key=str)
        self._random.shuffle(listed)
        return listed

    def health(self, resource: str, id_: str) -> str:
        """As pod status tells it: a device that is not on the list is Healthy."""
        device = self.table.devices.get(resource, {}).get(id_)
        return "Healthy" if device is None or device.health == "Healthy" else "Unhealthy"
