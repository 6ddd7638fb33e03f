"""What is offered: groups, members, places in the machine, plain paths."""

from dataclasses import replace
from pathlib import Path

import pytest

from ringbolt.devices import plain_paths, topology
from ringbolt.devices.assemble import assemble
from ringbolt.devices.device import Device
from ringbolt.devices.identity import Memory
from ringbolt.devices.resource import Container, Resource
from ringbolt.devices.tree import SysPath
from tests.unit.devices.machines import Machine, resource

ROOT_PORT = "/devices/pci0000:00/0000:00:1c.0"


def offered(machine: Machine, one: Resource, *paths: str) -> list[Device]:
    return list(assemble(machine.tree(), (one,), Memory(), {one.name: paths}).devices[one.name])


def nodes(devices: list[Device]) -> list[list[str]]:
    """The device nodes of each device."""
    return sorted(sorted(member.dev_node for member in one.members) for one in devices)


def hub_with_modems() -> Machine:
    """A hub, itself a USB device, with two modems of three ttys and one cdc-wdm each."""
    machine = Machine()
    root = machine.root_hub(machine.pci("/devices/pci0000:00/0000:00:14.0"), 1)
    hub = machine.usb(root, 1)
    machine.node(machine.interface(hub, 0), "hidraw", "hidraw9")
    for port in (1, 2):
        modem = machine.usb(hub, port, "bdb/1926/0", serial=f"MODEM{port}")
        for number in range(3):
            tty = f"ttyACM{3 * port + number}"
            machine.node(machine.interface(modem, number), "tty", tty)
        machine.node(machine.interface(modem, 5), "usbmisc", f"cdc-wdm{port}")
    return machine


def test_by_default_every_matched_node_is_a_device() -> None:
    found = offered(hub_with_modems(), resource("tty", {"subsystem": "tty"}))
    assert len(found) == 6
    assert all(one.anchor and one.anchor.devtype == "usb_device" for one in found)


def test_one_device_per_nearest_parent_with_the_subsystems_to_inject() -> None:
    modems = resource(
        "modem", {"subsystem": "tty"}, group="parent usb_device", inject=("tty", "usbmisc")
    )
    found = offered(hub_with_modems(), modems)
    assert nodes(found) == [
        ["/dev/cdc-wdm1", "/dev/ttyACM3", "/dev/ttyACM4", "/dev/ttyACM5"],
        ["/dev/cdc-wdm2", "/dev/ttyACM6", "/dev/ttyACM7", "/dev/ttyACM8"],
    ]
    for one in found:
        assert len({member.name for member in one.members}) == len(one.members)
        assert not any(
            character.isdigit() and "ACM" + character in member.name
            for member in one.members
            for character in member.name
        )


def test_what_nests_below_a_group_is_none_of_it() -> None:
    hubs = resource(
        "hub", {"subsystem": "hidraw"}, group="parent usb_device", inject=("hidraw", "tty", "usb")
    )
    assert nodes(offered(hub_with_modems(), hubs)) == [["/dev/bus/usb/1/1", "/dev/hidraw9"]]


def test_injecting_without_a_group_means_the_physical_device() -> None:
    by_usb = resource("wdm", {"subsystem": "usbmisc"}, inject=("tty",))
    found = offered(hub_with_modems(), by_usb)
    assert [len(one.members) for one in found] == [3, 3]


def test_naming_hardware_means_all_of_it() -> None:
    found = offered(hub_with_modems(), resource("modem", {"usb": {"vendor": "0bdb"}}))
    assert [len(one.members) for one in found] == [5, 5], "with the USB node itself"


def test_a_pci_function_is_not_what_is_plugged_into_it() -> None:
    machine = hub_with_modems()
    controller = "/devices/pci0000:00/0000:00:14.0"
    told = {"PCI_ID": "8086:A12F", "DEVTYPE": ""}
    machine.add(controller, "pci", told)
    machine.node(controller, "mei", "mei0")
    found = offered(machine, resource("card", {"pci": {"vendor": "8086"}}))
    assert nodes(found) == [["/dev/mei0"]]


