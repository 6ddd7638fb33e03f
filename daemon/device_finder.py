"""Finds block devices by names that outlive a reboot, for volumes on devices.

By what sysfs and udev say now, of every block device and what it hangs on; kernel names (`sdb`)
are refused, since they are given out anew at each boot. Nothing is opened here.
"""

import difflib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ringbolt.devices.grammar import parse_terms
from ringbolt.devices.scan import Scanner
from ringbolt.devices.selector import Term
from ringbolt.devices.tree import Node, SysPath, Tree
from ringbolt.volumes.device import Candidate, Found
from ringbolt.volumes.errors import InvalidError
from ringbolt.volumes.spec import DeviceKey

_SERIAL = ("ID_SERIAL_SHORT", "ID_SERIAL", "ID_SCSI_SERIAL", "SCSI_IDENT_SERIAL")
_WWN = ("ID_WWN_WITH_EXTENSION", "ID_WWN")
_WWN_PREFIXES = ("0x", "naa.", "eui.", "t10.", "wwn-", "nvme.")
_BY = {DeviceKey.ID: "/dev/disk/by-id/", DeviceKey.PATH: "/dev/disk/by-path/"}


class DeviceFinder:
    """Looks at the machine at each call; any thread may call it."""

    def __init__(self, scanner: Scanner, sys_root: Path = Path("/sys")) -> None:
        self._scanner = scanner
        self._listing = sys_root / "class" / "block"
        self._turn = threading.Lock()

    def __call__(self, key: DeviceKey, value: str) -> Found:
        """What a name leads to now. Raises InvalidError: it can be no device's."""
        with self._turn:
            return find(self._look(), key, value)

    def _look(self) -> Tree:
        places = [os.path.realpath(self._listing / name) for name in _names(self._listing)]
        hints = [SysPath(place[place.find("/devices/") :]) for place in places]
        return self._scanner.rescan(Tree((), self._scanner.read_attribute), hints)


def find(tree: Tree, key: DeviceKey, value: str) -> Found:
    """The block devices of a tree that have the name. Raises InvalidError."""
    nodes = [one for one in tree if one.subsystem == "block" and one.dev_node]
    if key is DeviceKey.SELECTOR:
        terms = _terms(value)
        taken = [one for one in nodes if any(term.matches(one, tree) for term in terms)]
        return Found(tuple(_candidates(taken)))
    names, spelling = _NAMES[key]
    wanted = spelling(value)
    taken = [one for one in nodes if wanted in {spelling(name) for name in names(one, tree)}]
    known = sorted({name for one in nodes for name in names(one, tree)})
    close = () if taken else tuple(difflib.get_close_matches(wanted, known, 3, 0.4))
    return Found(tuple(_candidates(taken)), close)


def _candidates(nodes: Iterable[Node]) -> Iterator[Candidate]:
    for one in sorted(nodes, key=lambda node: node.kernel):
        number = os.makedev(int(one.properties["MAJOR"]), int(one.properties["MINOR"]))
        assert one.dev_node
        yield Candidate(one.dev_node, number, one.initialized)


def _terms(text: str) -> tuple[Term, ...]:
    try:
        value: object = json.loads(text)
    except ValueError:
        raise InvalidError(
            'a selector is JSON of the language of `resources`: {"properties": {"ID_BUS": "usb"}}'
        ) from None
    terms, faults = parse_terms(value)
    if faults:
        hint = f": {faults[0].hint}" if faults[0].hint else ""
        raise InvalidError(f"selector: {faults[0].message}{hint}")
    return terms


def _serials(node: Node, tree: Tree) -> Iterator[str]:
    """Of whole disks: a partition is named by its partuuid."""
    if node.devtype == "disk":
        yield from _told(node, tree, _SERIAL, ("serial", "device/serial"))


def _world_wide(node: Node, tree: Tree) -> Iterator[str]:
    if node.devtype == "disk":
        yield from _told(node, tree, _WWN, ("wwid", "device/wwid"))


def _told(
    node: Node, tree: Tree, properties: Iterable[str], attributes: Iterable[str]
) -> Iterator[str]:
    yield from (text for name in properties if (text := node.properties.get(name)))
    yield from (text for name in attributes if (text := tree.attribute(node, name)))


def _links(prefix: str) -> "_Names":
    def names(node: Node, tree: Tree) -> Iterator[str]:
        del tree
        yield from (link[len(prefix) :] for link in node.links if link.startswith(prefix))

    return names


def _partition(node: Node, tree: Tree) -> Iterator[str]:
    del tree
    names = ("PARTUUID", "ID_PART_ENTRY_UUID")
    if node.devtype == "partition":
        yield from (text for name in names if (text := node.properties.get(name)))


def _plain(text: str) -> str:
    return text.strip()


def _world_wide_spelling(text: str) -> str:
    text = text.strip().lower()
    return next((text[len(one) :] for one in _WWN_PREFIXES if text.startswith(one)), text)


def _link_spelling(prefix: str) -> Callable[[str], str]:
    def spelling(text: str) -> str:
        if text.startswith("/") and not text.startswith(prefix):
            raise InvalidError(f"{text[:200]!r} changes from boot to boot: name it as in {prefix}")
        return text.removeprefix(prefix)

    return spelling


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 (names are all we need)
    except FileNotFoundError:
        return []


_Names = Callable[[Node, Tree], Iterator[str]]
_NAMES: dict[DeviceKey, tuple[_Names, Callable[[str], str]]] = {
    DeviceKey.SERIAL: (_serials, _plain),
    DeviceKey.WWN: (_world_wide, _world_wide_spelling),
    DeviceKey.ID: (_links(_BY[DeviceKey.ID]), _link_spelling(_BY[DeviceKey.ID])),
    DeviceKey.PATH: (_links(_BY[DeviceKey.PATH]), _link_spelling(_BY[DeviceKey.PATH])),
    DeviceKey.PARTUUID: (_partition, str.lower),
}
