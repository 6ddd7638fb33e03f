"""NFS and SMB volumes through the programs that mount them, recorded: argv, files, environment.

The kernels of test machines have neither client: what is mounted is a tmpfs.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ringbolt.linux import mount
from ringbolt.volumes.cifs import CifsBackend
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import DeadlineError, InvalidError, NotAvailableError, RefusedError
from ringbolt.volumes.mounts import Mounts
from ringbolt.volumes.nfs import NfsBackend
from ringbolt.volumes.paths import Places
from ringbolt.volumes.spec import Cifs, Nfs, Spec
from ringbolt.volumes.volume import Namespace, Publication, Secrets, Tenant, Volume
from tests.kernel.program_lab import MOUNTS_TMPFS, Programs, programs
from tests.kernel.volumes_lab import TENANT, VolumeLab, soon, volume, volume_lab

pytestmark = pytest.mark.root

PASSWORD = "p,w=ö %x'\"$(id)"
SECRETS = Secrets({"username": b"alice", "password": PASSWORD.encode(), "domain": b"CORP"})
SHARE = Cifs("files.example", "team/web")
EXPORT = Nfs("nfs.example", "/srv/export")


class _Tmpfs:
    """What the programs here mount is a tmpfs: it is of the volume if its source is."""

    def holds(self, volume: Volume, point: mount.MountPoint, root: object) -> bool:
        """By the source, as the real ones."""
        del root
        spec = volume.spec
        if isinstance(spec, Cifs):
            return point.source == f"//{spec.server}/{spec.share}"
        return isinstance(spec, Nfs) and point.source == f"{spec.server}:{spec.path}"


class _NfsHere(_Tmpfs, NfsBackend):
    pass


class _CifsHere(_Tmpfs, CifsBackend):
    pass


@pytest.fixture
def made(tmp_path: Path) -> Programs:
    made = programs(tmp_path, "nfs", "cifs")
    for name in ("mount.nfs", "mount.cifs"):
        made.add(name, MOUNTS_TMPFS)
    return made


@pytest.fixture
def lab(tmp_path: Path, made: Programs) -> Iterator[VolumeLab]:
    places = Places(tmp_path / "run", tmp_path / "state", tmp_path / "kubelet")
    kinds = (_NfsHere(places, made.ability), _CifsHere(places, made.ability))
    lab = volume_lab(tmp_path, kinds)
    yield lab
    assert lab.mounts() == []
    mount.umount(str(lab.places.kubelet_dir))
    assert not [one for one in mount.read_mountinfo() if str(tmp_path) in one.target]


def show(
    lab: VolumeLab,
    wanted: Volume,
    target: Path,
    secrets: Secrets = SECRETS,
    tenant: Tenant = TENANT,
) -> str:
    """Publish with secrets; the volume's id."""
    lab.room.create(wanted, tenant, soon(), secrets)
    place = Publication(target, tenant)
    return lab.room.publish(wanted, place, soon(), secrets).volume_id


def test_an_export_is_mounted_once_and_shown_to_two_pods(lab: VolumeLab, made: Programs) -> None:
    wanted = volume(EXPORT, "", "vers=4.2", "hard")
    one, other = lab.target("data", "one"), lab.target("data", "other")
    for target in (one, other):
        lab.publish(wanted, target)
    (one / "file").write_text("x")
    assert (other / "file").exists()
    (call,) = made.calls("mount.nfs")
    where = str(lab.places.run_dir / "volumes" / "aside" / "target")
    options = "nosuid,nodev,nosharecache,retry=0,vers=4.2,hard"
    assert call.argv[1:] == ["nfs.example:/srv/export", where, "-n", "-o", options]
    for target in (one, other):
        (point,) = Mounts.look().at(str(target))
        assert {"nosuid", "nodev"} <= point.options
        lab.unpublish(target)
        target.rmdir()
    assert lab.room.list() == ()


