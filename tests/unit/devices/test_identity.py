"""Ids: never a kernel name, the same after replug and reboot, unique over everything."""

import json
import random
import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringbolt.devices.assemble import assemble
from ringbolt.devices.device import DeviceId
from ringbolt.devices.identity import Memory, Seen
from ringbolt.devices.resource import Resource
from ringbolt.devices.serial_number import normalised
from tests.unit.devices.machines import Machine, resource

XHCI = "/devices/pci0000:00/0000:00:14.0"
VALID = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,55}")
TTYS = resource("tty", {"subsystem": "tty"})
MODEMS = resource("modem", {"subsystem": "tty"}, group="parent usb_device")


def ids(machine: Machine, *resources: Resource, memory: Memory | None = None) -> dict[str, str]:
    """Device node of the first member -> id."""
    found = assemble(machine.tree(), resources, memory or Memory(), {}).devices
    return {one.members[0].dev_node: one.id for name in found for one in found[name]}


def adapter(machine: Machine, hub: str, port: int, tty: str, serial: str | None = None) -> str:
    said = {"serial": serial} if serial is not None else {}
    device = machine.usb(hub, port, product_name="x", **said)
    below = machine.add(f"{machine.interface(device, 0)}/{tty}", "usb-serial")
    machine.node(below, "tty", tty)
    return device


# --- One device ------------------------------------------------------------------------------


def plugged(bus: int, port: int, tty: str, serial: str | None) -> Machine:
    machine = Machine()
    adapter(machine, machine.root_hub(machine.pci(XHCI), bus), port, tty, serial)
    return machine


def test_a_serial_number_outlives_port_bus_and_name() -> None:
    before = ids(plugged(1, 2, "ttyUSB0", "FT50KUPS"), TTYS)["/dev/ttyUSB0"]
    after = ids(plugged(3, 4, "ttyUSB7", "FT50KUPS"), TTYS)["/dev/ttyUSB7"]
    assert before == after
    assert "FT50KUPS" in before


def test_without_a_serial_number_the_port_decides() -> None:
    first = ids(plugged(1, 2, "ttyUSB0", None), TTYS)["/dev/ttyUSB0"]
    renumbered = ids(plugged(3, 2, "ttyUSB7", None), TTYS)["/dev/ttyUSB7"]
    elsewhere = ids(plugged(1, 3, "ttyUSB0", None), TTYS)["/dev/ttyUSB0"]
    assert first == renumbered
    assert first != elsewhere


def test_bus_numbers_behind_a_bridge_may_move() -> None:
    def behind_bridge(bus: int) -> str:
        machine = Machine()
        port = machine.pci("/devices/pci0000:00/0000:00:1c.0")
        machine.node(machine.pci(f"{port}/0000:{bus:02x}:00.0"), "drm", "card0")
        return ids(machine, resource("gpu", {"subsystem": "drm"}))["/dev/card0"]

    assert behind_bridge(2) == behind_bridge(5)


@pytest.mark.parametrize(
    "serial", ["0000000000", "FFFF", "0123456789ABCDEF", "1", "  ", "n/a", "Default string"]
)
def test_a_serial_number_that_says_nothing_is_none(serial: str) -> None:
    assert ids(plugged(1, 2, "ttyUSB0", serial), TTYS) == ids(plugged(1, 2, "ttyUSB0", None), TTYS)


def test_the_same_with_udev_and_without() -> None:
    with_udev = plugged(1, 2, "ttyUSB0", None)
    path = next(path for path, node in with_udev.nodes.items() if node.kernel == "1-2")
    told = {"DEVTYPE": "usb_device", "PRODUCT": "403/6015/1000", "ID_SERIAL_SHORT": "A_b_12"}
    with_udev.add(path, "usb", told, dev="bus/usb/001/002")
    assert ids(with_udev, TTYS) == ids(plugged(1, 2, "ttyUSB0", " A b\t12 "), TTYS)


@pytest.mark.parametrize("serial", ["Seriennummer Ä-1", "日本語42", "\u200bzero", "a/b\\c,d"])
def test_any_characters_give_a_valid_id(serial: str) -> None:
    (found,) = ids(plugged(1, 2, "ttyUSB0", serial), TTYS).values()
    assert VALID.fullmatch(found)
    assert found != ids(plugged(1, 2, "ttyUSB0", None), TTYS)["/dev/ttyUSB0"]


