"""Malformed configurations: each is refused with its file, its line and a text that helps."""

import pytest

from daemon.config import ConfigError, parse
from daemon.problem import MOST, SHOWN, Severity

FILE = "ringbolt.yaml"
RESOURCE = "resources:\n- name: a.b/c\n  select: [{path: /dev/x}]\n"
NETWORK = "network:\n  ranges: [[{subnet: 10.1.0.0/24}]]\n"

# (what stands in line 4 of a resource, what is said about it)
IN_A_RESOURCE = [
    ("  nam: x", 'unknown key "nam" in an entry of resources', 'did you mean "name"?'),
    ("  selects: []", "unknown key", 'did you mean "select"?'),
    ("  heath: {check: open}", "unknown key", 'did you mean "health"?'),
    ("  zzz: 1", "unknown key", "known are allocate, annotations"),
    ("  name: a.b/d", 'the key "name" stands twice', "line 2"),
    ("  not: []", "the list of terms is empty", "leave it out"),
    ("  not: x", "a term is a mapping of clauses", "{subsystem: tty}"),
    ("  not:", "not has no value", "leave it out"),
    ("  group: parent", "parent takes one word", "parent usb_device"),
    ("  group: usb_device", "no way to group nodes", "parent usb_device"),
    ("  group: node x", "node stands alone", "property ID_PATH"),
    ("  group: parent a b", "takes one word", "property ID_PATH"),
    ("  group: [node]", "group is a single value, not a list", ""),
    ("  inject: []", "inject is empty", "leave it out"),
    ("  inject: [a b]", '"a b" is no name of a subsystem', "hidraw"),
    ("  inject: {a: b}", "is a single value, not a mapping", ""),
    ("  container: rw", 'container is a mapping, not the text "rw"', "key: value"),
    ("  container: [x]", "container is a mapping, not a list", "key: value"),
    ("  container:", "container has no value", "leave it out"),
    ("  container: {path: dev/x}", "is not absolute", "slash"),
    ("  container: {path: /dev/../etc}", "climbs with ..", "where it leads to"),
    ("  container: {path: /}", "cannot appear at /", "/dev/serial{index}"),
    ("  container: {path: '/dev/{indx}'}", "unknown variable {indx}", "did you mean {index}?"),
    ("  container: {path: '/dev/{zzz}'}", "unknown variable {zzz}", "known are"),
    ("  container: {path: '/dev/{container_path}'}", "unknown variable", ""),
    ("  container: {path: '/dev/{'}", "unbalanced", "{{"),
    ("  container: {path: '/dev/{index[1]}'}", "takes no subscript", "{index}"),
    ("  container: {path: '/dev/{properties}'}", "needs a key", "{properties[KEY]}"),
    ('  container: {path: "/dev/a\\nb"}', "control characters", ""),
    ("  container: {permission: rw}", "unknown key", 'did you mean "permissions"?'),
    ("  container: {permissions: rwx}", "no permissions", "r, w and m"),
    ("  container: {permissions: rr}", "no permissions", "each once"),
    ("  container: {permissions: ''}", "no permissions", "each once"),
    ("  container: {mode: 660}", '"660" is no file mode', "write 0660"),
    ("  container: {mode: 0888}", "no file mode", "0660"),
    ("  container: {mode: 04660}", "no file mode", "0660"),
    ("  container: {mode: rw-rw----}", "no file mode", "0660"),
    ("  container: {gid: dialout}", '"dialout" is no whole number', ""),
    ("  container: {gid: -1}", "not within 0 to 4294967294", ""),
    ("  container: {gid: 4294967295}", "not within 0 to 4294967294", ""),
    ("  container: {uid: 010}", "begins with 0", "write 10"),
    ("  container: {uid: 1.5}", "no whole number", ""),
    ("  env: [A=b]", "env is a mapping, not a list", "key: value"),
    ("  env: {1A: x}", "no name of an environment variable", "no digit first"),
    ("  env: {A=B: x}", "no name of an environment variable", "letters"),
    ("  env: {A: '{containerpath}'}", "unknown variable", "did you mean {container_path}?"),
    ("  env: {A: }", '"A" has no value', 'write ""'),
    ("  env: {A: [x]}", '"A" is a single value, not a list', ""),
    ("  env: {A: 1, A: 2}", 'the key "A" stands twice', "line 4"),
    ("  mounts: {host: /a}", "mounts is a list, not a mapping", "dash"),
    ("  mounts: [/a]", "an entry of mounts is a mapping", "key: value"),
    ("  mounts: [{host: /a}]", "an entry of mounts has no container", "add container:"),
    ("  mounts: [{container: /a}]", "has no host", "add host:"),
    ("  mounts: [{host: a, container: /a}]", 'the path "a" is not absolute', "slash"),
    ("  mounts: [{host: /a, container: /}]", "cannot cover the container's root", "below"),
    ("  mounts: [{host: /a/../b, container: /b}]", "climbs", ""),
    ("  mounts: [{host: /a, container: /b, readonly: maybe}]", "neither true nor false", ""),
    ("  mounts: [{host: /a, container: /b, readOnly: true}]", "unknown key", '"readonly"?'),
    ("  annotations: {'a b': x}", "no key of an annotation", "example.org/name"),
    ("  annotations: {A_/x: y}", "no key of an annotation", "example.org/name"),
    ("  annotations: {a: '{nope}'}", "unknown variable {nope}", ""),
    ("  share: 0", "0 is not within 1 to 10000", ""),
    ("  share: 10001", "10001 is not within 1 to 10000", ""),
    ("  share: many", '"many" is no whole number', ""),
    ("  share: 1e3", '"1e3" is no whole number', ""),
    ("  share: [1]", "share is a single value", ""),
    ("  allocate: pack", '"pack" is none of packed, spread, numa', 'did you mean "packed"?'),
    ("  allocate: PACKED", "is none of packed, spread, numa", 'did you mean "packed"?'),
    ("  health: open", "health is a mapping", "key: value"),
    ("  health: {chek: open}", "unknown key", 'did you mean "check"?'),
    ("  health: {check: opn}", "none of presence, stat, open", 'did you mean "open"?'),
    ("  health: {interval: 30}", '"30" is no duration', "write 30s"),
    ("  health: {interval: 29s}", "29s is not within 30s", ""),
    ("  health: {interval: 48h}", "48h is not within 30s to 86400s", ""),
    ("  health: {interval: soon}", "no duration", "5m or 1h"),
    ("  health: {interval: ''}", "no duration", "5m or 1h"),
    ("  health: {failures: 0}", "0 is not within 1 to 100", ""),
    ("  health: {recoveries: x}", "no whole number", ""),
    ("  health: {timeout: 0s}", "not within 0.1s to 30s", ""),
    ("  health: {check: sysfs}", "check: sysfs needs attributes", "add attributes:"),
    ("  health: {check: command}", "check: command needs command", "add command:"),
    ("  health: {attributes: {a: b}}", "only used with check: sysfs", "write check: sysfs"),
    ("  health: {check: sysfs, attributes: {a: /(/}}", "no regular expression", ""),
    ("  health: {check: sysfs, attributes: {../a: b}}", "no attribute name", "own folder"),
    ("  health: {check: command, command: [x]}", '"x" is not absolute', "/usr/bin/test"),
    ("  health: {check: command, command: []}", "command is empty", ""),
    ('  health: {check: command, command: [/x, "\\0"]}', "NUL", ""),
    ("  prestart: {}", "prestart asks for nothing", "set occupancy"),
    ("  prestart: {timeout: 30s, occupancy: true}", "gives up after 30s", ""),
    ("  prestart: {settle: 25s}", "as long as the whole timeout", "shorter"),
    ("  prestart: {usb_rest: true}", "unknown key", 'did you mean "usb_reset"?'),
    ("  prestart: {usb_reset: 2}", "neither true nor false", ""),
    ("  prestart: {command: reset}", '"reset" is not absolute', "/usr/bin/test"),
]


