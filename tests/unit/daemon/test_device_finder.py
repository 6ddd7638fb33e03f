"""Names of block devices, on machines made of values."""

import pytest

from daemon.device_finder import find
from ringbolt.volumes.device import Candidate
from ringbolt.volumes.errors import InvalidError
from ringbolt.volumes.spec import DeviceKey
from tests.unit.devices.machines import Machine

BUS = "/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block"


def machine(number: int = 0, *, initialized: bool = True) -> Machine:
    """A disk with one partition, `sda` or as many letters further."""
    made, name = Machine(), f"sd{chr(ord('a') + number)}"
    told = {
        "MAJOR": "8",
        "MINOR": str(16 * number),
        "ID_SERIAL": "WDC_WD40_WD-WX11",
        "ID_SERIAL_SHORT": "WD-WX11",
        "ID_WWN": "0x5000c500a1b2c3d4",
        "ID_BUS": "ata",
    }
    link = "/dev/disk/by-id/ata-WDC_WD40_WD-WX11"
    disk = {
        **told,
        "DEVTYPE": "disk",
        "DEVLINKS": f"{link} /dev/disk/by-path/pci-0000:00:17.0-ata-1",
    }
    made.add(f"{BUS}/{name}", "block", disk, {"size": "1"}, dev=name, initialized=initialized)
    part = {
        **told,
        "DEVTYPE": "partition",
        "MINOR": str(16 * number + 1),
        "PARTUUID": "0fc63daf-8483-4772-8e79-3d69d8477de4",
        "DEVLINKS": f"{link}-part1",
    }
    made.add(f"{BUS}/{name}/{name}1", "block", part, dev=f"{name}1", initialized=initialized)
    return made


DISK, PARTITION = Candidate("/dev/sda", 0x800), Candidate("/dev/sda1", 0x801)


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        (DeviceKey.SERIAL, "WD-WX11", DISK),
        (DeviceKey.SERIAL, "WDC_WD40_WD-WX11", DISK),
        (DeviceKey.WWN, "0x5000c500a1b2c3d4", DISK),
        (DeviceKey.WWN, "naa.5000C500A1B2C3D4", DISK),
        (DeviceKey.ID, "ata-WDC_WD40_WD-WX11", DISK),
        (DeviceKey.ID, "/dev/disk/by-id/ata-WDC_WD40_WD-WX11-part1", PARTITION),
        (DeviceKey.PATH, "pci-0000:00:17.0-ata-1", DISK),
        (DeviceKey.PARTUUID, "0FC63DAF-8483-4772-8E79-3D69D8477DE4", PARTITION),
        (DeviceKey.SELECTOR, '{"subsystem": "block", "devtype": "disk"}', DISK),
        (DeviceKey.SELECTOR, '[{"properties": {"ID_BUS": "ata"}, "kernel": "*1"}]', PARTITION),
    ],
)
def test_a_device_is_found_by_each_of_its_names(
    key: DeviceKey, value: str, found: Candidate
) -> None:
    assert find(machine().tree(), key, value).candidates == (found,)


def test_a_name_means_the_same_disk_under_another_number() -> None:
    (found,) = find(machine(3).tree(), DeviceKey.SERIAL, "WD-WX11").candidates
    assert found == Candidate("/dev/sdd", 0x830)


def test_close_names_are_told_where_there_is_no_such() -> None:
    found = find(machine().tree(), DeviceKey.SERIAL, "WD-WX12")
    assert found.candidates == ()
    assert "WD-WX11" in found.close


def test_a_disk_that_udev_has_not_looked_at_is_not_settled() -> None:
    (found,) = find(machine(initialized=False).tree(), DeviceKey.SERIAL, "WD-WX11").candidates
    assert not found.settled


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        (DeviceKey.ID, "/dev/sda", "changes from boot to boot"),
        (DeviceKey.PATH, "/dev/disk/by-id/ata-WDC_WD40_WD-WX11", "by-path"),
        (DeviceKey.SELECTOR, "kernel: sda", "JSON"),
        (DeviceKey.SELECTOR, '{"kernal": "sda"}', 'did you mean "kernel"'),
        (DeviceKey.SELECTOR, "[]", "empty"),
    ],
)
def test_what_can_name_no_device_is_said(key: DeviceKey, value: str, told: str) -> None:
    with pytest.raises(InvalidError, match=told):
        find(machine().tree(), key, value)