def test_a_password_is_in_one_file_and_nowhere_else(lab: VolumeLab, made: Programs) -> None:
    """azurefile-csi-driver#1828, csi-driver-smb#7."""
    target = lab.target("data")
    show(lab, volume(SHARE, "", "vers=3.1.1"), target)
    (call,) = made.calls("mount.cifs")
    assert call.argv[1] == "//files.example/team/web"
    assert call.argv[-1].endswith(
        "vers=3.1.1,credentials=" + call.argv[2][:-6] + "files/credentials"
    )
    content, mode = call.files["credentials"]
    wrote = f"username=alice\npassword={PASSWORD}\ndomain=CORP\n"
    assert content.encode("latin-1").decode() == wrote
    assert mode == "0o100600"
    assert PASSWORD not in call.open_text
    assert "alice" not in call.open_text
    for file in Path(lab.places.run_dir).rglob("*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes()
        assert file.name != "credentials"
    assert PASSWORD not in repr(lab.room.list())
    lab.unpublish(target)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("password", b"first\nusername=root", "line break"),
        ("password", b"end\n", "line break"),
        ("password", b"nul\0", "line break"),
        ("password", b"", "empty"),
        ("password", b"x" * 512, "longer"),
        ("username", b"alice,ip=10.0.0.66", "comma"),
        ("domain", b"CORP,sec=none", "comma"),
    ],
)
def test_a_secret_that_would_say_more_than_itself_is_refused(
    lab: VolumeLab, made: Programs, name: str, value: bytes, said: str
) -> None:
    secrets = Secrets({**SECRETS.values, name: value})
    target = lab.target("data")
    with pytest.raises(InvalidError, match=said) as caught:
        show(lab, volume(SHARE), target, secrets)
    assert value.decode() not in str(caught.value) or not value
    assert made.calls("mount.cifs") == []


def test_what_a_program_says_of_a_secret_is_not_repeated(lab: VolumeLab, made: Programs) -> None:
    said = 'b"bad " + files["credentials"][0].encode("latin-1").replace(b"\\n", b" ")'
    made.add("mount.cifs", f"sys.stdout.buffer.write({said}); sys.stdout.flush(); sys.exit(1)")
    with pytest.raises(OSError, match=r"mount\.cifs exited with 1: bad username") as caught:
        show(lab, volume(SHARE), lab.target("data"))
    assert "username=*** password=*** domain=***" in str(caught.value)


# volumes.md section 3, item 10 and 11, and the tenancy of mounts with passwords


def test_no_namespace_gets_a_mount_made_with_the_password_of_another(
    lab: VolumeLab, made: Programs
) -> None:
    theirs = Tenant(Namespace("other"), "spy-0", "9f", "default")
    mine, spied = lab.target("data", "mine"), lab.target("data", "spied")
    first = show(lab, volume(SHARE), mine)
    (mine / "secret.txt").write_text("mine")
    wrong = Secrets({"username": b"alice", "password": b"guessed"})
    foreign = replace(volume(SHARE), namespace=theirs.namespace)
    second = show(lab, foreign, spied, wrong, theirs)
    assert first != second
    assert list(spied.iterdir()) == []
    assert len(made.calls("mount.cifs")) == 2
    assert "guessed" in made.calls("mount.cifs")[1].files["credentials"][0]
    with pytest.raises(InvalidError, match="username"):
        show(lab, foreign, lab.target("data", "none"), Secrets(), theirs)
    for target in (mine, spied, lab.target("data", "none")):
        lab.unpublish(target)


def test_another_password_in_the_same_namespace_is_another_mount(
    lab: VolumeLab, made: Programs
) -> None:
    targets = [lab.target("data", str(number)) for number in range(3)]
    rotated = Secrets({**SECRETS.values, "password": b"rotated"})
    ids = [
        show(lab, volume(SHARE), target, secrets)
        for target, secrets in zip(targets, (SECRETS, rotated, SECRETS), strict=True)
    ]
    assert ids[0] == ids[2] != ids[1]
    assert len(made.calls("mount.cifs")) == 2
    for target in targets:
        lab.unpublish(target)
    assert lab.room.list() == ()


