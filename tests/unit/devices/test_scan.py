"""Scanning a sysfs tree and udev database that lie in a temporary folder."""

import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ringbolt.devices.scan import Scanner
from ringbolt.devices.tree import SysPath, Tree
from ringbolt.devices.udev_database import parse_record

USB = "/devices/pci0000:00/0000:00:14.0/usb1/1-2"
TTY = f"{USB}/1-2:1.0/ttyUSB0/tty/ttyUSB0"


@dataclass
class Sysfs:
    """What the kernel and udevd write, as files below `root`."""

    root: Path
    now: float = 0.0
    scanner: Scanner = field(init=False)

    def __post_init__(self) -> None:
        for folder in ("sys/bus", "sys/class", "sys/devices"):
            (self.root / folder).mkdir(parents=True)
        self.scanner = Scanner(
            self.root / "sys", self.root / "udev", patience_s=10.0, clock=lambda: self.now
        )

    def plug(
        self, path: str, owner: str, files: Mapping[str, str] | None = None, **said: str
    ) -> None:
        """A device of `owner` ("bus/usb", "class/tty"), its attributes and uevent properties."""
        folder = self.root / f"sys{path}"
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"{name}={value}\n" for name, value in said.items())
        (folder / "uevent").write_text(lines)
        for name, text in (files or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        up = "../" * (path.count("/"))
        (folder / "subsystem").symlink_to(f"{up}{owner}")
        listing = self.root / "sys" / owner / ("devices" if owner.startswith("bus") else "")
        listing.mkdir(parents=True, exist_ok=True)
        (listing / folder.name).symlink_to(os.path.relpath(folder, listing))

    def unplug(self, path: str) -> None:
        """Take away the device and all that lies below it."""
        for listing in (self.root / "sys").glob("*/*/**/"):
            for link in listing.iterdir():
                if link.is_symlink() and f"{os.path.realpath(link)}/".startswith(
                    f"{self.root}/sys{path}/"
                ):
                    link.unlink()
        shutil.rmtree(self.root / f"sys{path}")

    def record(self, name: str, *lines: str) -> None:
        """What udevd writes when its rules have run."""
        folder = self.root / "udev" / "data"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(f"{line}\n" for line in lines))

    def plug_adapter(self) -> None:
        """A USB serial adapter."""
        self.plug("/devices/pci0000:00/0000:00:14.0", "bus/pci", {"numa_node": "1\n"})
        said = {"DEVTYPE": "usb_device", "MAJOR": "189", "MINOR": "3", "DEVNAME": "bus/usb/001/004"}
        self.plug(USB, "bus/usb", {"serial": "FT50KUPS\n"}, **said)
        self.plug(f"{USB}/1-2:1.0", "bus/usb", DEVTYPE="usb_interface")
        (self.root / f"sys{USB}/1-2:1.0/driver").symlink_to("../../../bus/usb/drivers/ftdi_sio")
        self.plug(f"{USB}/1-2:1.0/ttyUSB0", "bus/usb-serial", {"port_number": "0\n"})
        self.plug(TTY, "class/tty", MAJOR="188", MINOR="0", DEVNAME="ttyUSB0")


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs(tmp_path)


def test_the_kernel_alone_says_names_numbers_drivers_and_nodes(sysfs: Sysfs) -> None:
    sysfs.plug_adapter()
    tree = sysfs.scanner.scan()
    assert len(tree) == 5
    tty = tree.nodes[SysPath(TTY)]
    assert (tty.kernel, tty.subsystem, tty.dev_node) == ("ttyUSB0", "tty", "/dev/ttyUSB0")
    assert tty.initialized
    assert tree.nodes[SysPath(f"{USB}/1-2:1.0")].driver == "ftdi_sio"
    assert [above.kernel for above in tree.ancestors(tty)] == [
        "ttyUSB0",
        "1-2:1.0",
        "1-2",
        "0000:00:14.0",
    ]


def test_without_udevd_the_lack_is_told(sysfs: Sysfs) -> None:
    (lack,) = sysfs.scanner.lacks()
    assert "/dev/serial/by-id" in lack
    assert "mount" in lack
    sysfs.record("c1:3")
    assert sysfs.scanner.lacks() == ()


def test_udev_adds_properties_links_and_tags(sysfs: Sysfs) -> None:
    sysfs.plug_adapter()
    sysfs.record(
        "c188:0",
        "S:serial/by-id/usb-FTDI",
        "I:4711",
        "E:ID_BUS=usb",
        "G:systemd",
        "Q:systemd",
        "V:1",
    )
    node = sysfs.scanner.scan().nodes[SysPath(TTY)]
    assert node.links == ("/dev/serial/by-id/usb-FTDI",)
    assert node.tags == {"systemd"}
    assert node.properties["ID_BUS"] == "usb"
    assert node.properties["DEVLINKS"] == "/dev/serial/by-id/usb-FTDI"
    assert node.properties["USEC_INITIALIZED"] == "4711"


def test_a_node_waits_for_udevd_but_not_for_ever(sysfs: Sysfs) -> None:
    sysfs.plug_adapter()
    sysfs.record("c189:3", "I:1")

    def ready(tree: Tree) -> dict[str, bool]:
        return {node.kernel: node.initialized for node in tree if node.dev_node}

    assert ready(sysfs.scanner.scan()) == {"1-2": True, "ttyUSB0": False}
    sysfs.now = 9.0
    assert not ready(sysfs.scanner.scan())["ttyUSB0"]
    assert sysfs.scanner.waiting() == {TTY}
    sysfs.now = 10.0
    assert ready(sysfs.scanner.scan())["ttyUSB0"], "no rule of udevd will ever name it"
    assert sysfs.scanner.waiting() == frozenset()


