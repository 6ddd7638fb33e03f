"""Reads the machine into a Tree: sysfs for what there is, udev's database for what udev made of it.

The nodes and their properties are libudev's, read directly because that takes a tenth of the time
(tests compare with pyudev, recording by recording). What nodes mean is judged elsewhere; events
come through `uevents` and only hint where to look again.
"""

import errno
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ringbolt.devices.tree import Node, SysPath, Tree
from ringbolt.devices.udev_database import UdevDatabase, combine, expects_record

UDEV_PATIENCE_S = 10.0
"""How long a node waits for udevd."""

_DEVICES = "/devices/"
_LARGEST = 65536
"""A sysfs attribute is at most one page, and a page at most 64 KiB."""
_NO_UDEV = (
    "No udev database in {folder}: selectors see the kernel's own names, attributes and ids, "
    "but no udev properties (ID_*), tags or links (/dev/serial/by-id). If udevd runs on the host, "
    "mount its /run/udev into the agent's container, read-only."
)


class Scanner:
    """Makes Trees of the machine. It remembers nothing but which nodes udevd has not processed.

    While udevd runs, such a node is `initialized=False`. After `patience_s` it is taken as it is:
    some hosts never tell udevd of a device. What was there before udevd came stays as it is, too.
    """

    def __init__(
        self,
        sys_root: Path = Path("/sys"),
        run_udev: Path = Path("/run/udev"),
        *,
        patience_s: float = UDEV_PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sys = os.fspath(sys_root)
        self._run_udev = run_udev
        self._patience_s = patience_s
        self._clock = clock
        self._waiting_since: dict[SysPath, float] = {}
        self._unprocessed: set[SysPath] = set()
        """Taken as they are, without udevd."""

    def scan(self) -> Tree:
        """Every node of every bus and class. Raises OSError where sysfs is not mounted."""
        database = UdevDatabase(self._run_udev, whole=True)
        found = dict(self._listed())
        self._forget((self._waiting_since.keys() | self._unprocessed) - found.keys())
        nodes = (self._read(path, owner, database) for path, owner in found.items())
        return Tree(filter(None, nodes), self.read_attribute)

    def rescan(self, tree: Tree, hints: Collection[SysPath]) -> Tree:
        """The tree after another look at the hinted paths, what lies below and what they lie in.

        A hint is a place, not a fact: the machine says whether something came, went or changed
        there. Hints that cover all changes give the tree that `scan` would give.
        """
        database = UdevDatabase(self._run_udev, whole=False)
        fresh: list[Node] = []
        places = _outermost(hints)
        for place in places:
            for path in (*_above(tree, place), *self._walk(place)):
                node = self._read(path, self._owner(path), database)
                fresh.extend([node] if node else [])
        inside = tuple(f"{place}/" for place in places)
        looked_at = {path for path in tree.nodes if path in places or path.startswith(inside)}
        self._forget(looked_at.difference(node.sys_path for node in fresh))
        return tree.replaced(looked_at, fresh)

    def waiting(self) -> frozenset[SysPath]:
        """The nodes that waited for udevd when they were looked at last: look at them again."""
        return frozenset(self._waiting_since)

    def lacks(self) -> tuple[str, ...]:
        """What the machine lacks, what does not work for it and what to do, a sentence each."""
        if UdevDatabase(self._run_udev, whole=False).present:
            return ()
        return (_NO_UDEV.format(folder=self._run_udev / "data"),)

    def read_attribute(self, path: SysPath, name: str) -> str | None:
        """One sysfs attribute, stripped; of a link the name it points at; None where not text."""
        file = f"{self._sys}{path}/{name}"
        try:
            return _read(file).decode().strip("\0 \t\n")
        except UnicodeDecodeError:
            return None
        except OSError as error:
            return _link_name(file) or None if error.errno == errno.EISDIR else None

    def _listed(self) -> Iterator[tuple[SysPath, str]]:
        """(path, owner) of every node: sysfs lists them as links below its buses and classes."""
        for kind, folder in (("bus", "/devices"), ("class", "")):
            for subsystem in os.listdir(f"{self._sys}/{kind}"):  # noqa: PTH208 (names are all we need)
                listing = f"{self._sys}/{kind}/{subsystem}{folder}"
                for name in _names(listing):
                    target = _link(f"{listing}/{name}")
                    if (start := target.find(_DEVICES)) >= 0:
                        yield SysPath(target[start:]), f"{kind}/{subsystem}"

    def _owner(self, path: SysPath) -> str:
        """`bus/usb` or `class/tty`, or "" for a folder that is no node."""
        return "/".join(_link(f"{self._sys}{path}/subsystem").rsplit("/", 2)[-2:])

    def _walk(self, path: SysPath) -> Iterator[SysPath]:
        """`path` and every folder in it; links are not followed."""
        try:
            with os.scandir(f"{self._sys}{path}") as entries:
                inside = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return
        yield path
        for name in inside:
            if name != "power":
                yield from self._walk(SysPath(f"{path}/{name}"))

    def _read(self, path: SysPath, owner: str, database: UdevDatabase) -> Node | None:
        """The node; None where it has gone meanwhile or never was one."""
        kind, _, subsystem = owner.partition("/")
        if not subsystem:
            return None
        try:
            text = _read(f"{self._sys}{path}/uevent").decode(errors="replace")
        except OSError:
            return None
        kernel_says = dict(line.split("=", 1) for line in text.split("\n") if "=" in line)
        undriven = kind == "bus" and "DRIVER" not in kernel_says
        if undriven and (driver := _link_name(f"{self._sys}{path}/driver")):
            kernel_says["DRIVER"] = driver
        record = database.record(path, subsystem, kernel_says)
        node = combine(path, subsystem, kernel_says, record)
        if record.ready if record else not expects_record(kernel_says):
            self._forget((path,))
            return node
        taken = self._takes_unprocessed(path, awaited=database.present)
        return node if taken else replace(node, initialized=False)

    def _takes_unprocessed(self, path: SysPath, *, awaited: bool) -> bool:
        """Whether the node is taken without udevd, which is to come where it is `awaited`."""
        now = self._clock()
        if awaited and path not in self._unprocessed:
            since = self._waiting_since.setdefault(path, now)
            if now - since < self._patience_s:
                return False
        self._waiting_since.pop(path, None)
        self._unprocessed.add(path)
        return True

    def _forget(self, paths: Iterable[SysPath]) -> None:
        for path in paths:
            self._waiting_since.pop(path, None)
            self._unprocessed.discard(path)


def _outermost(hints: Iterable[SysPath]) -> tuple[SysPath, ...]:
    """The hints that lie in no other, without what cannot be a device's path."""
    places: list[SysPath] = []
    for hint in sorted(hints, key=lambda path: f"{path}/"):
        valid = hint.startswith(_DEVICES) and ".." not in hint.split("/")
        if valid and not (places and f"{hint}/".startswith(f"{places[-1]}/")):
            places.append(hint)
    return tuple(places)


def _above(tree: Tree, path: SysPath) -> Iterator[SysPath]:
    """The folders above `path` that are no nodes of the tree yet."""
    cut = path.find("/", len(_DEVICES))
    while cut > 0:
        if (above := SysPath(path[:cut])) not in tree.nodes:
            yield above
        cut = path.find("/", cut + 1)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208
    except OSError:
        return []


def _read(file: str) -> bytes:
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _LARGEST)
    finally:
        os.close(fd)


def _link(file: str) -> str:
    """The text of a link, or "" where there is none."""
    try:
        return os.readlink(file)  # noqa: PTH115 (a Path per link costs more than the link)
    except OSError:
        return ""


def _link_name(file: str) -> str:
    return _link(file).rpartition("/")[2]
