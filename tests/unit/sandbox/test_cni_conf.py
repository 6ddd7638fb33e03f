"""How the sandbox's runtime reads a folder of network configurations."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.sandbox.cni_conf import (
    NEWEST,
    ConfError,
    file_names,
    first_file,
    is_at_least,
    load_first,
    negotiate,
    parse,
)

PLUGIN = {"type": "ringbolt", "capabilities": {"portMappings": True, "mac": False}, "x": 1}
VERSIONS = st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 2)).map(
    lambda parts: ".".join(map(str, parts))
)


def conflist(**more: Any) -> bytes:
    return json.dumps({"name": "net", "cniVersion": "1.0.0", "plugins": [PLUGIN]} | more).encode()


def test_a_list_and_a_single_plugin_are_the_same_network() -> None:
    listed = parse(conflist(), is_list=True)
    single = json.dumps({**PLUGIN, "name": "net", "cniVersion": "1.0.0"}).encode()
    alone = parse(single, is_list=False)
    assert (listed.name, listed.version) == (alone.name, alone.version) == ("net", "1.0.0")
    assert [one.type for one in (*listed.plugins, *alone.plugins)] == ["ringbolt", "ringbolt"]
    assert listed.plugins[0].capabilities == {"portMappings"}
    assert listed.plugins[0].wire["x"] == 1


def test_the_first_file_by_name_counts_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "20-b.conflist").write_bytes(conflist(name="second"))
    (tmp_path / "10-a.conflist").write_bytes(conflist(name="first"))
    (tmp_path / "00-a.conflist.new").write_bytes(b"half")
    (tmp_path / "00-folder.conf").mkdir()
    assert load_first(tmp_path).name == "first"
    (tmp_path / "05.json").write_bytes(b"{}")
    with pytest.raises(ConfError, match=r"05\.json.*missing 'type'"):
        load_first(tmp_path)


def test_a_folder_without_configurations_says_so(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfError, match=r"no network config found in .* not initialized"):
            first_file(folder)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"", "Expecting value"),
        (b"[" * 100_000, "recursion"),
        (b"[]", "no object"),
        (conflist(plugins=[]), "no plugins in list"),
        (conflist(plugins=[{}]), "missing 'type'"),
        (conflist(plugins=["x"]), "no object"),
        (conflist(name=""), "invalid name"),
        (conflist(name="a/b"), "invalid name"),
        (conflist(cniVersion=1), "invalid cniVersion"),
        (conflist(cniVersions="1.0.0"), "invalid type for cniVersions"),
        (conflist(cniVersions=["9.0.0"], cniVersion="9.0.0"), "is known here"),
        (conflist(cniVersions=["one"]), "invalid version 'one'"),
    ],
)
def test_what_is_wrong_is_said(source: bytes, words: str) -> None:
    with pytest.raises(ConfError, match=words):
        parse(source, is_list=True)


@given(st.lists(st.text("ab.confjsli-", min_size=1, max_size=12)))
def test_files_are_those_with_an_extension_in_the_order_of_their_bytes(names: list[str]) -> None:
    found = file_names(names)
    assert list(found) == sorted(found)
    for name in names:
        assert (name in found) == name.endswith((".conf", ".conflist", ".json"))


@given(st.lists(VERSIONS), VERSIONS)
def test_the_highest_version_that_both_know_is_chosen(offered: list[str], single: str) -> None:
    def key(version: str) -> list[int]:
        return [int(part) for part in version.split(".")]

    known = [one for one in (*offered, single) if key(one) <= key(NEWEST)]
    wire = {"cniVersion": single, "cniVersions": offered}
    if known:
        assert key(negotiate(wire)) == max(map(key, known))
    else:
        with pytest.raises(ConfError):
            negotiate(wire)


def test_a_single_version_is_taken_as_it_is() -> None:
    assert negotiate({"cniVersion": "7.0.0"}) == "7.0.0"
    assert negotiate({}) == ""
    assert is_at_least("0.4.0", "0.4.0")
    assert not is_at_least("", "0.4.0")
    assert is_at_least("1.10.0", "1.9.0")
