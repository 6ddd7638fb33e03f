"""Configurations: what the design's example means, every default, reloads, files and the check."""

from dataclasses import replace
from pathlib import Path

import pytest

from daemon.config import MOST_RESOURCES, Config, ConfigError, Difference, difference, load, parse
from daemon.options import (
    AddressRange,
    Bandwidth,
    KubeletOptions,
    NetworkMode,
    NetworkOptions,
    Registration,
    Route,
    VolumeOptions,
    VolumeRule,
)
from daemon.problem import Problem, Severity
from ringbolt.devices.pattern import parse_pattern
from ringbolt.devices.resource import (
    Check,
    Container,
    Group,
    GroupBy,
    Health,
    MountEntry,
    Policy,
    PreStart,
    Resource,
    ResourceName,
)
from ringbolt.volumes.spec import Kind

EXAMPLE = """\
resources:
  - name: ringbolt.dev/serial
    select:
      - subsystem: tty
        properties: {ID_BUS: usb}
      - path: /dev/serial/by-id/*FTDI*
    not: [{properties: {ID_VENDOR_ID: "1d6b"}}]
    group: parent usb_device
    inject: [tty, hidraw]
    container: {path: "/dev/serial{index}", permissions: rw, mode: "0660", gid: 20}
    env: {SERIAL_PORT: "{container_path}", SERIAL_NUMBER: "{properties[ID_SERIAL_SHORT]}"}
    mounts: [{host: /etc/gps.conf, container: /etc/gps.conf, readonly: true}]
    share: 1
    allocate: packed
    health: {check: open, interval: 30s, failures: 3, recoveries: 2}
  - name: ringbolt.dev/fuse
    select: [{path: /dev/fuse}]
    share: 100
volumes:
  roots: [/srv/data]
  allow: [{namespaces: ["*"], kinds: [tmpfs, loop, image], max_size: 10Gi}]
network:
  name: ringbolt
  mode: bridge
  ranges: [[{subnet: 10.244.0.0/24}], [{subnet: "fd00:10:244::/64"}]]
  masquerade: true
  mtu: auto
"""

RESOURCE = "resources:\n- name: a.b/c\n  select: [{path: /dev/x}]\n"


def one(more: str, select: str = "[{path: /dev/x}]") -> Resource:
    """The one resource of a configuration, with more keys."""
    text = f"resources:\n- name: a.b/c\n  select: {select}\n  {more}\n"
    (resource,) = parse(text.encode()).resources
    return resource


def test_the_example_of_the_design_means_what_it_says() -> None:
    found = parse(EXAMPLE.encode())
    serial, fuse = found.resources
    assert serial == Resource(
        name=ResourceName("ringbolt.dev/serial"),
        select=serial.select,
        exclude=serial.exclude,
        group=Group(GroupBy.PARENT, "usb_device"),
        inject=("tty", "hidraw"),
        container=Container("/dev/serial{index}", "rw", 0o660, None, 20),
        env={
            "SERIAL_PORT": "{container_path}",
            "SERIAL_NUMBER": "{properties[ID_SERIAL_SHORT]}",
        },
        mounts=(MountEntry("/etc/gps.conf", "/etc/gps.conf", readonly=True),),
        health=Health(Check.OPEN, 30.0, 3, 2),
    )
    assert (len(serial.select), len(serial.exclude)) == (2, 1)
    assert fuse == Resource(ResourceName("ringbolt.dev/fuse"), fuse.select, share=100)
    kinds = (Kind.TMPFS, Kind.LOOP, Kind.IMAGE)
    assert found.volumes == VolumeOptions(("/srv/data",), (VolumeRule(kinds, ("*",), 10 << 30),))
    assert found.network == NetworkOptions(
        ranges=((AddressRange("10.244.0.0/24"),), (AddressRange("fd00:10:244::/64"),)),
        masquerade=True,
    )
    assert found.kubelet == KubeletOptions()
    assert found.warnings == ()


@pytest.mark.parametrize("text", ["", "# nothing\n", "resources: []", "---\n", "x-any: [1]"])
def test_an_empty_configuration_has_no_resources(text: str) -> None:
    assert parse(text.encode()) == Config()


@pytest.mark.parametrize("mode", ["0660", '"0660"', "0o660", "'0o660'"])
def test_a_mode_is_octal_however_it_is_written(mode: str) -> None:
    assert one(f"container: {{mode: {mode}}}").container.mode == 0o660


