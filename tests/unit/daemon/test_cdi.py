"""CDI files: the lowest version, real nodes, one step from old to new."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import cdi
from ringbolt.devices import placement
from ringbolt.devices.device import Device, DeviceId, Member
from ringbolt.devices.injection import Surroundings, plan
from ringbolt.devices.qualifiers import qualify
from ringbolt.devices.resource import Container, Resource, ResourceName

NAME = ResourceName("ringbolt.dev/serial")
# CDI SPEC.md: vendor and class begin with a letter, device names with a letter or digit.
KIND = re.compile(r"[A-Za-z]([-_.A-Za-z0-9]*[A-Za-z0-9])?/[A-Za-z]([-_A-Za-z0-9.]*[A-Za-z0-9])?")
DEVICE = re.compile(r"[A-Za-z0-9]([-_.:A-Za-z0-9]*[A-Za-z0-9])?")
FIELDS = {"path", "hostPath", "permissions", "fileMode", "uid", "gid"}


def device(ident: str, *dev_nodes: str) -> Device:
    members = tuple(Member(f"m{n}", node, "tty") for n, node in enumerate(dev_nodes))
    return Device(DeviceId(ident), NAME, members)


def resource(path: str | None = None, name: str = NAME, **container: int) -> Resource:
    return Resource(ResourceName(name), (), container=Container(path, **(container or {"gid": 20})))  # type: ignore[arg-type]


def host(*paths: str) -> cdi.Found:
    return {path: (cdi.HostNode("", path, 0o600, 0, 5),) for path in paths}


def spec(wanted: Resource, devices: list[Device], found: cdi.Found) -> dict[str, Any] | None:
    names = qualify([wanted])[wanted.name]
    counts = placement.variants(wanted, devices, names)
    return cdi.spec(wanted, devices, counts, found, names)


def test_owner_and_mode_are_the_configured_ones_and_else_the_hosts() -> None:
    found = host("/dev/ttyUSB0")
    content = spec(resource("/dev/gps", gid=20, mode=0o660), [device("gps", "/dev/ttyUSB0")], found)
    assert content == {
        "cdiVersion": "0.5.0",
        "kind": "ringbolt.dev/serial",
        "devices": [
            {
                "name": "gps",
                "containerEdits": {
                    "deviceNodes": [
                        {
                            "path": "/dev/gps",
                            "hostPath": "/dev/ttyUSB0",
                            "permissions": "rw",
                            "fileMode": 0o660,
                            "uid": 0,
                            "gid": 20,
                        }
                    ]
                },
            }
        ],
    }


@pytest.mark.parametrize(
    ("name", "path", "ident", "version"),
    [
        ("ringbolt.dev/serial", None, "gps", "0.3.0"),
        ("ringbolt.dev/serial", "/dev/gps", "gps", "0.5.0"),
        ("ringbolt.dev/serial", None, "7gps", "0.5.0"),
        ("ringbolt.dev/serial.v2", "/dev/gps", "gps", "0.6.0"),
    ],
)
def test_the_version_is_the_lowest_that_knows_the_fields(
    name: str, path: str | None, ident: str, version: str
) -> None:
    content = spec(resource(path, name), [device(ident, "/dev/x")], host("/dev/x"))
    assert content is not None
    assert content["cdiVersion"] == version


def test_a_device_without_a_node_is_left_out() -> None:
    gone, here = device("gone", "/dev/a"), device("here", "/dev/b")
    content = spec(resource(), [gone, here], host("/dev/b"))
    assert content is not None
    assert [entry["name"] for entry in content["devices"]] == ["here"]
    assert spec(resource(), [gone], {}) is None


def test_variants_are_there_for_every_position_up_to_the_bound() -> None:
    few = [device(f"d{n}", f"/dev/{n}") for n in range(2)]
    content = spec(resource("/dev/s{index}"), few, host("/dev/0", "/dev/1"))
    assert content is not None
    places = {
        entry["name"]: entry["containerEdits"]["deviceNodes"][0]["path"]
        for entry in content["devices"]
    }
    assert places == {"d0": "/dev/s0", "d0.1": "/dev/s1", "d1": "/dev/s0", "d1.1": "/dev/s1"}
    many = [device(f"d{n}", f"/dev/{n}") for n in range(20)]
    content = spec(resource("/dev/s{index}"), many, host(*(f"/dev/{n}" for n in range(20))))
    assert content is not None
    assert len(content["devices"]) == 20 * placement.CDI_VARIANTS


def test_a_folder_becomes_the_nodes_in_it() -> None:
    found = {"/dev/snd": (cdi.HostNode("controlC0", "/dev/snd/controlC0", 0o660, 0, 29),)}
    content = spec(resource("/dev/audio"), [device("snd", "/dev/snd")], found)
    assert content is not None
    (node,) = content["devices"][0]["containerEdits"]["deviceNodes"]
    assert (node["path"], node["hostPath"]) == ("/dev/audio/controlC0", "/dev/snd/controlC0")


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=5),
    st.sampled_from([None, "/dev/x", "/dev/x{index}", "/dev/{id}"]),
    st.sampled_from(["ringbolt.dev/serial", "3com.example/3d.v1", "a.b/C_d"]),
)
def test_every_name_in_an_answer_is_in_a_valid_file(
    members: list[int], path: str | None, name: str
) -> None:
    devices = [
        device(f"d{n}", *(f"/dev/n{n}m{m}" for m in range(count)))
        for n, count in enumerate(members)
    ]
    wanted = resource(path, name)
    found = host(*(member.dev_node for d in devices for member in d.members))
    content = spec(wanted, devices, found)
    asked = plan(wanted, devices, Surroundings(Path("/links"))).cdi
    if content is None:
        assert not asked
        return
    assert KIND.fullmatch(content["kind"])
    names = [entry["name"] for entry in content["devices"]]
    assert all(DEVICE.fullmatch(name) for name in names)
    assert len(names) == len(set(names))
    assert {f"{content['kind']}={name}" for name in names} >= set(asked)
    for entry in content["devices"]:
        for node in entry["containerEdits"]["deviceNodes"]:
            assert set(node) <= FIELDS


# --- Files ------------------------------------------------------------------------------------


def written(directory: Path) -> dict[str, Any]:
    (path,) = directory.iterdir()
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_the_host_path_is_the_real_node_behind_every_link(tmp_path: Path) -> None:
    (tmp_path / "by-id").mkdir()
    (tmp_path / "by-id" / "x").symlink_to(os.devnull)
    directory = tmp_path / "cdi"
    assert cdi.write(directory, resource("/dev/x"), [device("x", str(tmp_path / "by-id" / "x"))])
    (node,) = written(directory)["devices"][0]["containerEdits"]["deviceNodes"]
    assert node["hostPath"] == os.devnull
    assert not Path(node["hostPath"]).is_symlink()


def test_an_unchanged_file_is_not_written_again(tmp_path: Path) -> None:
    found = [device("x", os.devnull)]
    assert cdi.write(tmp_path, resource(), found)
    (path,) = tmp_path.iterdir()
    before = path.stat()
    assert not cdi.write(tmp_path, resource(), found)
    assert path.stat() == before
    assert before.st_mode & 0o777 == 0o644
    assert cdi.write(tmp_path, resource(gid=21), found)
    assert path.stat().st_ino != before.st_ino


def test_the_file_goes_with_its_last_device(tmp_path: Path) -> None:
    cdi.write(tmp_path, resource(), [device("x", os.devnull)])
    assert cdi.write(tmp_path, resource(), [])
    assert not list(tmp_path.iterdir())
    assert not cdi.write(tmp_path, resource(), [])


def test_only_our_own_stale_files_are_removed(tmp_path: Path) -> None:
    cdi.write(tmp_path, resource(), [device("x", os.devnull)])
    ours = tmp_path / cdi.file_name(NAME)
    stale = tmp_path / cdi.file_name(ResourceName("ringbolt.dev/old"))
    half = tmp_path / ".ringbolt_ringbolt.dev_serial.new"
    foreign = [tmp_path / "nvidia.json", tmp_path / "ringbolt.yaml"]
    for path in (stale, half, *foreign):
        path.write_text("{}")
    assert cdi.prune(tmp_path, [NAME]) == {stale, half}
    assert set(tmp_path.iterdir()) == {ours, *foreign}
    assert cdi.prune(tmp_path / "absent", [NAME]) == frozenset()


def test_a_failed_write_raises_and_keeps_the_old_file(tmp_path: Path) -> None:
    cdi.write(tmp_path, resource(), [device("x", os.devnull)])
    before = written(tmp_path)
    (tmp_path / ".ringbolt_ringbolt.dev_serial.new").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        cdi.write(tmp_path, resource(gid=21), [device("x", os.devnull)])
    assert json.loads((tmp_path / cdi.file_name(NAME)).read_text()) == before


def test_long_names_make_file_names_that_a_file_system_takes() -> None:
    long = [ResourceName(f"{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 50}/x{end}") for end in "12"]
    names = {cdi.file_name(name) for name in long}
    assert len(names) == 2
    assert all(len(name) < 255 for name in names)
