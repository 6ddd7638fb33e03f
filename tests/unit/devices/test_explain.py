"""Explanations: which term took a node, which clause failed, which `not` put it out."""

from ringbolt.devices.explain import explain, explain_all, taken, takes, takes_path
from ringbolt.devices.grammar import parse_terms
from ringbolt.devices.resource import Resource, ResourceName
from ringbolt.devices.tree import Node, SysPath, Tree


def node(path: str, subsystem: str, dev_node: str | None, **properties: str) -> Node:
    kernel = path.rpartition("/")[2]
    return Node(SysPath(path), kernel, subsystem, "", "", dev_node, (), frozenset(), properties)


PORT = node("/devices/soc/uart", "platform", None, OF_NAME="serial")
SERIAL = node("/devices/soc/uart/tty/ttyS0", "tty", "/dev/ttyS0", ID_BUS="soc")
OTHER = node("/devices/virtual/misc/fuse", "misc", "/dev/fuse")
TREE = Tree([PORT, SERIAL, OTHER], lambda _path, _name: None)


def resource(select: object, exclude: object = None, name: str = "a.b/c") -> Resource:
    taking, faults = parse_terms(select)
    leaving, more = parse_terms(exclude) if exclude else ((), ())
    assert not faults
    assert not more
    return Resource(ResourceName(name), taking, leaving)


def test_the_first_term_that_holds_is_named() -> None:
    one = resource([{"kernel": "x"}, {"subsystem": "tty"}, {"kernel": "ttyS0"}])
    found = explain(one, SERIAL, TREE)
    assert found.taken
    assert found.selected_by is not None
    assert found.selected_by.index == 1
    assert found.nearest == found.selected_by


def test_a_clause_that_fails_says_what_was_wanted_and_found() -> None:
    one = resource({"subsystem": "tty", "properties": {"ID_BUS": "usb", "ID_X": "1"}})
    found = explain(one, SERIAL, TREE)
    assert not found.taken
    assert found.nearest is not None
    assert [(one.clause, one.wanted, one.found) for one in found.nearest.failures] == [
        ("properties.ID_BUS", "usb", "soc"),
        ("properties.ID_X", "1", None),
    ]


def test_the_term_with_the_fewest_failures_is_nearest() -> None:
    one = resource([{"subsystem": "drm", "kernel": "card*"}, {"subsystem": "tty", "kernel": "x"}])
    nearest = explain(one, SERIAL, TREE).nearest
    assert nearest is not None
    assert nearest.index == 1


def test_the_not_that_puts_a_node_out_is_named() -> None:
    one = resource({"subsystem": "tty"}, [{"kernel": "x"}, {"kernel": "ttyS*"}])
    found = explain(one, SERIAL, TREE)
    assert not found.taken
    assert found.selected_by is not None
    assert found.excluded_by is not None
    assert found.excluded_by.index == 1
    assert not takes(one, SERIAL, TREE)


def test_a_parent_shows_the_ancestor_that_came_nearest() -> None:
    one = resource({"parent": {"subsystem": "platform", "properties": {"OF_NAME": "spi"}}})
    judged = explain(one, SERIAL, TREE).select[0]
    (finding,) = judged.findings
    assert finding.found == "/devices/soc/uart"
    assert [(inner.clause, inner.holds) for inner in finding.nested] == [
        ("subsystem", True),
        ("properties.OF_NAME", False),
    ]


def test_nested_terms_show_what_is_inside_them() -> None:
    one = resource({"any": [{"kernel": "x"}, {"kernel": "y"}], "not": {"subsystem": "tty"}})
    either, none = explain(one, SERIAL, TREE).select[0].findings
    assert (either.holds, len(either.nested)) == (False, 2)
    assert (none.holds, none.nested[0].holds) == (False, True)


def test_a_bus_that_is_not_there_is_said() -> None:
    one = resource({"usb": {"vendor": "0403", "product": "1"}})
    (finding,) = explain(one, SERIAL, TREE).select[0].findings
    assert (finding.clause, finding.found, finding.holds) == ("usb", None, False)


def test_every_resource_explains_itself_and_agrees_with_takes() -> None:
    resources = [
        resource({"subsystem": "tty"}, name="a.b/tty"),
        resource({"path": "/dev/**"}, {"subsystem": "misc"}, "a.b/rest"),
        resource([{"kernel": "fuse"}, {"subsystem": ["misc", "tty"]}], name="a.b/both"),
    ]
    for one in TREE:
        for found, asked in zip(explain_all(resources, one, TREE), resources, strict=True):
            assert found.resource == asked.name
            assert found.taken is takes(asked, one, TREE)
    for asked in resources:
        assert list(taken(asked, TREE)) == [one for one in TREE if takes(asked, one, TREE)]


def test_plain_paths_are_taken_by_terms_of_paths_alone() -> None:
    one = resource([{"path": "/dev/snd"}, {"path": "/run/*.sock"}], {"path": "/run/x.sock"})
    assert takes_path(one, "/dev/snd")
    assert takes_path(one, "/run/a.sock")
    assert not takes_path(one, "/run/x.sock")
    assert not takes_path(resource({"path": "/dev/snd", "kernel": "snd"}), "/dev/snd")