def test_serial_numbers_are_normalised_as_udev_does() -> None:
    assert normalised("  A b\t 12/3 ") == "A_b_12_3"


def test_two_resources_of_one_device_have_two_ids() -> None:
    machine = plugged(1, 2, "ttyUSB0", "FT50KUPS")
    found = assemble(machine.tree(), (TTYS, MODEMS), Memory(), {}).devices
    assert len({one.id for devices in found.values() for one in devices}) == len(found) == 2


def test_ports_of_one_adapter_are_told_apart_by_the_drivers_own_number() -> None:
    def quad(first: int, order: tuple[int, ...]) -> dict[str, str]:
        machine = Machine()
        hub = machine.root_hub(machine.pci(XHCI), 1)
        face = machine.interface(machine.usb(hub, 1, serial="QUAD1"), 0)
        for count, port in enumerate(order):
            name = f"ttyUSB{first + count}"
            port_node = machine.add(
                f"{face}/{name}", "usb-serial", attributes={"port_number": str(port)}
            )
            machine.node(port_node, "tty", name, PORT=str(port))
        tree = machine.tree()
        devices = assemble(tree, (TTYS,), Memory(), {}).devices[TTYS.name]
        return {one.properties["PORT"]: one.id for one in devices}

    assert len(set(quad(0, (0, 1, 2, 3)).values())) == 4
    assert quad(0, (0, 1, 2, 3)) == quad(8, (3, 1, 0, 2))


def test_disks_are_known_by_their_world_wide_name_in_sysfs_as_in_udev() -> None:
    def disk(name: str, host: int, **said: str) -> Machine:
        machine = Machine()
        controller = machine.pci("/devices/pci0000:00/0000:00:1f.2")
        top = machine.add(f"{controller}/ata{host}/host{host}", "scsi", {"DEVTYPE": "scsi_host"})
        lun = f"{host}:0:0:0"
        told = {"DEVTYPE": "scsi_device"}
        device = machine.add(f"{top}/target{host}:0:0/{lun}", "scsi", told)
        attributes = {"device/wwid": said["wwid"]} if "wwid" in said else {}
        told = {"DEVTYPE": "disk", **({"ID_WWN": said["wwn"]} if "wwn" in said else {})}
        block = machine.add(f"{device}/block/{name}", "block", told, attributes, dev=name)
        part = {"DEVTYPE": "partition", "PARTN": "1"}
        machine.add(f"{block}/{name}1", "block", part, dev=f"{name}1")
        return machine

    disks = resource("disk", {"subsystem": "block"})
    one = ids(disk("sda", 0, wwid="naa.5000cca77fc2b2dc"), disks)
    two = ids(disk("sdb", 4, wwn="0x5000cca77fc2b2dc"), disks)
    assert list(one.values()) == list(two.values())
    assert one["/dev/sda"] != one["/dev/sda1"]


def test_old_kernels_call_the_nodes_of_usb_drivers_usb_as_well() -> None:
    def modem(number: int) -> Machine:
        machine = Machine()
        device = machine.usb(machine.root_hub(machine.pci(XHCI), 1), 1, serial="DW5560")
        name = f"cdc-wdm{number}"
        machine.add(f"{machine.interface(device, 5)}/usb/{name}", "usb", dev=name)
        return machine

    wdms = resource("wdm", {"subsystem": "usb", "kernel": "cdc-wdm*"})
    assert ids(modem(1), wdms)["/dev/cdc-wdm1"] == ids(modem(2), wdms)["/dev/cdc-wdm2"]


def test_a_gpio_chip_does_not_count_the_node_of_its_class() -> None:
    """Its class has a node of the same name or, by the lines before it, of a greater number."""

    def board(number: int, *, class_first: bool = False) -> Machine:
        machine = Machine()
        soc = machine.add("/devices/platform/soc/3f200000.gpio", "platform")
        where = [(f"{soc}/gpiochip0", "gpiochip0"), (f"{soc}/gpio/gpiochip{number}", None)]
        for path, dev in reversed(where) if class_first else where:
            machine.add(path, "gpio", dev=dev)
        return machine

    chips = resource("gpio", {"subsystem": "gpio"})
    boards = [board(512), board(0), board(0, class_first=True)]
    assert len({ids(one, chips)["/dev/gpiochip0"] for one in boards}) == 1


# --- Twins -----------------------------------------------------------------------------------