def test_the_same_property_is_one_device() -> None:
    machine = Machine()
    for number, path in enumerate("aab"):
        machine.node("/devices/virtual", "misc", f"m{number}", ID_PATH=path)
    machine.node("/devices/virtual", "misc", "m3")
    misc = resource("misc", {"subsystem": "misc"}, group="property ID_PATH")
    assert nodes(offered(machine, misc)) == [["/dev/m0", "/dev/m1"], ["/dev/m2"], ["/dev/m3"]]


def test_all_are_one_device() -> None:
    found = offered(hub_with_modems(), resource("all", {"subsystem": "tty"}, group="all"))
    assert [len(one.members) for one in found] == [6]
    assert len({member.name for member in found[0].members}) == 6
    assert found[0].anchor is None


def test_what_the_resource_excludes_is_not_injected() -> None:
    some = resource(
        "m",
        {"subsystem": "usbmisc"},
        group="parent usb_device",
        inject=("tty",),
        exclude=[{"kernel": "ttyACM[348]"}],
    )
    assert nodes(offered(hub_with_modems(), some)) == [
        ["/dev/ttyACM5"],
        ["/dev/ttyACM6", "/dev/ttyACM7"],
    ]


def test_a_device_of_which_nothing_can_be_handed_over_is_not_offered() -> None:
    assert offered(hub_with_modems(), resource("p", {"subsystem": "pci"})) == []


def test_a_device_waits_until_udevd_has_done_with_all_of_it() -> None:
    machine = hub_with_modems()
    modems = resource("modem", {"subsystem": "tty"}, group="parent usb_device")
    late = next(path for path in machine.nodes if path.endswith("ttyACM5"))
    machine.add(late, "tty", dev="ttyACM5", initialized=False)
    assert nodes(offered(machine, modems)) == [["/dev/ttyACM6", "/dev/ttyACM7", "/dev/ttyACM8"]]


def test_places_come_from_the_nearest_ancestor_that_knows() -> None:
    machine = Machine()
    port = machine.pci(ROOT_PORT, numa_node="1")
    bridge = machine.pci(f"{port}/0000:02:00.0", numa_node="-1")
    gpu = machine.pci(f"{bridge}/0000:03:00.0", numa_node="-1")
    machine.node(gpu, "drm", "card0")
    machine.node(gpu, "drm", "renderD128")
    (found,) = offered(machine, resource("gpu", {"subsystem": "drm"}, inject=("drm",)))
    assert (found.numa_node, found.pcie_root) == (1, "0000:00:1c.0")
    assert {member.name for member in found.members} == {"card", "renderD"}


def test_without_numa_or_pci_nothing_is_said() -> None:
    machine = Machine()
    path = machine.add("/devices/platform/soc/fe201000.serial", "platform")
    machine.node(path, "tty", "ttyAMA0")
    (found,) = offered(machine, resource("tty", {"subsystem": "tty"}))
    assert (found.numa_node, found.pcie_root) == (None, "")
    assert "fe201000-serial" in found.id


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/devices/pci0000:00/0000:00:1c.0", "0000:00:1c.0"),
        (
            "/devices/platform/soc/fd500000.pcie/pci0001:00/0001:00:00.0/0001:01:00.0",
            "0001:00:00.0",
        ),
        ("/devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:1d.0", "0000:00:0e.0"),
        ("/devices/virtual/misc/fuse", ""),
    ],
)
def test_the_root_port_is_read_off_the_path(path: str, root: str) -> None:
    machine = Machine()
    machine.add(path, "pci")
    assert topology.pcie_root(machine.nodes[SysPath(path)]) == root


def test_properties_are_the_devices_overlaid_with_the_nodes() -> None:
    machine = hub_with_modems()
    (found, _) = offered(machine, resource("m", {"subsystem": "usbmisc"}))
    assert found.properties["PRODUCT"] == "bdb/1926/0"


def test_virtual_devices_are_known_by_their_name() -> None:
    machine = Machine()
    machine.add("/devices/virtual/misc/tun", "misc", dev="net/tun")
    (found,) = offered(machine, resource("tun", {"path": "/dev/net/tun"}))
    assert found.members[0].name == "tun"
    assert found.id.startswith("misc-tun-")


