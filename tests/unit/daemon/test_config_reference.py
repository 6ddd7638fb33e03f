"""The reference of the configuration is right and whole; the check; arbitrary mutations of it."""

import random
import re
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.config import ConfigError, Difference, difference, parse
from daemon.config_check import config
from daemon.options import Bandwidth
from ringbolt.devices.clauses import FACTS
from ringbolt.devices.grammar import CLAUSES
from ringbolt.devices.resource import Check, Container, Policy
from ringbolt.devices.template import VARIABLES
from ringbolt.volumes.spec import Kind

RESOURCE = "resources:\n- name: a.b/c\n  select: [{path: /dev/x}]\n"
REFERENCE = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", REFERENCE, re.MULTILINE | re.DOTALL)
EXAMPLE = EXAMPLES[0]


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_of_the_reference_are_right(text: str) -> None:
    assert parse(text.encode()).warnings == ()


KEYS = {
    *(one.name for kind in (Container, Bandwidth) for one in fields(kind)),
    *CLAUSES,
    *(fact for facts in FACTS.values() for fact in facts),
    *VARIABLES,
    *(member.value for kind in (Check, Policy, Kind) for member in kind),
}


@pytest.mark.parametrize("key", sorted(KEYS))
def test_the_reference_names_every_key(key: str) -> None:
    words = set(re.findall(r"[A-Za-z_]+", " ".join(re.findall(r"`([^`\n]+)`", REFERENCE))))
    camel = re.sub(r"_(.)", lambda found: found[1].upper(), key)
    starred = re.sub(r"_.*", "_", key)
    assert {key, camel, starred} & words


# --- The command -----------------------------------------------------------------------------


def test_the_check_prints_every_error_and_fails(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(RESOURCE + "  shar: 1\n  alocate: numa\n")
    result = CliRunner().invoke(config, ["check", str(file)])
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f'{file}:4:3: error: unknown key "shar" in an entry of resources',
        '  hint: did you mean "share"?',
        f'{file}:5:3: error: unknown key "alocate" in an entry of resources',
        '  hint: did you mean "allocate"?',
    ]


def test_the_check_counts_resources_and_prints_warnings(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(EXAMPLE)
    result = CliRunner().invoke(config, ["check", str(file)])
    assert (result.exit_code, result.output) == (0, f"{file}: ok, 2 resources\n")
    file.write_text(RESOURCE + "  share: 9000\n")
    result = CliRunner().invoke(config, ["check", str(file)])
    assert result.exit_code == 0
    assert f"{file}:4:3: warning: 9000 shares" in result.output
    assert f"{file}: ok, 1 resource\n" in result.output


def test_the_check_without_a_file_is_wrong_use() -> None:
    assert CliRunner().invoke(config, ["check"]).exit_code == 2


# --- Arbitrary input -------------------------------------------------------------------------


@given(
    st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode(errors="replace"))
)
def test_any_bytes_are_a_configuration_or_refused(data: bytes) -> None:
    _is_config_or_refused(data)


PIECES = st.sampled_from(
    [
        "",
        "~",
        "[]",
        "{}",
        "x",
        "&a",
        "*a",
        "!!int",
        "'",
        '"',
        "\t",
        "\0",
        "- ",
        ": ",
        "\n",
        "0",
        "{{",
    ]
)


@settings(max_examples=300)
@given(st.randoms(use_true_random=False), st.lists(PIECES | st.text(max_size=3), max_size=4))
def test_any_mutation_is_a_configuration_or_refused(
    chance: random.Random, pieces: list[str]
) -> None:
    text = EXAMPLE
    for piece in pieces:
        at = chance.randrange(len(text))
        text = text[:at] + piece + text[at + chance.randrange(12) :]
    _is_config_or_refused(text.encode(errors="replace"))


SCALARS = ["name", "tty", "usb", "/dev/fuse", "open", "30s", "100", "true", "bridge", "auto", "rw"]


@given(st.sampled_from(SCALARS), PIECES | st.sampled_from(["[x]", "{a: b}", "[[1]]", "-1", "1e9"]))
def test_any_value_in_place_of_another_is_a_configuration_or_refused(old: str, new: str) -> None:
    _is_config_or_refused(EXAMPLE.replace(f" {old}", f" {new}").encode())


def _is_config_or_refused(data: bytes) -> None:
    try:
        found = parse(data, "f")
    except ConfigError as error:
        refused = error.problems
    else:
        refused = found.warnings
        assert difference(found, parse(data, "f")) == Difference()
    for problem in refused:
        assert problem.file == "f"
        assert 1 <= problem.line <= max(1, len(data.decode(errors="replace").splitlines()))
        assert problem.message
