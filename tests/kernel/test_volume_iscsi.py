"""iSCSI volumes by an iscsiadm that records how it is called, with a real loop device as unit."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from ringbolt.linux import mount
from ringbolt.volumes.errors import ConflictError, InvalidError, NotAvailableError, NotBlankError
from ringbolt.volumes.iscsi import IscsiBackend
from ringbolt.volumes.paths import Places
from ringbolt.volumes.spec import FormatPolicy, FsType, Iscsi
from ringbolt.volumes.volume import Namespace, Publication, Secrets, Tenant, Volume
from tests.kernel.program_lab import Programs, programs
from tests.kernel.volume_lab import disk
from tests.kernel.volumes_lab import TENANT, VolumeLab, soon, volume, volume_lab

pytestmark = pytest.mark.root

MIB = 1 << 20
IQN = "iqn.2026-01.example:disk"
PASSWORD = "s3cret, #x"
SECRETS = Secrets({"username": b"node", "password": PASSWORD.encode()})

ISCSIADM = """
import shutil
FOLDER, SESSIONS, LUNS = {folder!r}, {sessions!r}, {luns!r}
seen = {{name: open(os.path.join(FOLDER, name)).read() for name in sorted(os.listdir(FOLDER))
        if os.path.isfile(os.path.join(FOLDER, name))}}
with open({seen!r}, "a") as log:
    log.write(json.dumps([ARGV[1:], seen]) + "\\n")
here = os.path.join(SESSIONS, "session-" + ARGV[ARGV.index("-I") + 1]) if "-I" in ARGV else ""
if ARGV[-1] == "--login":
    for lun, device in json.loads(LUNS).items():
        os.makedirs(os.path.join(here, "device/target0:0:0/0:0:0:" + lun, "block", device))
    open(os.path.join(here, "targetname"), "w").write(ARGV[4])
    open(os.path.join(here, "ifacename"), "w").write(ARGV[8])
elif ARGV[-1] == "--logout":
    shutil.rmtree(here)
"""


class Target:
    """What a test's target and initiator are made of."""

    def __init__(self, made: Programs, folder: Path, device: str) -> None:
        self.made = made
        self.folder = folder
        self.device = device
        self.sessions = folder / "sys" / "class" / "iscsi_session"
        self.etc = folder / "iscsi"

    def seen(self) -> list[tuple[list[str], dict[str, str]]]:
        """Each call with the files that it saw."""
        file = self.folder / "seen"
        lines = file.read_text().splitlines() if file.exists() else []
        calls = [json.loads(line) for line in lines]
        return [(argv, files) for argv, files in calls]


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    made = programs(tmp_path)
    with ExitStack() as undo:
        device = undo.enter_context(disk(tmp_path / "unit", 32 * MIB)).removeprefix("/dev/")
        one = Target(made, tmp_path, device)
        (tmp_path / "sys" / "module" / "iscsi_tcp").mkdir(parents=True)
        one.sessions.mkdir(parents=True)
        one.etc.mkdir()
        (one.etc / "initiatorname.iscsi").write_text("InitiatorName=iqn.2026-01.example:node\n")
        (one.etc / "iscsid.conf").write_text("node.session.auth.password = theirs\n")
        made.add(
            "iscsiadm",
            ISCSIADM.format(
                folder=str(one.etc),
                sessions=str(one.sessions),
                luns=json.dumps({"3": device}),
                seen=str(tmp_path / "seen"),
            ),
        )
        yield one


@pytest.fixture
def lab(tmp_path: Path, target: Target) -> Iterator[VolumeLab]:
    places = Places(tmp_path / "run", tmp_path / "state", tmp_path / "kubelet")
    lab = volume_lab(tmp_path, (IscsiBackend(places, target.made.ability, target.etc),))
    yield lab
    assert lab.mounts() == []
    mount.umount(str(lab.places.kubelet_dir))


def wanted(format_: FormatPolicy = FormatPolicy.IF_BLANK) -> Volume:
    return volume(Iscsi("10.0.0.1", IQN, 3, FsType.EXT4, format_))