# --- Plain paths -------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("snd/controlC0", "snd/by-path/x", "my-gps", "pool/a.sock", "pool/b.sock"):
        file = tmp_path / "dev" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("/dev/snd", ("/dev/snd",)),
        ("/dev/pool/*.sock", ("/dev/pool/a.sock", "/dev/pool/b.sock")),
        ("/dev/snd/**", ("/dev/snd/by-path", "/dev/snd/by-path/x", "/dev/snd/controlC0")),
        ("/^/dev/my-[a-z]+$/", ("/dev/my-gps",)),
        ("/dev/absent", ()),
        ("/absent/*", ()),
    ],
)
def test_plain_paths_that_exist_are_found(root: Path, term: str, found: tuple[str, ...]) -> None:
    one = resource("plain", {"path": term})
    assert plain_paths.look([one], root)[one.name] == found


@pytest.mark.parametrize(
    ("term", "by_cdi", "watched"),
    [
        ("/dev/snd", False, {"dev"}),
        ("/dev/s*", False, {"dev"}),
        ("/dev/absent/x", False, {"dev/absent"}),
        ("/dev/*/control*", False, {"dev", "dev/pool", "dev/snd"}),
        ("/dev/snd", True, {"dev", "dev/snd", "dev/snd/by-path"}),
        ("/dev/s*", True, {"dev", "dev/snd", "dev/snd/by-path"}),
    ],
)
def test_the_folders_that_decide_are_watched_and_no_others(
    root: Path, term: str, watched: set[str], *, by_cdi: bool
) -> None:
    said = resource("plain", {"path": term})
    one = replace(said, container=Container(gid=20)) if by_cdi else said
    assert plain_paths.directories([one], root) == {root / folder for folder in watched}


def test_a_path_with_another_clause_needs_a_node_of_udev(root: Path) -> None:
    one = resource("plain", {"path": "/dev/snd", "subsystem": "sound"})
    assert plain_paths.look([one], root)[one.name] == ()


def test_excluded_paths_are_left_out(root: Path) -> None:
    one = resource("plain", {"path": "/dev/pool/*"}, exclude=[{"path": "/dev/pool/b*"}])
    assert plain_paths.look([one], root)[one.name] == ("/dev/pool/a.sock",)


def test_a_plain_path_is_a_device_of_its_own() -> None:
    one = resource("snd", {"path": "/dev/snd"}, share=2)
    (found,) = offered(Machine(), one, "/dev/snd")
    assert [(member.name, member.dev_node) for member in found.members] == [("dev-snd", "/dev/snd")]
    assert (found.anchor, found.share, list(found.units())) == (
        None,
        2,
        [found.id, f"{found.id}.1"],
    )


def test_a_path_that_udev_knows_is_that_node() -> None:
    machine = Machine()
    machine.add("/devices/virtual/misc/fuse", "misc", {"DEVLINKS": "/dev/f"}, dev="fuse")
    one = resource("fuse", {"path": ["/dev/fuse", "/dev/f"]})
    (found,) = offered(machine, one, "/dev/fuse", "/dev/f")
    assert found.anchor is not None


def test_plain_paths_grouped_are_one_device() -> None:
    one = resource("all", {"path": "/dev/pool/*"}, group="all")
    (found,) = offered(Machine(), one, "/dev/pool/a.sock", "/dev/pool/b.sock")
    assert len(found.members) == 2


def test_a_sound_card_is_what_its_nodes_have_in_common() -> None:
    machine = Machine()
    controller = machine.pci("/devices/pci0000:00/0000:00:1b.0", numa_node="0")
    for card in range(2):
        top = machine.add(f"{controller}/sound/card{card}", "sound")
        machine.add(f"{top}/controlC{card}", "sound", dev=f"snd/controlC{card}")
        machine.add(f"{top}/pcmC{card}D0p", "sound", dev=f"snd/pcmC{card}D0p")
    sound = resource("sound", {"kernel": "controlC*"}, group="parent sound", inject=("sound",))
    assert nodes(offered(machine, sound)) == [
        ["/dev/snd/controlC0", "/dev/snd/pcmC0D0p"],
        ["/dev/snd/controlC1", "/dev/snd/pcmC1D0p"],
    ]
