"""Reads the directory of the reference plugin host-local, to take over the pods of a running node.

One file for each address, named after it, with the container's id and, since host-local 0.8, the
interface in a second line. A file without content is what a failed write left: nobody's. So is one
from before the last boot, which no pod survived.
"""

import contextlib
import ipaddress
import time
from pathlib import Path

from ringbolt.network.attachment import ContainerId, InterfaceName, Key
from ringbolt.network.settings import IpAddress

_USUAL_NAME = InterfaceName("eth0")


def parse_reservation(content: str) -> Key | None:
    """Who holds an address; None for a file without content."""
    words = content.split()
    if not words:
        return None
    return Key(ContainerId(words[0]), InterfaceName(words[1]) if words[1:] else _USUAL_NAME)


def read_store(directory: Path, booted_at: float | None = None) -> dict[Key, tuple[IpAddress, ...]]:
    """All reservations since `booted_at` (seconds since the epoch, None: ask the kernel).

    Raises OSError (ENOENT: there is no such directory).
    """
    if booted_at is None:
        booted_at = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    found: dict[Key, list[IpAddress]] = {}
    for path in sorted(directory.iterdir()):
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(path.name)
            key = parse_reservation(path.read_text(errors="replace"))
            if key and path.stat().st_mtime >= booted_at:
                found.setdefault(key, []).append(address)
    return {key: tuple(sorted(found[key], key=_order)) for key in found}


def _order(address: IpAddress) -> tuple[int, int]:
    return address.version, int(address)
