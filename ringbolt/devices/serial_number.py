"""The serial number by which a piece of hardware is known, wherever it is plugged in.

sysfs is asked first and udev only where sysfs does not know, so that the answer is the same with
udevd and without. What identity is made of it is decided in `identity`.
"""

import re
from dataclasses import dataclass

from ringbolt.devices.pattern import udev_name
from ringbolt.devices.tree import Node, Tree

_JUNK = frozenset(
    {
        "0123456789abcdef",
        "123456789abcdef",
        "0123456789",
        "1234567890",
        "123456789",
        "12345678",
        "1234567",
        "123456",
        "12345",
        "1234",
        "123",
        "1234567890ab",
        "123456789abc",
        "1234567890abcdef",
        "default",
        "defaultstring",
        "none",
        "null",
        "na",
        "n/a",
        "unknown",
        "invalid",
        "serial",
        "serialnumber",
        "serial_number",
        "notspecified",
        "tobefilledbyo.e.m.",
        "systemserialnumber",
    }
)
"""What makers leave in, without blanks and dashes and in lower case."""
_SEPARATORS = re.compile(r"[\s_:-]")
_WORLD_WIDE = re.compile(r"(?:naa\.|eui\.|uuid\.|nvme\.|0x)(.+)")
_IN_BLUETOOTH = "0005:"


@dataclass(frozen=True, slots=True)
class Owner:
    """The nearest hardware with a serial number at or above a node.

    `key` is unique to the hardware as far as its maker kept his promise; `serial` is for people.
    """

    node: Node
    key: str
    serial: str


def owner(node: Node, tree: Tree) -> Owner | None:
    """Whose serial number stands for the node; None where the port must."""
    lineage = tuple(tree.lineage(node))
    for device in lineage:
        if device.devtype == "usb_device":
            # What is inside a USB device reports serials of its own only while udevd runs.
            return _usb(device, tree)
    told = (
        found
        for look in (_by_kernel, _by_udev)
        for device in lineage
        if (found := look(device, tree))
    )
    return next(told, None)


def normalised(text: str | None) -> str:
    """A serial as udev writes it into ID_SERIAL_SHORT; "" for what is none or says nothing."""
    if not text:
        return ""
    plain = udev_name(text)
    letters = _SEPARATORS.sub("", plain).lower()
    junk = len(set(letters)) <= 1 or letters in _JUNK
    return "" if junk else plain


def usb_ids(device: Node, tree: Tree) -> str:
    """`0403:6015`, from the kernel's PRODUCT, else sysfs."""
    parts = device.properties.get("PRODUCT", "").split("/")
    if len(parts) < 2:  # noqa: PLR2004 (vendor/product/release)
        parts = [tree.attribute(device, name) or "" for name in ("idVendor", "idProduct")]
    return ":".join(part.lower().zfill(4) for part in parts[:2])


def _usb(device: Node, tree: Tree) -> Owner | None:
    if device.kernel.startswith("usb"):
        return None  # the serial of a root hub is the PCI address of its controller
    own = tree.attribute(device, "serial")
    serial = normalised(own if own is not None else device.properties.get("ID_SERIAL_SHORT"))
    return Owner(device, f"usb/{usb_ids(device, tree)}/{serial}", serial) if serial else None


def _by_kernel(device: Node, tree: Tree) -> Owner | None:
    """What sysfs says of a device that is not USB."""

    def said(name: str) -> str | None:
        return tree.attribute(device, name)

    if device.subsystem == "block" and device.devtype == "disk":
        wwid = said("wwid") or said("device/wwid")
        own = _of(device, "dm", said("dm/uuid")) or _of(device, "md", said("md/uuid"))
        return own or _world_wide(device, wwid) or _of(device, "disk", said("serial") or wwid)
    if device.subsystem in {"nvme", "nvme-subsystem"}:
        return _of(device, "nvme", said("model"), said("serial"))
    if device.subsystem == "mmc":
        return _of(device, "mmc", said("cid") or said("serial"))
    if device.subsystem == "hid" and device.properties.get("HID_ID", "").startswith(_IN_BLUETOOTH):
        return _of(device, "bluetooth", device.properties.get("HID_UNIQ"))
    return None


def _by_udev(device: Node, tree: Tree) -> Owner | None:  # noqa: ARG001 (as `_by_kernel`)
    """What udev's rules found out about a disk."""
    if device.subsystem != "block" or device.devtype != "disk":
        return None
    said = device.properties.get
    wwn = _world_wide(device, said("ID_WWN_WITH_EXTENSION") or said("ID_WWN"))
    own = _of(device, "dm", said("DM_UUID")) or _of(device, "md", said("MD_UUID"))
    return own or wwn or _of(device, "disk", said("ID_SERIAL_SHORT"))


def _world_wide(disk: Node, text: str | None) -> Owner | None:
    """`naa.5000c5...` in sysfs is `0x5000c5...` in udev."""
    name = _WORLD_WIDE.match(text or "")
    return _of(disk, "wwn", name[1].lower()) if name else None


def _of(node: Node, kind: str, *parts: str | None) -> Owner | None:
    """An owner whose last part is the serial; the others only widen the key."""
    words = [normalised(part) for part in parts]
    return Owner(node, "/".join((kind, *words)), words[-1]) if words[-1] else None