@pytest.mark.parametrize(("line", "message", "hint"), IN_A_RESOURCE)
def test_a_resource_is_refused_in_the_line_that_is_wrong(
    line: str, message: str, hint: str
) -> None:
    _assert_refused(RESOURCE + line + "\n", 4, message, hint)


ANYWHERE = [
    ("x", 1, 'the file is a mapping, not the text "x"', "resources:"),
    ("- a", 1, "the file is a mapping, not a list", "resources:"),
    ("resource: []", 1, 'unknown key "resource"', 'did you mean "resources"?'),
    ("resources:", 1, "resources has no value", "leave it out"),
    ("resources: {}", 1, "resources is a list, not a mapping", "dash"),
    ("resources: [x]", 1, "an entry of resources is a mapping", ""),
    ("resources:\n- {select: {path: /a}}", 2, "has no name", "add name:"),
    ("resources:\n- {name: a.b/c}", 2, "has no select", "add select:"),
    ("resources:\n- name: serial\n  select: {path: /a}", 2, "has no prefix", "ringbolt.dev/serial"),
    ("resources:\n- name:\n  select: {path: /a}", 2, "name has no value", ""),
    ("resources:\n- name: [a]\n  select: {path: /a}", 2, "name is a single value", ""),
    ("resources:\n- name: kubernetes.io/a\n  select: {path: /a}", 2, "belongs to Kubernetes", ""),
    ("resources:\n- name: x.kubernetes.io/a\n  select: {path: /a}", 2, "to Kubernetes", ""),
    ("resources:\n- name: requests.a/b\n  select: {path: /a}", 2, "quotas", ""),
    ("resources:\n- name: A.b/c\n  select: {path: /a}", 2, "no domain name", "lower case"),
    ("resources:\n- name: a..b/c\n  select: {path: /a}", 2, "no domain name", "lower case"),
    (f"resources:\n- name: {'a' * 245}/c\n  select: {{path: /a}}", 2, "no domain name", "244"),
    ("resources:\n- name: a.b/c/d\n  select: {path: /a}", 2, '"c/d" is no name', "63"),
    ("resources:\n- name: a.b/-c\n  select: {path: /a}", 2, '"-c" is no name', "63"),
    ("resources:\n- name: a.b/\n  select: {path: /a}", 2, '"" is no name', "63"),
    (f"resources:\n- name: a.b/{'c' * 64}\n  select: {{path: /a}}", 2, "no name of a resource", ""),
    (RESOURCE + RESOURCE.partition("\n")[2], 4, "a.b/c is configured twice", "line 2"),
    ("resources:\n- name: a.b/c\n  select:", 3, "select has no value", ""),
    ("resources:\n- name: a.b/c\n  select: []", 3, "the list of terms is empty", ""),
    ("resources:\n- name: a.b/c\n  select: [{}]", 3, "the term has no clauses", "subsystem: tty"),
    ("resources:\n- name: a.b/c\n  select: /dev/x", 3, "a term is a mapping", "subsystem"),
    (
        "resources:\n- name: a.b/c\n  select:\n  - subsystem: tty\n    kernal: x",
        5,
        'unknown clause "kernal"',
        'did you mean "kernel"?',
    ),
    (
        "resources:\n- name: a.b/c\n  select:\n  - usb:\n      vendor: 0403\n      produkt: 1",
        6,
        'unknown key "produkt" in usb',
        'did you mean "product"?',
    ),
    (
        "resources:\n- name: a.b/c\n  select:\n  - pci:\n      klass: 0300",
        5,
        'unknown key "klass" in pci',
        'did you mean "class"?',
    ),
    (
        "resources:\n- name: a.b/c\n  select:\n  - properties:\n      ID_BUS:",
        5,
        "not nothing",
        'write ""',
    ),
    (
        "resources:\n- name: a.b/c\n  select:\n  - any:\n    - kernel: /[/",
        5,
        "no regular expression",
        "",
    ),
    ("resources:\n- name: a.b/c\n  select: {path: ttyUSB0}", 3, "begins with a slash", ""),
    ("kubelet: x", 1, "kubelet is a mapping", ""),
    ("kubelet:\n  registration: socket", 2, "none of kubelet.sock, plugins_registry", ""),
    ("kubelet:\n  registraton: x", 2, "unknown key", 'did you mean "registration"?'),
    ("volumes:\n  roots: [srv]", 2, "is not absolute", "slash"),
    ("volumes:\n  roots: [/]", 2, "the whole host", "name a directory"),
    ("volumes:\n  allow: [{namespaces: [x]}]", 2, "has no kinds", "add kinds:"),
    ("volumes:\n  allow: [{kinds: [tmpf]}]", 2, '"tmpf" is none of', 'did you mean "tmpfs"?'),
    ("volumes:\n  allow: [{kinds: [dir], max_size: big}]", 2, "no size", "10Gi"),
    ("volumes:\n  allow: [{kinds: [dir], max_size: 10GB}]", 2, "no size", "10Gi"),
    ("volumes:\n  allow: [{kinds: [dir], max_size: 0}]", 2, "out of range", ""),
    ("volumes:\n  allow: [{kinds: [dir], namespaces: [A_b]}]", 2, "no namespace", "team-*"),
    ("volumes:\n  allow: [{kinds: [dir], maxsize: 1}]", 2, "unknown key", '"max_size"?'),
    ("network: {}", 1, "network has no ranges", "add ranges:"),
    ("network:\n  ranges: []", 2, "ranges is empty", "[[{subnet"),
    ("network:\n  ranges: 10.0.0.0/8", 2, "ranges is a list of lists", "[[{subnet"),
    ("network:\n  ranges: [{subnet: 10.0.0.0/8}]", 2, "is a list of ranges", "[[{subnet"),
    ("network:\n  ranges: [[10.0.0.0/8]]", 2, "a range is a mapping", "[[{subnet"),
    ("network:\n  ranges: [[{}]]", 2, "a range has no subnet", "add subnet:"),
    ("network:\n  ranges: [[{subnet: 10.0.0.0/33}]]", 2, "no network", "10.244.0.0/24"),
    ("network:\n  ranges: [[{subnet: 10.0.0.1/24}]]", 2, "beyond its prefix", "write 10.0.0.0/24"),
    ("network:\n  ranges: [[{subnet: 10.0.0.0/31}]]", 2, "no room", "larger"),
    ("network:\n  ranges: [[{subnet: 10.1.0.0/24, gateway: 10.2.0.1}]]", 2, "is not within", ""),
    ("network:\n  ranges: [[{subnet: 10.1.0.0/24, rangeStart: x}]]", 2, "no IP address", ""),
    (
        "network:\n  ranges: [[{subnet: 10.1.0.0/24, rangeStart: 10.1.0.9, rangeEnd: 10.1.0.3}]]",
        2,
        "rangeEnd comes before rangeStart",
        "exchange",
    ),
    (
        "network:\n  ranges: [[{subnet: 10.1.0.0/24}], [{subnet: 10.1.0.0/16}]]",
        2,
        "overlap",
        "separate",
    ),
    (
        "network:\n  ranges: [[{subnet: 10.1.0.0/24}, {subnet: 'fd00::/64'}]]",
        2,
        "IPv4 and IPv6",
        "list of its own",
    ),
    (NETWORK + "  mode: vlan", 3, "none of bridge, routed", ""),
    (NETWORK + "  mtu: big", 3, "no whole number", "write auto"),
    (NETWORK + "  mtu: 100", 3, "not within 576 to 65535", "write auto"),
    (NETWORK + "  bridge: a-name-that-is-too-long", 3, "no interface name", "15"),
    (NETWORK + "  bridge: a/b", 3, "no interface name", "15"),
    (NETWORK + "  mode: routed\n  bridge: x", 4, "only used with mode: bridge", "remove"),
    (NETWORK + "  masquerade: true\n  ipMasq: true", 4, "are the same", "remove one"),
    (NETWORK + "  hairpinMode: true\n  promiscMode: true", 4, "exclude each other", "remove"),
    (NETWORK + "  vlan: 4095", 3, "not within 1 to 4094", ""),
    (NETWORK + "  routes: [{gw: 10.0.0.1}]", 3, "has no dst", "add dst:"),
    (NETWORK + "  routes: [{dst: default}]", 3, "no network", ""),
    (NETWORK + "  bandwidth: {ingressRate: 1}", 3, "set together", "missing"),
    (NETWORK + "  name: a b", 3, "no network name", "letters"),
    (NETWORK + "  masqerade: true", 3, "unknown key", 'did you mean "masquerade"?'),
]


