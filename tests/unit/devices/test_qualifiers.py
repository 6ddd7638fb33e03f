"""Names of several resources in one container: the first keeps its name, none are lost."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ringbolt.devices.qualifiers import qualify
from ringbolt.devices.resource import Container, MountEntry, Resource, ResourceName

ENV_NAMES = ["PORT", "PORT_1", "PORT_GPS", "RINGBOLT_GPS"]
PATHS = [None, "/dev/a", "/dev/a0", "/dev/a{index}", "/dev/a{index}0", "/dev/{name}", "/dev/a-gps"]


def resource(name: str, path: str | None = None, *env: str) -> Resource:
    return Resource(
        ResourceName(name), (), container=Container(path), env=dict.fromkeys(env, "{id}")
    )


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
    assert names.settle("/dev/video0") == "/dev/video0-a"
    assert names.settle("/dev/media0") == "/dev/media0"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a.example/gps", "b.example/gps", "a.example/GPS", "a.example/gps-1"]),
            st.sampled_from(PATHS),
            st.lists(st.sampled_from(ENV_NAMES), unique=True),
        ),
        unique_by=lambda entry: entry[0],
    )
)
def test_no_two_resources_are_given_one_name(
    entries: list[tuple[str, str | None, list[str]]],
) -> None:
    names = qualify([resource(name, path, *env) for name, path, env in entries])
    given_names = [given for one in names.values() for given in (*one.env.values(), one.variable)]
    assert len(given_names) == len(set(given_names))
    shapes = [shape.text for one in itertools.islice(names.values(), 1) for shape in one.others]
    assert len(shapes) == len(set(shapes))