@dataclass
class Desk:
    """One root hub and what is plugged in: port -> (tty, serial)."""

    memory: Memory = field(default_factory=Memory)

    def look(self, ports: dict[int, str]) -> dict[int, str]:
        """The id at each port, with what earlier looks have taught."""
        machine = Machine()
        hub = machine.root_hub(machine.pci(XHCI), 1)
        for port, tty in ports.items():
            adapter(machine, hub, port, tty, "SAME")
        # What outlives the agent is the JSON.
        told = Memory.from_json(json.loads(json.dumps(self.memory.to_json())))
        found = assemble(machine.tree(), (TTYS,), told, {})
        self.memory = found.memory
        nodes = {one.members[0].dev_node: one.id for one in found.devices[TTYS.name]}
        return {port: nodes[f"/dev/{tty}"] for port, tty in ports.items()}


def test_the_first_of_two_with_one_serial_keeps_its_id() -> None:
    desk = Desk()
    alone = desk.look({1: "ttyUSB0"})
    both = desk.look({1: "ttyUSB0", 2: "ttyUSB1"})
    assert both[1] == alone[1]
    assert both[2] != both[1]
    assert desk.look({1: "ttyUSB1", 2: "ttyUSB0"}) == both, "numbers swapped at a reboot"
    assert desk.look({2: "ttyUSB0"}) == {2: both[2]}
    assert desk.look({1: "ttyUSB0"}) == {1: both[1]}


def test_two_with_one_serial_seen_together_first_keep_their_ids() -> None:
    desk = Desk()
    both = desk.look({1: "ttyUSB0", 2: "ttyUSB1"})
    assert both[1] != both[2]
    assert desk.look({2: "ttyUSB0"}) == {2: both[2]}
    assert desk.look({1: "ttyUSB0"}) == {1: both[1]}
    assert desk.look({1: "ttyUSB1", 2: "ttyUSB0"}) == both


def test_the_first_keeps_its_id_while_it_is_away() -> None:
    desk = Desk()
    first = desk.look({1: "ttyUSB0"})
    others = desk.look({2: "ttyUSB0", 3: "ttyUSB1"})
    assert desk.look({1: "ttyUSB2", 2: "ttyUSB0", 3: "ttyUSB1"}) == first | others


def test_one_alone_may_move() -> None:
    desk = Desk()
    assert desk.look({1: "ttyUSB0"})[1] == desk.look({3: "ttyUSB0"})[3]


def test_memory_refuses_what_it_did_not_write() -> None:
    wrongs: tuple[object, ...] = (None, [], {}, {"serials": {"a": {"port": 1, "shared": False}}})
    for wrong in wrongs:
        with pytest.raises(ValueError, match="expected"):
            Memory.from_json(wrong)
    memory = Memory({"usb/1:2/ß": Seen("p", shared=True)})
    assert Memory.from_json(memory.to_json()) == memory


# --- Any machine, numbered in any way ---------------------------------------------------------

SERIALS = st.sampled_from([None, None, "A1", "A2", "SAME", "SAME", "000", "Ünï☃", "x" * 200])
KINDS = st.sampled_from(["ttyACM", "cdc-wdm", "video", "hidraw", "sound", "event", "sd"])


@dataclass(frozen=True)
class Plugged:
    """A USB device: what it is and where, and nothing of numbers."""

    place: tuple[int, int, tuple[int, ...]]
    serial: str | None
    functions: tuple[str, ...]


@st.composite
def desks(draw: st.DrawFn) -> list[Plugged]:
    """Devices at different ports of two controllers with two root hubs each."""
    ports = st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple)
    place = st.tuples(st.integers(0, 1), st.sampled_from([2, 3]), ports)
    places = draw(st.lists(place, min_size=1, max_size=6, unique=True))
    functions = st.lists(KINDS, min_size=1, max_size=4).map(tuple)
    return [Plugged(place, draw(SERIALS), draw(functions)) for place in sorted(places)]