@pytest.mark.parametrize(
    "spec",
    [
        Nfs("-oProxyCommand=x", "/srv"),
        Nfs("host,vers=3", "/srv"),
        Nfs("host:/other", "/srv"),
        Cifs("host", "../other"),
        Cifs("host", "share/../other"),
        Cifs("host", "share,ip=10.0.0.66"),
        Cifs("host", "share\\..\\other"),
        Cifs("host/share", "x"),
    ],
)
def test_a_server_or_share_that_leads_elsewhere_is_refused(lab: VolumeLab, spec: Spec) -> None:
    with pytest.raises(InvalidError):
        lab.room.validate(volume(spec), TENANT)


@pytest.mark.parametrize(
    "option",
    [
        "credentials=/etc/shadow",
        "username=root",
        "password=x",
        "ip=10.0.0.66",
        "bg",
        "addr=10.0.0.66",
    ],
)
def test_options_that_name_files_users_and_other_servers_are_refused(
    lab: VolumeLab, option: str
) -> None:
    for spec in (EXPORT, SHARE):
        with pytest.raises(RefusedError, match=option.partition("=")[0]):
            lab.room.validate(volume(spec, "", option), TENANT)


def test_a_program_that_hangs_is_killed_with_its_whole_group(
    lab: VolumeLab, made: Programs, tmp_path: Path
) -> None:
    """csi-driver-nfs#1271: a timed-out mount that is left poisons all later ones."""
    note = tmp_path / "pids"
    made.add(
        "mount.nfs",
        "child = subprocess.Popen(['/bin/sleep', '1000'], start_new_session=True)\n"
        f"open({str(note)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "child.wait()",
    )
    target = lab.target("data")
    with pytest.raises(DeadlineError, match="took too long and was killed"):
        lab.room.publish(volume(EXPORT), Publication(target, TENANT), Deadline.after(1.5))
    for pid in note.read_text().split():
        assert not Path(f"/proc/{pid}").exists()
    made.add("mount.nfs", MOUNTS_TMPFS)
    lab.publish(volume(EXPORT), target)
    lab.unpublish(target)


def test_what_the_node_lacks_is_told_before_anything_is_mounted(
    lab: VolumeLab, made: Programs, tmp_path: Path
) -> None:
    (made.folder / "mount.nfs").unlink()
    with pytest.raises(NotAvailableError, match=r"mount\.nfs is missing: install nfs-common"):
        lab.room.validate(volume(EXPORT), TENANT)
    (tmp_path / "proc" / "filesystems").write_text("nodev\ttmpfs\n")
    with pytest.raises(NotAvailableError, match="no file system cifs: `modprobe cifs`"):
        lab.room.validate(volume(SHARE), TENANT)
    modules = made.ability.modules / os.uname().release
    modules.mkdir(parents=True)
    (modules / "modules.dep").write_text("kernel/fs/smb/client/cifs.ko.xz: kernel/x.ko\n")
    lab.room.validate(volume(SHARE), TENANT)


def test_files_are_labelled_where_selinux_enforces(
    lab: VolumeLab, made: Programs, tmp_path: Path
) -> None:
    (tmp_path / "sys" / "fs" / "selinux").mkdir(parents=True)
    (tmp_path / "sys" / "fs" / "selinux" / "enforce").write_text("1")
    target = lab.target("data")
    lab.publish(volume(EXPORT), target)
    (call,) = made.calls("mount.nfs")
    assert "context=system_u:object_r:container_file_t:s0" in call.argv[-1].split(",")
    lab.unpublish(target)


def test_a_servers_files_are_not_given_to_the_pods_group(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(volume(EXPORT), target, fs_group=4711)
    assert target.stat().st_gid == 0
    lab.unpublish(target)
