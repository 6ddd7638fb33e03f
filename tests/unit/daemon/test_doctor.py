"""A check says what it found; one that may not look does not stop the others."""

from pathlib import Path

import pytest

from daemon import doctor_command
from daemon.doctor import Check, Checked, Finding, Node, Places, Verdict, examine, look
from tests.unit.daemon.test_output_document import told

NETWORK = "network: {ranges: [[{subnet: 10.1.0.0/24}]]}\n"
WELL = Finding(Verdict.OK, "well")


def places(folder: Path) -> Places:
    names = ("config", "kubelet", "run", "state", "bin", "conf", "socket")
    return Places(*(folder / name for name in names))


def refuse(_node: Node) -> Finding:
    raise PermissionError(13, "Permission denied", "/secret")


def test_every_key_of_a_check_is_told() -> None:
    row = doctor_command.row(Checked("a", WELL))
    assert row.keys() == told("An object with `checks`", "## The agent's pages")


def test_a_check_that_may_not_look_is_a_warning(tmp_path: Path) -> None:
    checks: list[tuple[str, Check]] = [("a", refuse), ("b", lambda _: None), ("c", lambda _: WELL)]
    first, second = examine(Node(places(tmp_path)), checks)
    assert (first.name, first.finding.verdict) == ("a", Verdict.WARN)
    assert "/secret" in first.finding.what
    assert second == Checked("c", WELL)


def test_checks_have_names_of_their_own() -> None:
    names = [name for name, _ in doctor_command.CHECKS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("text", "problems", "network"),
    [(None, 0, False), ("resources: 7\n", 1, False), (NETWORK, 0, True)],
)
def test_the_configuration_is_read_once_for_all(
    tmp_path: Path, text: str | None, problems: int, *, network: bool
) -> None:
    if text:
        places(tmp_path).config.write_text(text)
    node = look(places(tmp_path))
    assert (len(node.problems), node.has_network) == (problems, network)