class Kernel:
    """Numbers things in an order of its own: another seed is another boot."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._next: dict[str, int] = {}

    def number(self, kind: str) -> int:
        self._next[kind] = self._next.get(kind, -1) + 1 + self._random.randrange(3)
        return self._next[kind]

    def shuffled(self, things: list[Plugged]) -> list[Plugged]:
        return self._random.sample(things, len(things))

    def boot(self, desk: list[Plugged]) -> Machine:
        machine = Machine()
        controllers = [machine.pci(f"/devices/pci0000:00/0000:00:1{n}.0") for n in range(2)]
        hubs = {
            (c, version): machine.root_hub(controllers[c], self.number("bus") + 1, version)
            for c, version in self._random.sample([(0, 2), (0, 3), (1, 2), (1, 3)], 4)
        }
        devices = {one.place: one for one in desk}
        for one in self.shuffled(desk):
            above = hubs[one.place[:2]]
            for depth, port in enumerate(one.place[2]):
                here = devices.get((*one.place[:2], one.place[2][: depth + 1]))
                serial = {"serial": here.serial} if here and here.serial else {}
                above = machine.usb(above, port, **serial)
            self._functions(machine, above, one)
        return machine

    def _functions(self, machine: Machine, device: str, one: Plugged) -> None:
        for count, kind in enumerate(one.functions):
            face = machine.interface(device, count)
            label = {"LABEL": f"{one.place} {count}"}
            name = f"{kind}{self.number(kind)}"
            if kind == "hidraw":
                face = machine.add(f"{face}/0003:046D:C318.{self.number('hid'):04X}", "hid")
            if kind == "sd":
                name = f"sd{'abcdefghijklmnopqrstuvwxyz'[self.number('disk')]}"
                host = self.number("host")
                face = machine.add(f"{face}/host{host}", "scsi", {"DEVTYPE": "scsi_host"})
                lun = f"{face}/target{host}:0:0/{host}:0:0:0"
                face = machine.add(lun, "scsi", {"DEVTYPE": "scsi_device"})
                label["DEVTYPE"] = "disk"
            subsystem = {"sd": "block", "event": "input", "video": "video4linux"}.get(kind, kind)
            machine.node(face, subsystem, name, **label)


EVERY = (
    resource("node", {"properties": {"LABEL": "*"}}),
    resource("group", {"properties": {"LABEL": "*"}}, group="parent usb_device"),
    resource("whole", {"usb": {"vendor": "0403"}}),
)


Offered = dict[DeviceId, frozenset[str]]
"""id -> its members, in words that no kernel name is part of."""


def offered(machine: Machine, memory: Memory) -> tuple[Offered, Memory]:
    """What is offered of the devices on the desk; hubs between them are none of these."""
    found = assemble(machine.tree(), EVERY, memory, {})
    labels = {node.dev_node: node.properties.get("LABEL", "") for node in machine.tree()}
    said = {
        one.id: frozenset(f"{member.name}: {labels[member.dev_node]}" for member in one.members)
        for devices in found.devices.values()
        for one in devices
        if any(labels[member.dev_node] for member in one.members)
    }
    return said, found.memory


@settings(deadline=None, max_examples=40)
@given(desks(), st.integers(0, 2**32), st.integers(0, 2**32))
def test_ids_are_valid_unique_and_blind_to_numbers(desk: list[Plugged], one: int, two: int) -> None:
    before, memory = offered(Kernel(one).boot(desk), Memory())
    after, _ = offered(Kernel(two).boot(desk), memory)
    assert before == after, "another boot"
    assert offered(Kernel(two).boot(desk), Memory())[0] == before, "the memory was lost"
    assert all(VALID.fullmatch(ident) for ident in before)
    functions = sum(len(plugged.functions) for plugged in desk)
    assert len(before) == functions + 2 * len(desk), "one id each by node, by group and by hardware"


@settings(deadline=None, max_examples=40)
@given(desks(), st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_what_goes_and_comes_changes_no_other_id(
    desk: list[Plugged], seed: int, chance: random.Random
) -> None:
    everything, memory = offered(Kernel(seed).boot(desk), Memory())
    staying = [one for one in desk if chance.random() < 0.5]
    reduced, memory = offered(Kernel(seed + 1).boot(staying), memory)
    assert reduced.items() <= everything.items()
    again, _ = offered(Kernel(seed + 2).boot(desk), memory)
    assert again == everything


def test_a_path_that_is_no_utf8_has_an_id_of_its_own() -> None:
    wanted = resource("odd", {"path": "/dev/odd/*"})
    paths = {wanted.name: ("/dev/odd/tty\udcfe", "/dev/odd/tty\udcff")}
    found = assemble(Machine().tree(), [wanted], Memory(), paths).devices[wanted.name]
    assert len({device.id for device in found}) == 2
    assert all(VALID.fullmatch(device.id) for device in found)
