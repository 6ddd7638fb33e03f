"""docs/output.md names every key of an attachment, and no other; what people see is short."""

import ipaddress

import pytest

from daemon import pods_command, pods_report
from ringbolt.network.attachment import (
    Bandwidth,
    ContainerId,
    InterfaceName,
    Key,
    Pod,
    PortMapping,
    Protocol,
)
from ringbolt.network.holdings import Held, Holding, Kind, Place, State
from ringbolt.network.leases import AttachmentId, Lease, Netns
from ringbolt.network.record import Record
from ringbolt.network.settings import Mode, NetworkName, Settings
from tests.unit.daemon.test_output_document import told

NETWORK = NetworkName("pods")
LEASE = Lease(
    AttachmentId(1),
    NETWORK,
    Key(ContainerId("0123456789abcdef"), InterfaceName("eth0")),
    Netns(4, 5),
    "rb0123456789",
    7.0,
    "",
    (ipaddress.ip_address("10.1.0.2"),),
)
RECORD = Record(
    Pod("shop", "web-1", "6f2"),
    "/run/netns/a",
    Mode.BRIDGE,
    "rb0",
    (PortMapping(8080, 80),),
    Bandwidth(ingress_rate=80_000_000),
)
GONE = Holding(Kind.LINK, Place.POD, "eth0", "", State.MISSING, "eth0 is gone")


def held(*holdings: Holding, death: str = "") -> Held:
    return Held(LEASE, RECORD, Settings(NETWORK), False, 93.4, death, holdings)  # noqa: FBT003


def test_every_key_of_an_attachment_is_told() -> None:
    row = pods_report.attachment(held())
    nested = row["hostPorts"][0].keys() | row["bandwidth"].keys()
    assert row.keys() == told("An attachment:", "`ringbolt explain pod NAME -o json`")
    line = "hostPort containerPort protocol hostIP count ingressRate ingressBurst egressRate"
    assert nested == {*line.split(), "egressBurst"}


def test_every_key_of_an_explained_pod_is_told() -> None:
    row = pods_report.explained(held(GONE))
    assert row["settings"].keys() == told("The settings are those", "An object is a thing")
    (thing,) = row["objects"]
    assert thing.keys() == told("An object is a thing", "| kind |")
    assert pods_report.attachment(held(GONE)).items() <= row.items()


@pytest.mark.parametrize(
    ("one", "state", "reasons"),
    [
        (held(), "well", []),
        (held(GONE), "differs", ["eth0 is gone"]),
        (held(GONE, death="killed"), "dead", ["killed"]),
    ],
)
def test_the_state_says_why(one: Held, state: str, reasons: list[str]) -> None:
    row = pods_report.attachment(one)
    assert (row["state"], row["reasons"]) == (state, reasons)


def test_a_row_for_people_is_short() -> None:
    row = pods_report.attachment(held())
    assert pods_command.age(row["ageSeconds"]) == "1m"
    assert pods_command.port(row["hostPorts"][0]) == "8080->80/tcp"
    assert pods_command.bandwidth(row["bandwidth"]) == "in 80M"


def test_a_range_of_ports_is_one_word() -> None:
    mapping = PortMapping(8000, 80, Protocol.UDP, ipaddress.ip_address("127.0.0.1"), 10)
    record = Record(Pod(), "", Mode.ROUTED, "", (mapping,))
    held = Held(LEASE, record, Settings(NETWORK), False, 0, "", ())  # noqa: FBT003
    (port,) = pods_report.attachment(held)["hostPorts"]
    assert pods_command.port(port) == "127.0.0.1:8000-8009->80-89/udp"
