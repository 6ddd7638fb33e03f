"""The reference of volumes is right: every example and every option that it names is understood."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flexvolume.grammar import to_volume
from flexvolume.options import parse_options
from ringbolt.volumes.spec import Kind
from ringbolt.volumes.volume import Namespace

REFERENCE = (Path(__file__).parents[3] / "docs" / "volumes.md").read_text()
EXAMPLES = [
    volume["flexVolume"]
    for text in re.findall(r"^```yaml\n(.*?)^```$", REFERENCE, re.MULTILINE | re.DOTALL)
    for found in [yaml.safe_load(text)]
    for volume in (found if isinstance(found, list) else found["spec"]["volumes"])
]
LEAST = {
    Kind.TMPFS: {},
    Kind.DIRECTORY: {"path": "/srv/data"},
    Kind.LOOP: {"name": "data"},
    Kind.SUBVOLUME: {"name": "data"},
    Kind.DEVICE: {"serial": "A1"},
    Kind.IMAGE: {"path": "/srv/data/app.img"},
    Kind.OVERLAY: {"lower": "/srv/data"},
    Kind.NFS: {"server": "nas", "path": "/srv"},
    Kind.CIFS: {"server": "nas", "share": "data"},
    Kind.ISCSI: {"portal": "san", "iqn": "iqn.2026-01.org.example:disk"},
    Kind.FUSE: {"helper": "sshfs", "source": "nas:/srv"},
}
VALUES = {
    "size": "1Mi",
    "lun": "1",
    "inodes": "10",
    "mode": "0770",
    "format": "never",
    "sha256": "0" * 64,
}
FLAGS = {"create", "preallocate", "noswap"}


def told() -> list[tuple[Kind, str]]:
    """Kind and option of each row of the table of kinds."""
    table = REFERENCE.partition("## Kinds")[2].partition("\n\n`fsType`")[0]
    found: list[tuple[Kind, str]] = []
    kind = ""
    for row in re.findall(r"^\| (`\w+`)? ?\| (.+?) \|", table, re.MULTILINE):
        kind = row[0].strip("`") or kind
        found += [(Kind(kind), name) for name in re.findall(r"`(\w+)`", row[1])]
    return found


def understood(flex: dict[str, Any]) -> Kind:
    text = json.dumps(flex["options"] | {"kubernetes.io/fsType": flex.get("fsType", "")})
    return to_volume(parse_options(text), Namespace("default"), "0a1b/data").kind


@pytest.mark.parametrize("flex", EXAMPLES, ids=str)
def test_every_example_is_understood(flex: dict[str, Any]) -> None:
    assert understood(flex).value == flex["options"]["kind"]


@pytest.mark.parametrize(("kind", "option"), told())
def test_every_option_is_understood(kind: Kind, option: str) -> None:
    given = dict(LEAST[kind])
    if kind is Kind.DEVICE and option != "format":
        given = {}
    value = VALUES.get(option, "true" if option in FLAGS else given.get(option, "A1"))
    options = {"kind": kind.value} | given | {option: value}
    assert understood({"options": options}) is kind


def test_every_kind_that_there_is_has_its_rows() -> None:
    assert {kind for kind, _ in told()} == set(LEAST)
