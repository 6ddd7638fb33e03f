"""What a program that is run for a device is told of it, in its environment."""

from collections.abc import Mapping

from ringbolt.devices.device import Device
from ringbolt.linux.command import ENVIRONMENT


def environment(device: Device) -> Mapping[str, str]:
    """What the program is told of the device: RINGBOLT_DEVICE (id), _RESOURCE, _NODES, _SYSFS.

    RINGBOLT_NODES holds the nodes on the host, separated by commas; RINGBOLT_SYSFS the physical
    device's folder below /sys, empty where it has none.
    """
    return {
        **ENVIRONMENT,
        "RINGBOLT_DEVICE": device.id,
        "RINGBOLT_RESOURCE": device.resource,
        "RINGBOLT_NODES": ",".join(member.dev_node for member in device.members),
        "RINGBOLT_SYSFS": device.anchor.sys_path if device.anchor else "",
    }