@pytest.mark.parametrize(("text", "line", "message", "hint"), ANYWHERE)
def test_a_file_is_refused_in_the_line_that_is_wrong(
    text: str, line: int, message: str, hint: str
) -> None:
    _assert_refused(text, line, message, hint)


def _assert_refused(text: str, line: int, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), FILE)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (FILE, line)
    assert message in problem.message
    assert hint in problem.hint
    assert problem.severity is Severity.ERROR
    assert str(problem).startswith(f"{FILE}:{line}:{problem.column}: error: ")


def test_all_errors_are_found_at_once_in_the_order_of_lines() -> None:
    lines = [line for line, _, _ in IN_A_RESOURCE if line.startswith("  health:")]
    entries = [
        f"- name: a.b/c{index}\n  select: [{{path: /dev/x}}]\n{line}\n"
        for index, line in enumerate(lines)
    ]
    with pytest.raises(ConfigError) as caught:
        parse(("resources:\n" + "".join(entries)).encode(), FILE)
    found = [problem.line for problem in caught.value.problems]
    assert found == [4 + 3 * index for index in range(len(lines))]
    assert str(caught.value).count(f"{FILE}:") == len(lines)


def test_a_long_value_is_not_repeated_whole() -> None:
    secret = "s3cret" * 50
    with pytest.raises(ConfigError) as caught:
        parse(f"{RESOURCE}  share: {secret}\n".encode(), FILE)
    assert len(caught.value.problems[0].message) < SHOWN + 40


def test_a_file_that_is_wrong_throughout_is_not_listed_without_end() -> None:
    text = "resources:\n" + "".join(f"- {{nam{index}: x}}\n" for index in range(5000))
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), FILE)
    # Three problems of each entry, and that there are too many entries.
    assert len(caught.value.problems) == MOST + 1
    assert "14001 more problems" in caught.value.problems[-1].message
