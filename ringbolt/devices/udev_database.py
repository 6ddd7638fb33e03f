"""What udevd wrote down about devices (/run/udev/data), joined with what the kernel says.

The format is libudev's own business; pyudev is the oracle of the tests. Sysfs is read by `scan`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ringbolt.devices.tree import Node, SysPath


@dataclass(frozen=True, slots=True)
class Record:
    """One file of the database: links as absolute paths, tags, properties."""

    links: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    current_tags: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def ready(self) -> bool:
        """Udevd marks a record that it is still working on (systemd 257, ID_PROCESSING)."""
        return self.properties.get("ID_PROCESSING") != "1"


class UdevDatabase:
    """The records below `run_udev`; with `whole` their names are listed once instead of tried."""

    def __init__(self, run_udev: Path, *, whole: bool) -> None:
        self._folder = run_udev / "data"
        try:
            with os.scandir(self._folder) as entries:
                self._names = {entry.name for entry in entries} if whole else None
                self.present = bool(self._names) if whole else next(entries, None) is not None
        except OSError:
            self._names = set[str]()
            self.present = False

    def record(
        self, path: SysPath, subsystem: str, kernel_says: Mapping[str, str]
    ) -> Record | None:
        """The node's record, or None while (or because) udevd has written none."""
        name = record_name(path, subsystem, kernel_says)
        if self._names is not None and name not in self._names:
            return None
        try:
            text = (self._folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        return parse_record(text)


def expects_record(kernel_says: Mapping[str, str]) -> bool:
    """Whether udevd, where it runs, writes a record for such a device in any case.

    It does for what has a device number or is a network interface, even if no rule says anything
    of it (systemd, device_update_db); others may never get one.
    """
    return _has_number(kernel_says) or "IFINDEX" in kernel_says


def record_name(path: SysPath, subsystem: str, kernel_says: Mapping[str, str]) -> str:
    """The file name of a device's record: `c188:0`, `b8:0`, `n3` or `+usb:1-1`."""
    if _has_number(kernel_says):
        kind = "b" if subsystem == "block" else "c"
        return f"{kind}{kernel_says['MAJOR']}:{kernel_says.get('MINOR', '0')}"
    if ifindex := kernel_says.get("IFINDEX"):
        return f"n{ifindex}"
    return f"+{subsystem}:{path.rpartition('/')[2]}"


def parse_record(text: str) -> Record:
    """A record from its text: one letter, a colon and a value per line."""
    links: list[str] = []
    tags: list[str] = []
    current: list[str] = []
    properties: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == "S":
            links.append(f"/dev/{value}")
        elif key == "G":
            tags.append(value)
        elif key == "Q":
            current.append(value)
        elif key == "I":
            properties["USEC_INITIALIZED"] = value
        elif key == "E" and "=" in value:
            name, _, content = value.partition("=")
            properties[name] = content
    return Record(tuple(links), tuple(tags), tuple(current), properties)


def combine(
    path: SysPath, subsystem: str, kernel_says: Mapping[str, str], record: Record | None
) -> Node:
    """The node with the properties that libudev would give it."""
    record = record or Record()
    properties = {"DEVPATH": path, "SUBSYSTEM": subsystem, **kernel_says, **record.properties}
    dev_node = _dev_node(kernel_says)
    if dev_node:
        properties["DEVNAME"] = dev_node
    if record.links:
        properties["DEVLINKS"] = " ".join(record.links)
    if record.tags:
        properties["TAGS"] = f":{':'.join(record.tags)}:"
    if record.current_tags:
        properties["CURRENT_TAGS"] = f":{':'.join(record.current_tags)}:"
    return Node(
        sys_path=path,
        kernel=path.rpartition("/")[2].replace("!", "/"),
        subsystem=subsystem,
        devtype=kernel_says.get("DEVTYPE", ""),
        driver=kernel_says.get("DRIVER", ""),
        dev_node=dev_node,
        # Recordings carry links and tags as properties of the kernel's.
        links=record.links or tuple(properties.get("DEVLINKS", "").split()),
        tags=frozenset(record.tags or filter(None, properties.get("TAGS", "").split(":"))),
        properties=properties,
    )


def _has_number(kernel_says: Mapping[str, str]) -> bool:
    return kernel_says.get("MAJOR", "0") != "0"


def _dev_node(kernel_says: Mapping[str, str]) -> str | None:
    name = kernel_says.get("DEVNAME")
    return f"/dev/{name.removeprefix('/dev/')}" if name else None
