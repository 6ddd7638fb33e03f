"""Whole machines: what is read is what libudev says, and what is offered is what stands there."""

import functools
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

OWN = Path(__file__).parent / "recordings"
FOREIGN = os.environ.get("RINGBOLT_RECORDINGS")
RECORDINGS = sorted(
    path
    for folder in (OWN, *([Path(FOREIGN)] if FOREIGN else []))
    for path in folder.glob("*.umockdev")
)
VALID = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,55}")

RESOURCES: Mapping[str, object] = {
    "node": {"select": {"subsystem": "*"}},
    "usb": {"select": {"subsystem": "*"}, "group": "parent usb_device"},
    "tty": {"select": {"subsystem": "tty", "kernel": "tty[UA]*"}},
    "modem": {
        "select": {"subsystem": "tty", "kernel": "ttyACM*"},
        "group": "parent usb_device",
        "inject": ["tty", "usbmisc"],
    },
    "camera": {"select": {"subsystem": "video4linux"}, "inject": ["video4linux", "media"]},
    "gpu": {"select": {"subsystem": "drm"}, "inject": ["drm"]},
    "sound": {"select": {"subsystem": "sound", "kernel": "controlC*"}, "inject": ["sound"]},
    "hidraw": {"select": {"subsystem": "hidraw"}},
}
PROGRAM = "from tests.hardware.looking import compare_with_libudev, tell; compare_with_libudev(); "


