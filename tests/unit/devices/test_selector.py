"""Terms: every clause, on a small machine, and on arbitrary ones."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.devices.clauses import FACTS, Bus
from ringbolt.devices.grammar import CLAUSES, DEEPEST, parse_term, parse_terms
from ringbolt.devices.selector import Term
from ringbolt.devices.tree import Node, SysPath, Tree

CONTROLLER = "/devices/pci0000:00/0000:00:14.0"
ADAPTER = f"{CONTROLLER}/usb1/1-1"
CAMERA = f"{CONTROLLER}/usb1/1-2.3"
CARD = "/devices/pci0000:00/0000:00:02.0"


def node(path: str, subsystem: str = "", **more: object) -> Node:
    values: dict[str, object] = {
        "devtype": "",
        "driver": "",
        "dev_node": None,
        "links": (),
        "tags": frozenset(),
        "properties": {},
        **more,
    }
    kernel = path.rpartition("/")[2]
    return Node(SysPath(path), kernel, subsystem, **values)  # type: ignore[arg-type]


NODES = (
    node(
        CONTROLLER,
        "pci",
        driver="xhci_hcd",
        properties={
            "PCI_ID": "8086:1C2D",
            "PCI_CLASS": "C0330",
            "PCI_SLOT_NAME": "0000:00:14.0",
            "PCI_SUBSYS_ID": "17AA:21CF",
        },
    ),
    node(ADAPTER, "usb", devtype="usb_device", properties={"PRODUCT": "403/6001/600"}),
    node(f"{ADAPTER}/1-1:1.0", "usb", devtype="usb_interface", driver="ftdi_sio"),
    node(f"{ADAPTER}/1-1:1.0/ttyUSB0", "usb-serial"),
    node(
        f"{ADAPTER}/1-1:1.0/ttyUSB0/tty/ttyUSB0",
        "tty",
        dev_node="/dev/ttyUSB0",
        links=("/dev/serial/by-id/usb-FTDI_A7-if00-port0", "/dev/gps"),
        tags=frozenset({"systemd", "uaccess"}),
        properties={"ID_BUS": "usb", "ID_VENDOR_ID": "0403", "ID_MODEL_ID": "6001"},
    ),
    node(
        CAMERA,
        "usb",
        devtype="usb_device",
        properties={"BUSNUM": "001", "ID_SERIAL_SHORT": "SN_0_1", "ID_VENDOR": "Acme_Inc."},
    ),
    node(f"{CAMERA}/1-2.3:1.2", "usb", devtype="usb_interface"),
    node(f"{CAMERA}/1-2.3:1.2/video4linux/video0", "video4linux", dev_node="/dev/video0"),
    node(CARD, "pci"),
    node(f"{CARD}/drm/card0", "drm", dev_node="/dev/dri/card0"),
    node("/devices/virtual/misc/fuse", "misc", dev_node="/dev/fuse"),
)
ATTRIBUTES = {
    (CAMERA, "idVendor"): "046d",
    (CAMERA, "idProduct"): "0825",
    (CAMERA, "serial"): "SN 0 1",
    (CAMERA, "devpath"): "2.3",
    (CAMERA, "product"): "HD Camera",
    (CARD, "vendor"): "0x10de",
    (CARD, "device"): "0x1cb3",
    (CARD, "class"): "0x030000",
    (f"{CARD}/drm/card0", "power/control"): "auto",
}
TREE = Tree(NODES, lambda path, name: ATTRIBUTES.get((path, name)))


def term(value: Mapping[str, object]) -> Term:
    parsed, faults = parse_term(value)
    assert not faults
    return parsed


def taken(value: Mapping[str, object]) -> set[str]:
    parsed = term(value)
    return {node.kernel for node in TREE if parsed.matches(node, TREE)}


@pytest.mark.parametrize(
    ("value", "kernels"),
    [
        ({"subsystem": "tty"}, {"ttyUSB0"}),
        ({"subsystem": ["tty", "misc"]}, {"ttyUSB0", "fuse"}),
        ({"subsystem": "tty", "kernel": "ttyACM*"}, set()),
        ({"devtype": "usb_device"}, {"1-1", "1-2.3"}),
        ({"driver": "xhci*"}, {"0000:00:14.0"}),
        ({"driver": "", "devtype": "usb_interface"}, {"1-2.3:1.2"}),
        ({"kernel": "/^(card|video)[0-9]+$/"}, {"card0", "video0"}),
        ({"path": "/dev/ttyUSB*"}, {"ttyUSB0"}),
        ({"path": "/dev/serial/by-id/*FTDI*"}, {"ttyUSB0"}),
        ({"path": ["/dev/gps", "/dev/dri/*"]}, {"ttyUSB0", "card0"}),
        ({"links": "/dev/ttyUSB*"}, set()),
        ({"links": "/dev/gps"}, {"ttyUSB0"}),
        ({"properties": {"ID_BUS": "usb"}}, {"ttyUSB0"}),
        ({"properties": {"ID_VENDOR_ID": "0x403", "ID_MODEL_ID": ["1", "6001"]}}, {"ttyUSB0"}),
        ({"properties": {"ID_BUS": ""}, "subsystem": "misc"}, {"fuse"}),
        ({"properties": {"ID_VENDOR_ID": "*"}}, {"ttyUSB0"}),
        ({"attributes": {"power/control": "auto"}}, {"card0"}),
        ({"attributes": {"idVendor": "46D"}}, {"1-2.3"}),
        ({"attributes": {"device": "1CB3"}}, {"0000:00:02.0"}),
        ({"tags": "uaccess"}, {"ttyUSB0"}),
        ({"tags": ["seat", "sys*"]}, {"ttyUSB0"}),
        ({"subsystem": "tty", "tags": ""}, set()),
        ({"parent": {"driver": "ftdi_sio"}, "subsystem": "tty"}, {"ttyUSB0"}),
        ({"parent": {"subsystem": "tty"}}, set()),
        (
            {"parent": {"devtype": "usb_device", "parent": {"driver": "xhci_hcd"}}, "tags": "*"},
            {"ttyUSB0"},
        ),
        ({"any": [{"subsystem": "drm"}, {"subsystem": "misc"}]}, {"card0", "fuse"}),
        ({"all": [{"subsystem": "drm"}, {"kernel": "card*"}]}, {"card0"}),
        ({"all": {"subsystem": "drm"}}, {"card0"}),
        ({"path": "/dev/**", "not": {"subsystem": ["tty", "drm"]}}, {"video0", "fuse"}),
        (
            {"path": "/dev/**", "not": [{"subsystem": "tty"}, {"parent": {"subsystem": "pci"}}]},
            {"fuse"},
        ),
        (
            {"any": [{"not": {"path": "/**"}, "subsystem": "usb-serial"}, {"kernel": "fuse"}]},
            {"ttyUSB0", "fuse"},
        ),
    ],
)
def test_clauses_take_the_nodes_they_mean(value: dict[str, object], kernels: set[str]) -> None:
    assert taken(value) == kernels


@pytest.mark.parametrize(
    "facts",
    [
        {"vendor": "0403"},
        {"vendor": "0x403", "product": "6001"},
        {"vendor": ["1", "403"], "product": "6*"},
        {"port": "1"},
        {"port": "1-1"},
        {"interface": "0"},
    ],
)
def test_usb_looks_at_the_nearest_device(facts: dict[str, object]) -> None:
    assert taken({"usb": facts, "subsystem": ["tty", "video4linux"]}) == {"ttyUSB0"}


@pytest.mark.parametrize(
    "facts",
    [
        {"vendor": "46d", "product": "0x825"},
        {"serial": "SN 0 1"},
        {"serial": "SN_0_1"},
        {"port": "2.3"},
        {"port": "1-2.*"},
        {"bus": "1", "port": "2.*"},
        {"manufacturer": "Acme Inc."},
        {"model": "HD_Camera"},
        {"interface": "02"},
    ],
)
def test_usb_facts_come_from_attributes_and_properties(facts: dict[str, object]) -> None:
    assert taken({"usb": facts, "subsystem": ["tty", "video4linux"]}) == {"video0"}


@pytest.mark.parametrize(
    ("facts", "kernels"),
    [
        ({"vendor": "10de"}, {"card0"}),
        ({"vendor": "0x10DE", "device": "0x1cb3", "class": "03"}, {"card0"}),
        ({"class": "0x0300"}, {"card0"}),
        ({"address": "0000:00:02.0"}, {"card0"}),
        ({"address": "00:02.0"}, {"card0"}),
        ({"class": "0c03"}, {"ttyUSB0", "video0"}),
        ({"vendor": "8086", "device": "1c2d"}, {"ttyUSB0", "video0"}),
        ({"subsystem_vendor": "17aa", "subsystem_device": "21cf"}, {"ttyUSB0", "video0"}),
        ({"vendor": "dead"}, set()),
    ],
)
def test_pci_looks_at_the_nearest_function(facts: dict[str, object], kernels: set[str]) -> None:
    assert taken({"pci": facts, "path": "/dev/**"}) == kernels


def test_a_usb_clause_without_numbers_in_the_recording_does_not_hold() -> None:
    bare = Tree([node("/devices/usb1", "usb", devtype="usb_device")], lambda _path, _name: None)
    parsed = term({"usb": {"vendor": "0403"}})
    assert not any(parsed.matches(node, bare) for node in bare)


def test_a_term_without_clauses_takes_nothing() -> None:
    assert not any(Term().matches(node, TREE) for node in TREE)


def test_path_patterns_are_those_of_terms_that_ask_for_nothing_else() -> None:
    assert [one.text for one in term({"path": ["/dev/a", "/dev/b*"]}).path_patterns] == [
        "/dev/a",
        "/dev/b*",
    ]
    assert term({"any": [{"path": "/dev/a"}, {"path": "/dev/b"}]}).path_patterns
    assert not term({"path": "/dev/a", "subsystem": "tty"}).path_patterns
    assert not term({"links": "/dev/a"}).path_patterns
    assert term({"path": "/dev/snd"}).matches_path("/dev/snd")
    assert not term({"path": "/dev/snd", "subsystem": "x"}).matches_path("/dev/snd")


@pytest.mark.parametrize(
    ("value", "identity"),
    [
        ({"usb": {"vendor": "1"}}, True),
        ({"pci": {"vendor": "1"}, "properties": {"A": "b"}}, True),
        ({"any": [{"usb": {"vendor": "1"}}, {"usb": {"vendor": "2"}}]}, True),
        ({"usb": {"vendor": "1"}, "subsystem": "tty"}, False),
        ({"usb": {"vendor": "1"}, "kernel": "tty*"}, False),
        ({"usb": {"vendor": "1"}, "path": "/dev/x"}, False),
        ({"properties": {"A": "b"}}, False),
    ],
)
def test_a_term_knows_whether_it_names_only_a_physical_device(
    value: dict[str, object], *, identity: bool
) -> None:
    assert term(value).names_only_identity is identity


@pytest.mark.parametrize(
    ("value", "place", "says"),
    [
        ({"subsytem": "tty"}, ("subsytem",), 'did you mean "subsystem"?'),
        ({"usb": {"vendr": "1"}}, ("usb", "vendr"), 'did you mean "vendor"?'),
        ({"usb": "0403"}, ("usb",), "usb: {vendor: 0403}"),
        ({"usb": {}}, ("usb",), "usb is empty"),
        ({"parent": "usb_device"}, ("parent",), "a term is a mapping"),
        ({"parent": {}}, ("parent",), "no clauses"),
        ({"any": []}, ("any",), "empty"),
        ({"not": [{"path": "x"}]}, ("not", 0, "path"), "begins with a slash"),
        ({"subsystem": None}, ("subsystem",), "not nothing"),
        ({"subsystem": []}, ("subsystem",), "empty"),
        ({"subsystem": ["tty", ["x"]]}, ("subsystem", 1), "not a list"),
        ({"properties": {"A B": "x"}}, ("properties", "A B"), "no property name"),
        ({"attributes": {"../x": "x"}}, ("attributes", "../x"), "no attribute name"),
        ({"kernel": "/(/"}, ("kernel",), "no regular expression"),
        ({}, (), "no clauses"),
    ],
)
def test_faults_have_their_place(
    value: dict[str, object], place: tuple[str | int, ...], says: str
) -> None:
    _, faults = parse_term(value)
    assert [fault.place for fault in faults] == [place]
    assert says in f"{faults[0].message} {faults[0].hint}"


def test_every_fault_is_found_at_once() -> None:
    _, faults = parse_terms([{"a": "1", "b": "2"}, {"path": "x", "usb": {"c": "1"}}, "x"])
    assert len(faults) == 5


def test_terms_are_not_nested_without_end() -> None:
    value: dict[str, object] = {"kernel": "x"}
    for _ in range(DEEPEST - 1):
        value = {"parent": value}
    assert not parse_term(value)[1]
    assert "nested" in parse_term({"parent": value})[1][0].message


# --- Arbitrary machines and arbitrary terms --------------------------------------------------

WORDS = st.text(max_size=6) | st.sampled_from(["usb", "pci", "tty", "usb_device", "/dev/x", "0403"])
PROPERTY_NAMES = st.sampled_from(["PRODUCT", "PCI_ID", "PCI_CLASS", "ID_VENDOR_ID", "BUSNUM", "A"])
PROPERTIES = st.dictionaries(PROPERTY_NAMES, WORDS, max_size=4)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    paths = draw(st.lists(st.lists(WORDS, min_size=1, max_size=4).map("/".join), max_size=6))
    nodes = [
        Node(
            SysPath(f"/devices/{path}"),
            draw(WORDS),
            draw(WORDS),
            draw(WORDS),
            draw(WORDS),
            draw(st.none() | WORDS),
            tuple(draw(st.lists(WORDS, max_size=2))),
            draw(st.frozensets(WORDS, max_size=2)),
            draw(PROPERTIES),
        )
        for path in paths
    ]
    attribute = draw(st.none() | WORDS)
    return Tree(nodes, lambda _path, _name: attribute)


def _terms(inner: st.SearchStrategy[dict[str, object]]) -> st.SearchStrategy[dict[str, object]]:
    nested = inner | st.lists(inner, max_size=2)
    return st.dictionaries(st.sampled_from(["parent", "any", "all", "not"]), nested, max_size=2)


FACT_NAMES = st.sampled_from([*FACTS[Bus.USB], *FACTS[Bus.PCI]])
VALUES = WORDS | st.lists(WORDS, max_size=2)
LEAVES: st.SearchStrategy[dict[str, object]] = st.dictionaries(
    st.sampled_from(CLAUSES),
    VALUES | st.dictionaries(PROPERTY_NAMES | FACT_NAMES, VALUES, max_size=3),
    max_size=3,
)
TERMS = st.recursive(LEAVES, _terms, max_leaves=4)


@given(trees(), TERMS)
def test_no_term_raises_on_any_machine(tree: Tree, value: dict[str, object]) -> None:
    parsed, faults = parse_term(value)
    assert all(fault.message for fault in faults)
    for one in tree:
        holds = parsed.matches(one, tree)
        if not faults:
            assert holds is all(finding.holds for finding in parsed.explain(one, tree))
        for path in one.links:
            assert parsed.matches_path(path) in {True, False}


Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(Json)
def test_any_value_is_a_term_or_a_fault(value: object) -> None:
    terms, faults = parse_terms(value)
    assert faults or all(one.clauses for one in terms)