def show(
    lab: VolumeLab, one: Volume, place: Path, secrets: Secrets = SECRETS, tenant: Tenant = TENANT
) -> None:
    lab.room.publish(one, Publication(place, tenant), soon(), secrets)


def test_a_unit_is_logged_in_to_formatted_once_and_logged_out_of(
    lab: VolumeLab, target: Target
) -> None:
    place = lab.target("data")
    show(lab, wanted(), place)
    (place / "kept").write_text("x")
    lab.unpublish(place)
    assert list(target.sessions.iterdir()) == []
    show(lab, wanted(FormatPolicy.NEVER), place)
    assert (place / "kept").exists()
    lab.unpublish(place)
    calls = [argv for argv, _ in target.seen()]
    name = calls[0][3]
    node = ["-m", "node", "-T", IQN, "-p", "10.0.0.1:3260", "-I", name]
    login = [["-m", "iface", "-I", name, "--op=new"], [*node, "--op=new"], [*node, "--login"]]
    assert calls == [*login, [*node, "--op=new"], [*node, "--logout"]] * 2


def test_a_chap_secret_lies_in_private_files_alone(lab: VolumeLab, target: Target) -> None:
    """democratic-csi#515 (item 10)."""
    place = lab.target("data")
    show(lab, wanted(), place)
    lab.unpublish(place)
    told = [files["iscsid.conf"] for argv, files in target.seen()]
    assert f"node.session.auth.password = {PASSWORD}\n" in told[0]
    assert "theirs" not in "".join(told)
    assert PASSWORD not in "".join(told[3:])
    for call in target.made.calls("iscsiadm"):
        assert PASSWORD not in call.open_text
    assert (target.etc / "iscsid.conf").read_text() == "node.session.auth.password = theirs\n"
    for file in (*lab.places.run_dir.rglob("*"), *target.etc.rglob("*")):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes()


def test_a_unit_that_another_session_uses_is_refused(lab: VolumeLab, target: Target) -> None:
    """The tenants of two namespaces, or two passwords: one disk is never mounted twice."""
    mine, theirs = lab.target("data", "mine"), lab.target("data", "theirs")
    show(lab, wanted(), mine)
    other = Tenant(Namespace("other"), "spy-0", "9f", "default")
    foreign = replace(wanted(), namespace=other.namespace)
    with pytest.raises(ConflictError, match="is in use on this node"):
        show(lab, foreign, theirs, Secrets({"username": b"x", "password": b"y"}), other)
    assert len(list(target.sessions.iterdir())) == 1
    assert "node.session.auth.password = y" in target.seen()[3][1]["iscsid.conf"]
    lab.unpublish(mine)


def test_what_is_on_a_unit_is_not_formatted(lab: VolumeLab, target: Target, tmp_path: Path) -> None:
    with (tmp_path / "unit").open("r+b") as file:
        file.seek(512)
        file.write(b"mine")
    with pytest.raises(NotBlankError):
        show(lab, wanted(), lab.target("data"))
    assert list(target.sessions.iterdir()) == []
    assert b"mine" in (tmp_path / "unit").read_bytes()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (Iscsi("-x", IQN), "no host name"),
        (Iscsi("10.0.0.1:1:2", IQN), "no host name"),
        (Iscsi("10.0.0.1", "../../etc"), "no name of a target"),
        (Iscsi("10.0.0.1", IQN, -1), "no number"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(lab: VolumeLab, spec: Iscsi, said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        lab.room.validate(volume(spec), TENANT)


def test_a_secret_that_would_be_another_setting_is_refused(lab: VolumeLab, target: Target) -> None:
    for value in (b"x\nnode.startup = automatic", b" x", b"x "):
        with pytest.raises(InvalidError, match="password"):
            show(lab, wanted(), lab.target("data"), Secrets({**SECRETS.values, "password": value}))
    assert target.seen() == []


def test_a_node_without_an_initiator_is_told_so(lab: VolumeLab, target: Target) -> None:
    os.unlink(target.etc / "initiatorname.iscsi")  # noqa: PTH108  # as text
    with pytest.raises(NotAvailableError, match="initiatorname"):
        lab.room.validate(wanted(), TENANT)
