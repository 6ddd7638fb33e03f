"""docs/output.md names every key of a volume, and no other; what people see is short."""

import re
from pathlib import Path

import pytest

from daemon import explain_volume, volumes_command, volumes_report
from ringbolt.linux.mount import parse_mountinfo
from ringbolt.linux.mount_users import FileUser, Shower
from ringbolt.volumes.health import CURES, Ailment, Fault
from ringbolt.volumes.inspection import Inspected, Inspection, KindStatus
from ringbolt.volumes.outcome import LockStatus, PublicationStatus, State, VolumeStatus
from ringbolt.volumes.policy import Judged, Rule
from ringbolt.volumes.spec import Kind, Loop
from ringbolt.volumes.tracing import PathTrace, Place, Traced
from ringbolt.volumes.volume import Namespace, Tenant, Volume
from tests.unit.daemon.test_output_document import TEXT, told

SHOP = Namespace("shop")
VOLUME = Volume(Loop("data", 1 << 20), SHOP)
PLACE = PublicationStatus(
    Path("/k/t"), Tenant(SHOP, "web-0", "6f2"), readonly=False, state=State.MOUNTED, since=0.0
)
STATUS = VolumeStatus(
    VOLUME.id, Kind.LOOP, VOLUME, State.MOUNTED, (PLACE,), LockStatus("publish", 3.2), "it hung"
)
ONE = Inspected(STATUS, None, "/dev/loop3", (Ailment(VOLUME.id, Fault.ERRORS, "damaged"),))
FOUND = Inspection((ONE,), (Path("/k/o"),), (KindStatus(Kind.NFS, "install it", allowed=True),))
WHOLE = volumes_report.document(FOUND, ["no agent"])


def test_every_key_is_told() -> None:
    (row,) = WHOLE["volumes"]
    assert told("## `ringbolt volumes", "A volume:") == WHOLE.keys()
    assert told("A volume:", "A publication") == row.keys()
    for begin, keys in (
        ("A publication has", row["publications"][0].keys()),
        ("An ailment has", row["ailments"][0].keys()),
    ):
        line = TEXT.partition(begin)[2].partition("\n\n")[0]
        assert set(re.findall(r"`(\w+)`", line)) == keys


def test_every_key_of_an_explanation_is_told() -> None:
    (point,) = parse_mountinfo("36 35 7:3 / /k/t rw,nosuid - ext4 /dev/loop3 rw")
    rules = (Judged(1, Rule(frozenset({Kind.LOOP})), ""),)
    place = Place("/k/t", None, (point,), guarded=None, wanted=(), has=())
    shower, user = Shower(1, 2, "sh", (point,)), FileUser(2, "sh", 3)
    whole = explain_volume.explained(Traced(ONE, "/i", (place,), rules, (shower,), (user,)))
    extra = whole.keys() - volumes_report.volume(ONE).keys()
    assert told("`ringbolt explain volume NAME -o json`", "A place has") == extra
    for begin, row in (
        ("A place has", whole["places"][0]),
        ("A mount has", whole["places"][0]["mounts"][0]),
        ("`rules` |", whole["rules"][0]),
        ("`namespaces` |", whole["namespaces"][0]),
        ("`openers` |", whole["openers"][0]),
    ):
        line = TEXT.partition(begin)[2].partition("|\n" if "|" in begin else "\n\n")[0]
        assert row.keys() <= set(re.findall(r"`(\w+)`", line)), begin
    path = PathTrace("/a", "/a", point, 1, "", VOLUME.id, "its data")
    keys = told("The path is an object:", "## `ringbolt doctor")
    assert explain_volume.path_row(path).keys() == keys
    text = "\n".join(explain_volume.describe(whole))
    for words in ("shop/data", "rule 1 of volumes.allow gives it", "over /i", "3 files by sh"):
        assert words in text


def test_every_fault_is_told_and_has_a_cure() -> None:
    assert CURES.keys() == set(Fault)
    part = TEXT.partition("| fault |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([\w-]+)`", part, re.MULTILINE)) == {one.value for one in Fault}


@pytest.mark.parametrize(
    ("number", "text"), [(None, "-"), (12, "12"), (1536, "1.5Ki"), (300 << 20, "300Mi")]
)
def test_sizes_are_short(number: int | None, text: str) -> None:
    assert volumes_command.size(number) == text


def test_people_are_told_what_is_wrong_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    volumes_command.tell(WHOLE)
    text = capsys.readouterr().out
    for word in ("shop/data", "shop/web-0", "errors", "damaged: save what", "/k/o", "no agent"):
        assert word in text
    assert "publish is under way for 3s" in text
    assert "nfs volumes: install it" in text
