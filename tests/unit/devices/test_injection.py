"""What a container is given: paths and names that never collide, links that outlive numbers."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.devices import placement
from ringbolt.devices.device import Device, DeviceId, Member
from ringbolt.devices.injection import InjectedMount, Surroundings, plan
from ringbolt.devices.qualifiers import qualify
from ringbolt.devices.resource import Container, MountEntry, Resource, ResourceName
from ringbolt.devices.tree import Node, SysPath, Tree

NAME = ResourceName("ringbolt.dev/serial")
LINKS = Path("/run/ringbolt/devices")
AROUND = Surroundings(LINKS)


def member(dev_node: str, name: str = "") -> Member:
    kernel = dev_node.rpartition("/")[2]
    return Member(name or f"m-{kernel}", dev_node, "tty", SysPath(f"/devices/{kernel}"))


def device(ident: str, *dev_nodes: str, **properties: str) -> Device:
    members = tuple(member(node, f"m{number}") for number, node in enumerate(dev_nodes))
    return Device(DeviceId(ident), NAME, members, properties=properties)


def resource(path: str | None = None, **changes: object) -> Resource:
    made = Resource(NAME, (), container=Container(path, gid=changes.pop("gid", None)))  # type: ignore[arg-type]
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def container_paths(resource: Resource, *devices: Device) -> list[str]:
    return [node.container_path for node in plan(resource, devices, AROUND).nodes]


GPS = device("gps", "/dev/ttyUSB0", ID_SERIAL_SHORT="A7")
MODEM = device("modem", "/dev/ttyACM0", "/dev/ttyACM1")


def test_a_node_keeps_its_own_path_and_comes_from_its_stable_link() -> None:
    (node,) = plan(resource(), [GPS], AROUND).nodes
    assert node.container_path == "/dev/ttyUSB0"
    assert node.host_path == "/run/ringbolt/devices/gps/m0"
    assert node.permissions == "rw"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (None, ["/dev/ttyUSB0", "/dev/ttyACM0", "/dev/ttyACM1"]),
        ("/dev/serial{index}", ["/dev/serial0", "/dev/serial1", "/dev/serial1-1"]),
        ("/dev/serial", ["/dev/serial", "/dev/serial-2", "/dev/serial-3"]),
        ("/dev/{id}-{member}", ["/dev/gps-m0", "/dev/modem-m0", "/dev/modem-m1"]),
        ("/dev/by/{name}", ["/dev/by/ttyUSB0", "/dev/by/ttyACM0", "/dev/by/ttyACM1"]),
        ("/dev/{serial}", ["/dev/A7", "/dev/m0", "/dev/m1"]),
    ],
)
def test_container_paths_follow_the_template(path: str | None, expected: list[str]) -> None:
    assert container_paths(resource(path), GPS, MODEM) == expected


def test_two_replicas_of_one_device_give_its_nodes_once() -> None:
    assert container_paths(resource(), GPS, GPS) == ["/dev/ttyUSB0"]


def test_what_a_device_says_of_itself_chooses_no_folder() -> None:
    evil = device("evil", "/dev/ttyUSB0", ID_SERIAL_SHORT="../../etc/pass\0wd", ID_MODEL="..")
    paths = container_paths(resource("/dev/{serial}"), evil)
    assert paths == ["/dev/.._.._etc_pass_wd"]
    assert container_paths(resource("/dev/{properties[ID_MODEL]}/x"), evil) == ["/dev/_/x"]


def test_a_name_that_is_no_utf8_is_given_one_that_the_wire_can_carry() -> None:
    odd = device("odd", os.fsdecode(b"/dev/tty\xff"))
    injection = plan(resource(), [odd], AROUND)
    assert [node.container_path for node in injection.nodes] == ["/dev/tty?"]
    assert injection.env == {"RINGBOLT_SERIAL": "/dev/tty?"}


def test_environment_is_numbered_from_the_second_device_on() -> None:
    env = {
        "SERIAL_PORT": "{container_path}",
        "SERIAL_NUMBER": "{properties[ID_SERIAL_SHORT]}",
        "KIND": "serial",
    }
    given_env = plan(resource("/dev/serial{index}", env=env), [GPS, MODEM], AROUND).env
    assert given_env == {
        "SERIAL_PORT": "/dev/serial0",
        "SERIAL_NUMBER": "A7",
        "KIND": "serial",
        "SERIAL_PORT_1": "/dev/serial1",
        "SERIAL_NUMBER_1": "",
        "RINGBOLT_SERIAL": "/dev/serial0,/dev/serial1,/dev/serial1-1",
    }


def test_a_numbered_variable_gives_way_to_a_configured_one() -> None:
    env = {"PORT": "{id}", "PORT_1": "{id}"}
    given_env = plan(resource(env=env), [GPS, MODEM], AROUND).env
    assert given_env["PORT_1"] == "gps"
    assert sorted(given_env.values()).count("modem") == 2


def test_environment_holds_what_an_environment_can_hold() -> None:
    odd = device("odd", "/dev/ttyUSB0", ID_MODEL="a\0b\nc\udcff")
    given_env = plan(resource(env={"MODEL": "{properties[ID_MODEL]}"}), [odd], AROUND).env
    assert given_env["MODEL"] == "a_b_c?"


def test_attributes_come_from_the_member_and_then_from_the_physical_device() -> None:
    tty = Node(SysPath("/devices/usb/tty"), "tty", "tty", "", "", None, (), frozenset(), {})
    usb = dataclasses.replace(tty, sys_path=SysPath("/devices/usb"), subsystem="usb")
    texts = {(tty.sys_path, "line"): "3", (usb.sys_path, "serial"): "S9"}
    tree = Tree([tty, usb], lambda path, name: texts.get((path, name)))
    found = Device(DeviceId("d"), NAME, (Member("m", "/dev/x", "tty", tty.sys_path),), anchor=usb)
    env = {"LINE": "{attributes[line]}", "SERIAL": "{serial}", "NONE": "{attributes[none]}"}
    given_env = plan(resource(env=env), [found], Surroundings(LINKS, tree)).env
    assert (given_env["LINE"], given_env["SERIAL"], given_env["NONE"]) == ("3", "S9", "")


def test_mounts_are_given_once_and_never_on_one_path() -> None:
    mounts = (
        MountEntry("/etc/gps.conf", "/etc/gps.conf", readonly=True),
        MountEntry("/srv/{id}", "/data"),
    )
    assert plan(resource(mounts=mounts), [GPS, MODEM], AROUND).mounts == (
        InjectedMount("/etc/gps.conf", "/etc/gps.conf", readonly=True),
        InjectedMount("/srv/gps", "/data", readonly=False),
        InjectedMount("/srv/modem", "/data-1", readonly=False),
    )


def test_sockets_and_files_are_mounted() -> None:
    found = device("sock", "/run/x.sock")
    injection = plan(resource(), [found], Surroundings(LINKS, binds=frozenset({"/run/x.sock"})))
    assert not injection.nodes
    assert injection.mounts == (InjectedMount(f"{LINKS}/sock/m0", "/run/x.sock", readonly=False),)
    assert injection.env["RINGBOLT_SERIAL"] == "/run/x.sock"


def test_annotations_are_numbered_as_the_environment_is() -> None:
    notes = plan(resource(annotations={"x.example/id": "{id}"}), [GPS, MODEM], AROUND).annotations
    assert notes == {"x.example/id": "gps", "x.example/id-1": "modem"}


def test_a_device_without_nodes_gives_an_environment_only() -> None:
    injection = plan(resource(env={"ID": "{id}"}, gid=20), [device("none")], AROUND)
    assert not injection.nodes
    assert not injection.cdi
    assert injection.env == {"ID": "none", "RINGBOLT_SERIAL": ""}


def test_owner_and_mode_are_asked_of_cdi_beside_the_nodes() -> None:
    injection = plan(resource("/dev/serial{index}", gid=20), [GPS, MODEM], AROUND)
    assert injection.cdi == ("ringbolt.dev/serial=gps", "ringbolt.dev/serial=modem.1")
    assert len(injection.nodes) == 3
    assert not plan(resource("/dev/serial{index}"), [GPS], AROUND).cdi


def test_beyond_the_bound_the_answer_says_what_it_lacks() -> None:
    many = [device(f"d{n}", f"/dev/tty{n}") for n in range(placement.CDI_VARIANTS + 2)]
    injection = plan(resource("/dev/s{index}", gid=20), many, AROUND)
    assert len(injection.cdi) == placement.CDI_VARIANTS
    assert len(injection.nodes) == len(many)
    assert "d16, d17 keep the host's owner" in injection.lacks[0]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ringbolt.dev/serial", "ringbolt.dev/serial"), ("3com.example/3d", "r3com.example/r3d")],
)
def test_cdi_kinds_begin_with_letters(name: str, kind: str) -> None:
    assert placement.cdi_kind(ResourceName(name)) == kind


PATHS = [None, "/dev/x", "/dev/x{index}", "/dev/{serial}", "/dev/{id}", "/dev/{subsystem}{index}"]
MEMBERS = st.lists(st.integers(0, 3), max_size=3, unique=True)
DEVICES = st.lists(st.tuples(MEMBERS, st.sampled_from(["", "A", "A-1", "x"])), max_size=6)


def devices_of(drawn: Sequence[tuple[list[int], str]]) -> list[Device]:
    return [
        device(f"d{n}", *(f"/dev/tty{n}x{m}" for m in members), ID_SERIAL_SHORT=serial)
        for n, (members, serial) in enumerate(drawn)
    ]


@given(DEVICES, st.sampled_from(PATHS))
def test_no_two_nodes_land_on_one_path(
    drawn: list[tuple[list[int], str]], path: str | None
) -> None:
    devices = devices_of(drawn)
    mine = resource(path, gid=1, env={"P": "{container_path}", "P_1": "{id}"})
    injection = plan(mine, devices, AROUND)
    paths = [node.container_path for node in injection.nodes]
    assert len(paths) == len(set(paths)) == sum(len(d.members) for d in devices)
    assert len(injection.env) == 2 * len(devices) + 1
    assert injection == plan(mine, devices, AROUND)


@given(DEVICES, st.sampled_from(PATHS))
def test_every_cdi_name_is_among_the_variants_and_says_the_same_paths(
    drawn: list[tuple[list[int], str]], path: str | None
) -> None:
    devices = devices_of(drawn)
    mine = resource(path, gid=1)
    names = qualify([mine])[NAME]
    counts = placement.variants(mine, devices, names)
    known = {
        f"ringbolt.dev/serial={placement.cdi_name(d.id, v)}": placement.node_paths(
            mine, d, v, names
        )
        for d in devices
        for v in range(counts[d.id])
    }
    injection = plan(mine, devices, AROUND)
    asked = [path for name in injection.cdi for path in known[name]]
    assert asked == [node.container_path for node in injection.nodes]


def test_companions_come_once_by_their_own_path_and_are_not_among_the_devices() -> None:
    gpus = tuple(
        Device(DeviceId(f"gpu{n}"), NAME, (Member("card", f"/dev/dri/card{n}", "drm"),))
        for n in range(2)
    )
    taking = Resource(NAME, (), companions=("/dev/kfd", "/dev/dri/card1"))
    injection = plan(taking, gpus, Surroundings(Path("/run/ringbolt/devices")))
    assert [(node.container_path, node.host_path) for node in injection.nodes] == [
        ("/dev/dri/card0", "/run/ringbolt/devices/gpu0/card"),
        ("/dev/dri/card1", "/run/ringbolt/devices/gpu1/card"),
        ("/dev/kfd", "/dev/kfd"),
    ]
    assert "/dev/dri/card0,/dev/dri/card1" in injection.env.values()
