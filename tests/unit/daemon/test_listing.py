"""The list a kubelet gets: exact states and topology, held units spared, never beyond 4 MiB."""

from daemon.listing import EMPTY, LIMIT_BYTES, listing
from ringbolt.devices.device import Device, DeviceId, Gone, Snapshot, State, UnitId
from ringbolt.devices.resource import Resource, ResourceName
from ringbolt.devices.tree import Tree

NAME = ResourceName("ringbolt.dev/serial")


def snapshot(devices: tuple[Device, ...], gone: tuple[Gone, ...] = ()) -> Snapshot:
    resources = {NAME: Resource(NAME, ())}
    return Snapshot(1, Tree((), lambda _p, _n: None), resources, {NAME: devices}, {NAME: gone})


def test_each_unit_has_its_health_and_only_a_known_numa_node_gives_a_topology() -> None:
    devices = (
        Device(DeviceId("a"), NAME, (), numa_node=1, share=2),
        Device(DeviceId("b"), NAME, (), state=State.UNHEALTHY),
    )
    listed = listing(snapshot(devices), NAME).devices
    assert [(d.ID, d.health) for d in listed] == [
        ("a", "Healthy"),
        ("a.1", "Healthy"),
        ("b", "Unhealthy"),
    ]
    assert [[n.ID for n in d.topology.nodes] for d in listed if d.HasField("topology")] == [
        [1],
        [1],
    ]


def test_a_gone_unit_is_listed_unhealthy() -> None:
    listed = listing(snapshot((), (Gone(UnitId("x.3"), NAME, "unplugged"),)), NAME).devices
    assert [(d.ID, d.health) for d in listed] == [("x.3", "Unhealthy")]


def test_an_unknown_resource_has_nothing() -> None:
    assert listing(snapshot(()), ResourceName("ringbolt.dev/other")) == EMPTY


def test_a_list_beyond_the_kubelets_limit_is_cut_and_spares_held_units() -> None:
    many = tuple(
        Device(DeviceId(f"d{n:04}-{'x' * 48}"), NAME, (), numa_node=0, share=100)
        for n in range(1000)
    )
    listed = listing(snapshot(many, (Gone(UnitId("held"), NAME, ""),)), NAME)
    assert listed.ByteSize() <= LIMIT_BYTES
    assert listed.devices[0].ID == "held"
    assert len(listed.devices) > 40_000
