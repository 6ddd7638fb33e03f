"""A tree after a change is the tree that would have been built anew."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ringbolt.devices.tree import Node, SysPath, Tree
from tests.unit.devices.machines import Machine

PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(
    lambda parts: SysPath("/devices/" + "/".join(parts))
)


def node(path: SysPath, mark: str) -> Node:
    machine = Machine()
    machine.add(path, "usb", {"MARK": mark})
    return machine.nodes[path]


def relations(tree: Tree) -> dict[SysPath, object]:
    """Every node with its parent, children and siblings."""
    return {
        one.sys_path: (
            one,
            tree.parent(one),
            sorted(child.sys_path for child in tree.children(one)),
            sorted(sibling.sys_path for sibling in tree.siblings(one)),
            tree.attribute(one, "mark"),
        )
        for one in tree
    }


@settings(deadline=None)
@given(before=st.sets(PATHS), gone=st.sets(PATHS), new=st.sets(PATHS), looked_at=st.booleans())
def test_what_changes_hangs_together_as_if_built_anew(
    before: set[SysPath], gone: set[SysPath], new: set[SysPath], *, looked_at: bool
) -> None:
    """Also where a node comes between a parent and its children, or goes from between them."""
    marks = dict.fromkeys(before, "old") | dict.fromkeys(new, "new")
    now = {"mark": "old"}
    tree = Tree([node(path, "old") for path in before], lambda _path, name: now[name])
    if looked_at:
        relations(tree)
    after = tree.replaced(gone, [node(path, "new") for path in new])
    now["mark"] = "new"
    left = (before - gone) | new
    fresh = Tree(
        [node(path, marks[path]) for path in left],
        lambda path, _name: "old" if looked_at and path in before - gone - new else "new",
    )
    assert relations(after) == relations(fresh)
    assert {one.sys_path for one in tree} == before, "the tree itself never changes"