def test_unquoted_ids_are_not_numbers_of_yaml() -> None:
    select = "[{usb: {vendor: 0403, product: 1e10}, properties: {A: no, ID_MODEL_ID: 0777}}]"
    quoted = (
        "[{usb: {vendor: '0403', product: '1e10'}, properties: {A: 'no', ID_MODEL_ID: '0777'}}]"
    )
    assert one("share: 1", select) == one("share: 1", quoted)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("1h", 3600), ("1h30m", 5400), ("1m30s", 90), ("90.5s", 90.5)],
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert one(f"health: {{interval: {text}}}").health.interval_s == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("10Gi", 10 << 30), ("500M", 500_000_000), ("4096", 4096), ("1k", 1000), ("2Ti", 2 << 40)],
)
def test_sizes_are_bytes(text: str, size: int) -> None:
    found = parse(f"volumes: {{allow: [{{kinds: dir, max_size: {text}}}]}}".encode())
    assert found.volumes is not None
    assert found.volumes.allow[0].max_size == size


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("node", Group()),
        ("all", Group(GroupBy.ALL)),
        ("parent  usb_device", Group(GroupBy.PARENT, "usb_device")),
        ("property ID_PATH", Group(GroupBy.PROPERTY, "ID_PATH")),
    ],
)
def test_groups(text: str, group: Group) -> None:
    assert one(f"group: {text}").group == group


def test_without_a_group_the_terms_decide_and_node_says_each_by_itself() -> None:
    assert one("share: 1").group is None
    assert one("group: node").group == Group()


def test_what_is_injected_is_a_subsystem_or_a_path_that_comes_with_every_device() -> None:
    found = one("inject: [drm, /dev/kfd]")
    assert (found.inject, found.companions) == (("drm",), ("/dev/kfd",))
    found = one("inject: [/dev/nvidiactl]")
    assert (found.inject, found.companions) == (None, ("/dev/nvidiactl",))


def test_every_key_of_a_resource_arrives() -> None:
    health = one(
        "health: {check: sysfs, interval: 1m, failures: 1, recoveries: 9, timeout: 2s, "
        "attributes: {power/control: /auto|on/}}"
    ).health
    attributes = {"power/control": parse_pattern("/auto|on/")}
    assert health == Health(Check.SYSFS, 60.0, 1, 9, 2.0, attributes)
    command = one("health: {check: command, command: [/bin/test, -e, '{x}']}").health.command
    assert command == ("/bin/test", "-e", "{x}")
    prestart = one(
        "prestart: {occupancy: yes, usb_reset: true, settle: 2s, command: [/x], timeout: 20s}"
    ).prestart
    assert prestart == PreStart(True, True, 2.0, ("/x",), 20.0)  # noqa: FBT003
    assert one("prestart: {occupancy: false}").prestart is None
    assert one("allocate: numa").allocate is Policy.NUMA
    assert one("annotations: {example.org/id: '{id}'}").annotations == {"example.org/id": "{id}"}
    assert one("container: {uid: 0, gid: 5, permissions: wr}").container == Container(
        permissions="rw", uid=0, gid=5
    )
    assert one("mounts: [{host: '{host_path}', container: /x/}]").mounts == (
        MountEntry("{host_path}", "/x"),
    )


def test_every_key_of_the_node_arrives() -> None:
    found = parse(b"""\
kubelet: {registration: plugins_registry}
network:
  name: pods
  bridge: br0
  ranges: [[{subnet: 10.1.0.0/16, rangeStart: 10.1.2.3, rangeEnd: 10.1.2.9, gateway: 10.1.0.1}]]
  routes: [{dst: 0.0.0.0/0}, {dst: 10.9.0.0/16, gw: 10.1.0.2}]
  ipMasq: true
  mtu: 1400
  isGateway: false
  hairpinMode: true
  vlan: 7
  bandwidth: {ingressRate: 1000, ingressBurst: 2000}
""")
    assert found.kubelet.registration is Registration.PLUGINS_REGISTRY
    assert found.network == NetworkOptions(
        name="pods",
        mode=NetworkMode.BRIDGE,
        ranges=((AddressRange("10.1.0.0/16", "10.1.2.3", "10.1.2.9", "10.1.0.1"),),),
        bridge="br0",
        routes=(Route("0.0.0.0/0"), Route("10.9.0.0/16", "10.1.0.2")),
        masquerade=True,
        mtu=1400,
        is_gateway=False,
        hairpin=True,
        vlan=7,
        bandwidth=Bandwidth(1000, 2000),
    )


