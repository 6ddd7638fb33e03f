"""Documents: texts stay as they are written, places are right, and nothing runs away."""

import contextlib
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from daemon import document
from daemon.document import Element, Listing, Scalar, Table, locate, plain, read_document
from daemon.problem import ConfigError, Place, Report


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test with both of PyYAML's parsers: which one is there depends on the machine."""
    if request.param == "python":
        monkeypatch.setattr(document, "_LOADER", yaml.SafeLoader)


def read(text: str | bytes) -> Element | None:
    report = Report()
    data = text.encode() if isinstance(text, str) else text
    root = read_document(data, "f.yaml", report)
    report.refuse_if_wrong()
    return root


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [f"{one.line}:{one.column}: {one.message}" for one in caught.value.problems]


@pytest.mark.parametrize(
    "text",
    ["0403", "1d6b", "1e10", "no", "on", "0660", "0o660", "1_000", "12:30:45", "2026-01-01", ".5"],
)
def test_scalars_stay_the_texts_they_were_written_as(text: str) -> None:
    root = read(f"key: {text}")
    assert root is not None
    assert plain(root) == {"key": text}


@pytest.mark.parametrize("text", ["", " ", "# nothing\n", "---\n", "---\n...\n", "~", "null"])
def test_an_empty_file_says_nothing(text: str) -> None:
    assert read(text) is None


def test_quotes_make_a_text_of_nothing() -> None:
    root = read("a: ''\nb: \"~\"\nc: ~\nd:\n")
    assert root is not None
    assert plain(root) == {"a": "", "b": "~", "c": None, "d": None}


def test_every_element_knows_its_place() -> None:
    root = read("a:\n  - x\n  - {b: y}\nç: z\n")
    assert isinstance(root, Table)
    assert root.place == Place("f.yaml", 1, 1)
    listing = root.entries["a"].value
    assert isinstance(listing, Listing)
    assert [item.place for item in listing.items] == [Place("f.yaml", 2, 5), Place("f.yaml", 3, 5)]
    assert locate(root, ("a", 1, "b")) == Place("f.yaml", 3, 9)
    assert locate(root, ("a", 1, "b"), at_key=True) == Place("f.yaml", 3, 6)
    assert locate(root, ("a", 7)) == Place("f.yaml", 2, 3)
    assert locate(root, ("ç",)) == Place("f.yaml", 4, 4)


def test_a_byte_order_mark_is_no_text() -> None:
    root = read("\ufeffa: b")
    assert root is not None
    assert plain(root) == {"a": "b"}


def test_anchors_repeat_and_merge_keys_fill_in() -> None:
    root = read("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: [*x]\nw: {<<: [*x, {c: 4}]}\n")
    assert root is not None
    assert plain(root) == {
        "x": {"a": "1", "b": "2"},
        "y": {"a": "1", "b": "3"},
        "z": [{"a": "1", "b": "2"}],
        "w": {"a": "1", "b": "2", "c": "4"},
    }


def test_a_text_may_be_called_a_text() -> None:
    root = read("a: !!str 1\nb: ! 2")
    assert root is not None
    assert plain(root) == {"a": "1", "b": "2"}


BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BOMB, "more than 50000 values"),
        ("a: &a [*a]", "1:8: the alias *a stands inside what it repeats"),
        ("a: *b", "1:4: there is no anchor for the alias *b"),
        ("[" * 100, "nested more than 40 deep"),
        ("{a: " * 100, "nested more than 40 deep"),
        ("a: " + "x" * (1 << 20), "1048579 bytes"),
        (b"a: b\nc: \xff\xfe", "2:4: the file is not UTF-8"),
        ("a: b".encode("utf-16"), "1:1: the file is not UTF-8"),
        ("a: b\nc: \x07", "2:4: the character U+0007"),
        ("a: b\0", "1:5: the character U+0000"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document begins here"),
        ("a: 1\na: 2\n", '2:1: the key "a" stands twice'),
        ("? [a]\n: b\n", "1:3: a key must be a text"),
        ("? {a: b}\n: b\n", "1:3: a key must be a text"),
        ("a: !!python/object/apply:os.system [id]", 'the tag "!!python/object/apply:os.system"'),
        ("a: !!binary aGk=", 'the tag "!!binary" is refused'),
        ("a: !secret x", 'the tag "!secret" is refused'),
        ("a: {<<: 1}", "1:9: << takes a mapping"),
        ("\ta: 1", "this is no YAML"),
        ("a:\n\t- b", "2:1: this is no YAML"),
        ("a: [1, 2", "this is no YAML"),
        ("a: {b: 1", "this is no YAML"),
        ('a: "b', "this is no YAML"),
        ("a: b: c", "1:5: this is no YAML"),
        ("a:\n  - b\n c: d", "this is no YAML"),
        ("- a\nb: c", "2:1: this is no YAML"),
        ("a: @b", "1:4: this is no YAML"),
        ("a: `b`", "1:4: this is no YAML"),
        ("%YAML 9.9\n---\na: b", "this is no YAML"),
        ("a: !x!y z", "this is no YAML"),
        ("a: |9x\n b", "this is no YAML"),
        ('a: "\\q"', "this is no YAML"),
        ("&a &b c", "this is no YAML"),
    ],
)
def test_what_cannot_be_trusted_is_refused_with_its_place(text: str | bytes, expected: str) -> None:
    assert expected in "\n".join(problems(text))


def test_every_duplicate_is_found_at_once() -> None:
    found = problems("a: 1\na: 2\nb: {c: 1, c: 2}\na: 3\n")
    assert [one.partition(": ")[0] for one in found] == ["2:1", "3:11", "4:1"]


TREES: st.SearchStrategy[Any] = st.recursive(
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner),
    max_leaves=12,
)


@given(TREES)
def test_what_is_dumped_is_read_back(tree: Any) -> None:
    text = yaml.safe_dump(tree, allow_unicode=True, default_style='"')
    root = read(text)
    assert root is not None
    assert plain(root) == tree


@given(st.binary(max_size=60) | st.text("[]{}:,-&*a!|>\"'#?% \n\t\0", max_size=40).map(str.encode))
def test_any_bytes_are_a_tree_or_refused(data: bytes) -> None:
    report = Report()
    with contextlib.suppress(ConfigError):
        root = read_document(data, "f.yaml", report)
        assert root is None or isinstance(root, Scalar | Listing | Table)
    assert all(one.line >= 1 and one.column >= 1 for one in report.problems)