@dataclass(frozen=True)
class Machine:
    """What was told of a recorded machine. JSON stays JSON: tests name what they look at."""

    compared: dict[str, Any]
    told: dict[str, Any]

    @property
    def memory(self) -> object:
        return self.told["memory"]

    def devices(self, resource: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.told["devices"][resource]
        return found

    def ids(self, resource: str) -> set[str]:
        return {one["id"] for one in self.devices(resource)}

    def groups(self, resource: str) -> list[list[str]]:
        return sorted(sorted(one["nodes"].values()) for one in self.devices(resource))


Look = Callable[[Path, object], Machine]
MachineOf = Callable[..., Machine]


@pytest.fixture(scope="session")
def look(on_machine: Callable[[Path, str], str]) -> Look:
    """Look at a recording, with what an earlier look has learned; a first look is kept."""

    def run(recording: Path, memory: object) -> Machine:
        lines = on_machine(recording, f"{PROGRAM} tell({RESOURCES!r}, {memory!r})").splitlines()
        return Machine(*(json.loads(line) for line in lines))

    known = functools.cache(lambda recording: run(recording, None))
    return lambda recording, memory: run(recording, memory) if memory else known(recording)


@pytest.fixture
def machine(recorded: Callable[[str], Path], look: Look) -> MachineOf:
    return lambda name, memory=None: look(recorded(name), memory)


# --- Every recording ---------------------------------------------------------------------------


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_we_read_what_libudev_says(recording: Path, look: Look) -> None:
    compared = look(recording, None).compared
    assert compared["nodes"] > 0
    assert compared["differing"] == {}


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_every_id_is_valid_and_unique(recording: Path, look: Look) -> None:
    devices = [one for some in look(recording, None).told["devices"].values() for one in some]
    assert devices
    assert len({one["id"] for one in devices}) == len(devices)
    assert [one["id"] for one in devices if not VALID.fullmatch(one["id"])] == []
    assert [one for one in devices if len(one["nodes"]) != len(set(one["nodes"].values()))] == []


# --- Recordings of our own ---------------------------------------------------------------------


def test_numbers_swap_over_a_reboot_and_ids_do_not(machine: MachineOf) -> None:
    """ttyUSB0 and ttyUSB1 swap, so do the USB buses, and the PCI bus behind a bridge moves."""
    before = machine("reboot_before")
    after = machine("reboot_after", before.memory)

    def by_id(found: Machine) -> dict[str, str | None]:
        return {one["id"]: one["serial"] for one in found.devices("tty")}

    assert by_id(before) == by_id(after)
    assert sorted(filter(None, by_id(before).values())) == ["A50285BI", "A7032QQW"]
    assert before.ids("node") == after.ids("node")
    assert before.ids("usb") == after.ids("usb")


def by_port(found: Machine) -> dict[str, str]:
    """Port of the USB device -> id."""
    return {one["anchor"].rpartition("-")[2]: one["id"] for one in found.devices("tty")}


def test_of_two_with_one_serial_the_first_keeps_its_id(machine: MachineOf) -> None:
    alone = machine("twins_first_alone")
    both = machine("twins", alone.memory)
    assert by_port(both)["1"] == by_port(alone)["1"]
    assert len(set(by_port(both).values())) == 3
    for later in ("twins_swapped", "twins_second_alone", "twins_first_alone"):
        seen = machine(later, both.memory)
        assert by_port(seen).items() <= by_port(both).items(), later


def test_two_with_one_serial_seen_together_are_told_apart_by_port(machine: MachineOf) -> None:
    both = machine("twins")
    for later in ("twins_swapped", "twins_second_alone", "twins_first_alone"):
        seen = machine(later, both.memory)
        assert by_port(seen).items() <= by_port(both).items(), later


def test_names_that_are_not_ascii_give_valid_ids(machine: MachineOf) -> None:
    (one,) = machine("non_ascii").devices("tty")
    assert VALID.fullmatch(one["id"])
    assert "0042" in one["id"]


def test_a_gpu_is_its_card_and_render_node_on_its_numa_node(machine: MachineOf) -> None:
    found = machine("two_gpus").devices("gpu")
    said = [(one["nodes"], one["numa"], one["root"]) for one in found]
    assert sorted(said, key=lambda one: one[1]) == [
        ({"card": "/dev/dri/card0", "renderD": "/dev/dri/renderD128"}, 0, "0000:00:01.0"),
        ({"card": "/dev/dri/card1", "renderD": "/dev/dri/renderD129"}, 1, "0000:80:01.0"),
    ]


def test_the_ports_of_one_adapter_keep_their_ids(machine: MachineOf) -> None:
    def by_driver_port(name: str, order: list[int], first: int) -> dict[int, str]:
        found = machine(name).devices("tty")
        numbers = {f"/dev/ttyUSB{first + n}": port for n, port in enumerate(order)}
        return {numbers[next(iter(one["nodes"].values()))]: one["id"] for one in found}

    before = by_driver_port("quad_adapter", [0, 1, 2, 3], 0)
    assert len(set(before.values())) == 4
    assert by_driver_port("quad_adapter_renumbered", [2, 0, 3, 1], 4) == before


def test_a_modem_and_a_camera_are_one_device_each(machine: MachineOf) -> None:
    here = machine("modem_and_camera")
    assert [len(group) for group in here.groups("modem")] == [6]
    assert here.groups("camera") == [["/dev/media0", "/dev/video0", "/dev/video1"]]


# --- Recordings of others ----------------------------------------------------------------------


def test_laptop_modem_cameras_and_sound_cards(machine: MachineOf) -> None:
    here = machine("LENOVO_T430S")
    assert here.groups("modem") == [
        [
            f"/dev/{name}{n}"
            for name, first in (("cdc-wdm", 1), ("ttyACM", 0))
            for n in range(first, first + 3)
        ]
    ]
    assert here.groups("camera") == [["/dev/video0"], ["/dev/video1"]]
    found = here.groups("sound")
    usb_and_pci = [group for group in found if "/dev/snd/controlC29" not in group]
    assert len(usb_and_pci) == 3
    assert len(found) == 4, "and the keyboard's own mixer, a platform device"
    assert len(here.groups("hidraw")) == 5


def test_camera_with_capture_metadata_and_media_nodes(machine: MachineOf) -> None:
    here = machine("HP_ELITEBOOK_835_13_INCH_G10")
    assert here.groups("camera") == [
        [f"/dev/media{n}" for n in range(2)] + [f"/dev/video{n}" for n in range(4)]
    ]


def test_a_machine_whose_devices_hang_on_no_bus(machine: MachineOf) -> None:
    here = machine("RPI4B4G")
    codecs = here.devices("camera")
    assert {one["anchor"].rpartition("/")[2] for one in codecs} == {"bcm2835-codec", "bcm2835-isp"}
    assert {one["root"] for one in codecs} == {""}
    (serial,) = here.devices("tty")
    assert serial["nodes"] == {"ttyAMA": "/dev/ttyAMA0"}
    assert "fe201000" in serial["id"]


def test_a_serial_adapter_is_known_by_its_serial_number(machine: MachineOf) -> None:
    (adapter,) = machine("ELEMENT_BIOSCIENCES_INSTRUMENT").devices("tty")
    assert "FT50KUPS" in adapter["id"]
    assert list(adapter["nodes"].values()) == ["/dev/ttyUSB0"]
