"""USB devices through their node in /dev/bus/usb (Documentation/driver-api/usb/usb.rst)."""

import fcntl
import os

from ringbolt.linux import libc

USBDEVFS_RESET = 0x5514
"""`_IO('U', 20)` of linux/usbdevice_fs.h."""


def node_path(bus: int, device: int) -> str:
    """Where the node of device number `device` on bus `bus` is."""
    return f"/dev/bus/usb/{bus:03}/{device:03}"


def reset(path: str) -> None:
    """Reset the port of the device at `path` and bind its drivers anew; open files of it break.

    Blocks until the drivers have let go and come back. Raises OSError; ENODEV also where the device
    came back as another one (new firmware) and is now being found anew.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, USBDEVFS_RESET)
    except OSError as error:
        raise libc.failed(error.errno or 0, "USBDEVFS_RESET", path) from None
    finally:
        os.close(descriptor)