def test_what_was_taken_without_udevd_stays_when_udevd_comes(sysfs: Sysfs) -> None:
    sysfs.plug_adapter()
    tree = sysfs.scanner.scan()
    sysfs.record("c1:3", "I:1")
    tree = sysfs.scanner.rescan(tree, [SysPath(TTY)])
    assert tree.nodes[SysPath(TTY)].initialized
    sysfs.unplug(TTY)
    tree = sysfs.scanner.rescan(tree, [SysPath(TTY)])
    sysfs.plug(TTY, "class/tty", MAJOR="188", MINOR="0", DEVNAME="ttyUSB0")
    tree = sysfs.scanner.rescan(tree, [SysPath(TTY)])
    assert not tree.nodes[SysPath(TTY)].initialized, "plugged in anew, it waits"


def test_a_node_is_ready_once_udevd_has_written_its_record(sysfs: Sysfs) -> None:
    sysfs.plug_adapter()
    sysfs.record("c188:0", "E:ID_PROCESSING=1")
    tree = sysfs.scanner.scan()
    assert not tree.nodes[SysPath(TTY)].initialized
    assert tree.nodes[SysPath(f"{USB}/1-2:1.0")].initialized, "udevd may write no record for it"
    sysfs.record("c188:0", "E:ID_BUS=usb")
    assert sysfs.scanner.rescan(tree, [SysPath(TTY)]).nodes[SysPath(TTY)].initialized


def test_attributes_are_read_when_asked_for_and_only_as_text(sysfs: Sysfs) -> None:
    sysfs.plug_adapter()
    (sysfs.root / f"sys{USB}/descriptors").write_bytes(b"\x12\x01\xff\xfe")
    tree = sysfs.scanner.scan()
    device = tree.nodes[SysPath(USB)]
    assert tree.attribute(device, "serial") == "FT50KUPS"
    assert tree.attribute(device, "descriptors") is None
    assert tree.attribute(device, "no/such") is None
    (sysfs.root / f"sys{USB}/serial").write_text("other")
    assert tree.attribute(device, "serial") == "FT50KUPS", "read once"
    seen = sysfs.scanner.rescan(tree, [SysPath(USB)])
    assert seen.attribute(seen.nodes[SysPath(USB)], "serial") == "other"


def test_records_are_read_line_by_line() -> None:
    record = parse_record("S:a/b\nE:X=1=2\nE:broken\nG:t\nQ:u\nI:9\nL:5\n\nW:3\n")
    assert record.links == ("/dev/a/b",)
    assert record.properties == {"X": "1=2", "USEC_INITIALIZED": "9"}
    assert (record.tags, record.current_tags) == (("t",), ("u",))


def test_a_hint_finds_what_came_and_the_folders_it_came_in(sysfs: Sysfs) -> None:
    tree = sysfs.scanner.scan()
    sysfs.plug_adapter()
    seen = sysfs.scanner.rescan(tree, [SysPath(TTY)])
    assert seen.nodes == sysfs.scanner.scan().nodes


def test_a_hint_is_a_place_and_may_be_nonsense(sysfs: Sysfs) -> None:
    sysfs.plug_adapter()
    tree = sysfs.scanner.scan()
    hints = [SysPath("/module/ftdi_sio"), SysPath("/devices/../../etc"), SysPath("/devices/gone")]
    assert sysfs.scanner.rescan(tree, hints).nodes == tree.nodes


@pytest.mark.parametrize("seed", range(12))
def test_looking_at_the_hints_is_as_good_as_looking_at_everything(sysfs: Sysfs, seed: int) -> None:
    """Also for children, parents and attributes, whatever came and went in between."""
    chance = random.Random(seed)
    plugged: list[str] = ["/devices/pci0000:00/0000:00:14.0"]
    sysfs.plug(plugged[0], "bus/pci")
    tree = sysfs.scanner.scan()
    for step in range(12):
        hints = set[SysPath]()
        for _ in range(chance.randint(1, 3)):
            if len(plugged) > 1 and chance.random() < 0.4:
                gone = chance.choice(plugged[1:])
                sysfs.unplug(gone)
                plugged = [path for path in plugged if not f"{path}/".startswith(f"{gone}/")]
                hints.add(SysPath(gone))
            else:
                glue = chance.choice(["", "/block", "/port/sub"])
                new = f"{chance.choice(plugged)}{glue}/dev{step}_{len(hints)}"
                sysfs.plug(new, chance.choice(["bus/usb", "class/tty"]), DEVNAME=f"d{step}")
                plugged.append(new)
                hints.add(SysPath(new))
        if chance.random() < 0.7:
            assert len(list(tree.below(tree.nodes[SysPath(plugged[0])]))) == len(tree) - 1
        tree = sysfs.scanner.rescan(tree, hints)
        whole = sysfs.scanner.scan()
        assert tree.nodes == whole.nodes
        for node in whole:
            assert tree.parent(node) == whole.parent(node)
            assert set(_paths(tree, node.sys_path)) == set(_paths(whole, node.sys_path))


def _paths(tree: Tree, path: SysPath) -> list[SysPath]:
    node = tree.nodes[path]
    return [child.sys_path for child in (*tree.children(node), *tree.siblings(node))]
