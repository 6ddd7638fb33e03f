"""Names of several resources in one container: the first keeps its name, none are lost."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ringbolt.devices.device import Device, DeviceId, Member
from ringbolt.devices.injection import Surroundings, plan
from ringbolt.devices.qualifiers import qualify
from ringbolt.devices.resource import Container, MountEntry, Resource, ResourceName

ENV_NAMES = ["PORT", "PORT_1", "PORT_GPS", "RINGBOLT_GPS"]
PATHS = [None, "/dev/a", "/dev/a0", "/dev/a{index}", "/dev/a{index}0", "/dev/a-1", "/dev/a-gps"]


def resource(name: str, path: str | None = None, *env: str) -> Resource:
    return Resource(
        ResourceName(name), (), container=Container(path), env=dict.fromkeys(env, "{id}")
    )


def device(owner: Resource, ident: str, *dev_nodes: str) -> Device:
    members = tuple(Member(f"m{n}", node, "tty") for n, node in enumerate(dev_nodes))
    return Device(DeviceId(ident), owner.name, members)


def test_a_resource_alone_keeps_every_name() -> None:
    alone = resource("ringbolt.dev/gps", "/dev/gps{index}", "PORT")
    names = qualify([alone])[alone.name]
    assert names.variable == "RINGBOLT_GPS"
    assert names.env == {"PORT": "PORT"}
    assert names.suffixes == {"/dev/gps{index}": ""}
    assert not names.reserved
    assert not names.others


def test_the_later_resource_adds_its_name() -> None:
    first = resource("ringbolt.dev/serial", "/dev/port{index}", "PORT")
    later = resource("ringbolt.dev/gps-1", "/dev/port{index}", "PORT")
    names = qualify([first, later])
    assert names[first.name].env == {"PORT": "PORT"}
    assert names[later.name].env == {"PORT": "PORT_GPS_1"}
    assert names[first.name].suffixes == {"/dev/port{index}": ""}
    assert names[later.name].suffixes == {"/dev/port{index}": "-gps-1"}
    assert names[later.name].variable == "RINGBOLT_GPS_1"


def test_a_configured_name_is_not_taken_by_a_qualified_one() -> None:
    first, later, explicit = (
        resource("x.example/a", None, "PORT"),
        resource("x.example/gps", None, "PORT"),
        resource("x.example/c", None, "PORT_GPS"),
    )
    names = qualify([first, later, explicit])
    assert names[later.name].env == {"PORT": "PORT_X_EXAMPLE_GPS"}
    assert names[explicit.name].env == {"PORT_GPS": "PORT_GPS"}


def test_equal_names_under_two_prefixes_are_told_apart_by_the_prefix() -> None:
    names = qualify([resource("a.example/gps", None, "PORT"), resource("b.example/gps")])
    assert names[ResourceName("a.example/gps")].variable == "RINGBOLT_GPS"
    assert names[ResourceName("b.example/gps")].variable == "RINGBOLT_B_EXAMPLE_GPS"


def test_a_number_in_a_path_meets_the_template_that_can_make_it() -> None:
    numbered, fixed, other = (
        resource("x.example/a", "/dev/video{index}"),
        resource("x.example/b", "/dev/video0"),
        resource("x.example/c", "/dev/video1x"),
    )
    names = qualify([numbered, fixed, other])
    assert names[fixed.name].suffixes == {"/dev/video0": "-b"}
    assert names[other.name].suffixes == {"/dev/video1x": ""}


def test_fixed_paths_that_differ_stay_as_they_are() -> None:
    names = qualify(
        [resource("x.example/a", "/dev/video0"), resource("x.example/b", "/dev/video1")]
    )
    assert names[ResourceName("x.example/b")].suffixes == {"/dev/video1": ""}


def test_a_template_with_the_resource_in_it_meets_no_other() -> None:
    text = "/dev/{resource}{index}"
    names = qualify([resource("x.example/a", text), resource("x.example/b", text)])
    assert names[ResourceName("x.example/b")].suffixes == {text: ""}


def test_the_same_mount_in_two_resources_is_no_conflict() -> None:
    mount = MountEntry("/etc/gps.conf", "/etc/gps.conf", readonly=True)
    mine = Resource(ResourceName("x.example/a"), (), mounts=(mount,))
    same = Resource(ResourceName("x.example/b"), (), mounts=(mount,))
    other = Resource(
        ResourceName("x.example/c"), (), mounts=(MountEntry("/etc/c.conf", "/etc/gps.conf"),)
    )
    names = qualify([mine, same, other])
    assert names[same.name].suffixes == {"/etc/gps.conf": ""}
    assert names[other.name].suffixes == {"/etc/gps.conf": "-c"}


def test_a_path_of_the_host_gives_way_to_a_template_of_another_resource() -> None:
    host, numbered = resource("x.example/a"), resource("x.example/b", "/dev/video{index}")
    names = qualify([host, numbered])[host.name]
    assert names.settle("/dev/video0") == "/dev/video0.a"
    assert names.settle("/dev/media0") == "/dev/media0"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a.example/gps", "b.example/gps", "a.example/GPS", "a.example/gps-1"]),
            st.sampled_from(PATHS),
            st.lists(st.sampled_from(ENV_NAMES), unique=True),
            st.lists(st.integers(0, 2), max_size=3),
        ),
        unique_by=lambda entry: entry[0],
    )
)
def test_nothing_of_several_resources_collides_in_one_container(
    entries: list[tuple[str, str | None, list[str], list[int]]],
) -> None:
    resources = [resource(name, path, *env) for name, path, env, _ in entries]
    names = qualify(resources)
    env: list[str] = []
    paths: list[str] = []
    for number, (wanted, (*_, counts)) in enumerate(zip(resources, entries, strict=True)):
        devices = [
            device(wanted, f"r{number}d{n}", *(f"/dev/a{number}{n}{m}" for m in range(count)))
            for n, count in enumerate(counts)
        ]
        injection = plan(wanted, devices, Surroundings(Path("/links")), names[wanted.name])
        env += injection.env
        paths += [node.container_path for node in injection.nodes]
    assert len(env) == len(set(env))
    assert len(paths) == len(set(paths))
