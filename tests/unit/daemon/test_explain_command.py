"""What `ringbolt explain device` says of a node: the clause that failed, however deep it lies."""

from daemon.explain_command import describe
from ringbolt.devices.assemble import assemble
from ringbolt.devices.device import Snapshot
from ringbolt.devices.identity import Memory
from tests.unit.devices.machines import Machine, resource

MODEM = resource(
    "modem",
    {"subsystem": "tty", "parent": {"devtype": "usb_device", "usb": {"vendor": "0bdb"}}},
    group="parent usb_device",
    inject=("tty", "usbmisc"),
)


def told(product: str, which: str) -> list[str]:
    machine = Machine()
    hub = machine.root_hub(machine.pci("/devices/pci0000:00/0000:00:14.0"), 1)
    face = machine.interface(machine.usb(hub, 1, product, serial="4711"), 0)
    machine.node(face, "tty", "ttyACM0")
    machine.node(face, "usbmisc", "cdc-wdm0")
    tree = machine.tree()
    found = assemble(tree, [MODEM], Memory(), {}).devices
    snapshot = Snapshot(1, tree, {MODEM.name: MODEM}, found, {MODEM.name: ()})
    return [line.strip() for line in describe(snapshot, which)]


def test_the_clause_that_fails_inside_another_is_told() -> None:
    assert "usb.vendor: wanted 0bdb, found 0403: fails" in told("403/6015/1000", "/dev/ttyACM0")


def test_a_node_that_comes_with_another_is_told() -> None:
    lines = told("bdb/1926/1000", "/dev/cdc-wdm0")
    assert any(line.startswith("but given with device usb-") for line in lines)