def test_anchors_and_merge_keys_save_repetition() -> None:
    found = parse(b"""\
x-defaults: &serial
  group: parent usb_device
  container: {mode: 0660}
resources:
- {<<: *serial, name: a.b/c, select: {subsystem: tty}}
- {<<: *serial, name: a.b/d, select: {subsystem: hidraw}, group: node}
""")
    assert [resource.container.mode for resource in found.resources] == [0o660, 0o660]
    assert [r.group and r.group.by for r in found.resources] == [GroupBy.PARENT, GroupBy.NODE]


def test_the_reference_begins_with_the_example_of_the_design() -> None:
    text = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
    example = text.partition("```yaml\n")[2].partition("```\n")[0]
    assert parse(example.encode()) == parse(EXAMPLE.encode())


# --- Warnings --------------------------------------------------------------------------------


def warnings(text: str) -> list[tuple[int, str]]:
    found = parse(text.encode(), "f").warnings
    assert all(problem.severity is Severity.WARNING for problem in found)
    return [(problem.line, problem.message) for problem in found]


def test_names_and_paths_that_two_resources_give_are_told() -> None:
    text = "".join(
        f"- name: a.b/{name}\n  select: {{path: /dev/{name}}}\n  env: {{PORT: x}}\n"
        f"  container: {{path: '/dev/it{{index}}'}}\n"
        for name in ("one", "two")
    )
    (env_line, env), (path_line, path) = warnings("resources:\n" + text)
    assert (env_line, path_line) == (8, 9)
    assert '"PORT"' in env
    assert '"PORT_TWO"' in env
    assert '"/dev/it{index}-two"' in path


def test_what_does_nothing_or_too_much_is_told() -> None:
    assert "inject finds nothing" in warnings(RESOURCE + "  group: node\n  inject: [tty]\n")[0][1]
    assert "4 MiB" in warnings(RESOURCE + "  share: 9000\n")[0][1]
    assert not warnings(RESOURCE + "  inject: [tty]\n  group: all\n  share: 100\n")


# --- Files -----------------------------------------------------------------------------------


def problems_of(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value.problems


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path / "absent.yaml")
    assert (problem.file, problem.line) == (str(tmp_path / "absent.yaml"), 1)
    assert "No such file" in problem.message
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    assert "cannot read" in problems_of(tmp_path / "loop.yaml")[0].message


def test_a_directory_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "20.yaml").write_text(RESOURCE.replace("a.b/c", "a.b/second"))
    (tmp_path / "10.yaml").write_text(RESOURCE.replace("a.b/c", "a.b/first"))
    (tmp_path / ".hidden.yaml").write_text("nonsense")
    (tmp_path / "README").write_text("nonsense")
    assert [one.name for one in load(tmp_path).resources] == ["a.b/first", "a.b/second"]


def test_problems_of_all_files_of_a_directory_are_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RESOURCE + "  shar: 1\n")
    (tmp_path / "b.yaml").write_text("kubelet: {}\n[")
    (tmp_path / "c.yaml").write_text(RESOURCE + "kubelet: {}\n")
    (tmp_path / "d.yaml").write_text("kubelet: {registration: kubelet.sock}\n")
    found = [(Path(one.file).name, one.line) for one in problems_of(tmp_path)]
    assert found == [("a.yaml", 4), ("b.yaml", 2), ("c.yaml", 2), ("d.yaml", 1)]


def test_there_is_a_limit_to_resources() -> None:
    entries = [
        f"- {{name: a.b/c{index}, select: {{path: /dev/x}}}}\n"
        for index in range(MOST_RESOURCES + 1)
    ]
    with pytest.raises(ConfigError) as caught:
        parse(("resources:\n" + "".join(entries)).encode())
    assert caught.value.problems[0].line == MOST_RESOURCES + 2


# --- Reloads ---------------------------------------------------------------------------------


def test_a_reload_adds_changes_and_removes_resources() -> None:
    old = parse(EXAMPLE.encode())
    text = EXAMPLE.replace("share: 100", "share: 99").replace("dev/serial", "dev/port")
    added = ResourceName("ringbolt.dev/port")
    changed = ResourceName("ringbolt.dev/fuse")
    removed = ResourceName("ringbolt.dev/serial")
    assert difference(old, parse(text.encode())) == Difference((added,), (changed,), (removed,))


def test_a_file_that_says_the_same_otherwise_changes_nothing() -> None:
    old = parse(EXAMPLE.encode())
    text = EXAMPLE.replace('mode: "0660"', "mode: 0o660").replace(
        "interval: 30s", "interval: 0m30s"
    )
    new = parse(("# a comment\n" + text).encode(), "elsewhere")
    assert new == old
    assert not difference(old, replace(new, resources=new.resources[::-1]))
