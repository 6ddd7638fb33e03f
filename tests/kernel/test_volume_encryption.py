"""Encrypted volumes on a real ext4: readable with the key, while it is mounted, and never else."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringbolt.linux import mount
from ringbolt.volumes import vault
from ringbolt.volumes.errors import (
    InvalidError,
    MismatchError,
    NotAvailableError,
    NotFoundError,
)
from ringbolt.volumes.outcome import Published
from ringbolt.volumes.spec import Encryption, FsType, Loop, Subvolume, Tmpfs
from ringbolt.volumes.volume import NO_SECRETS, Publication, Secrets, Volume
from tests.kernel.volume_lab import disk, mount_device
from tests.kernel.volumes_lab import NAMESPACE, TENANT, VolumeLab, soon, volume_lab

pytestmark = pytest.mark.root
MIB = 1 << 20
KEY = b"0123456789abcdefghijklmnopqrstuv"
RIGHT, WRONG = Secrets({"key": KEY}), Secrets({"key": KEY[::-1]})


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[VolumeLab]:
    if lack := vault.lacking():
        pytest.skip(lack)
    made = volume_lab(tmp_path)
    yield made
    assert made.mounts() == []
    mount.umount(str(made.places.kubelet_dir))
    for folder in (made.places.run_dir, made.places.state_dir):
        for path in folder.rglob("*.json"):
            assert KEY not in path.read_bytes()


def data(
    encryption: Encryption = Encryption.FSCRYPT,
    fs_type: FsType = FsType.EXT4,
    name: str = "data",
    *,
    readonly: bool = False,
) -> Volume:
    spec = Loop(name, 16 * MIB, fs_type=fs_type)
    return Volume(spec, NAMESPACE, encryption=encryption, readonly=readonly)


def publish(lab: VolumeLab, wanted: Volume, target: Path, secrets: Secrets = RIGHT) -> Published:
    lab.room.create(wanted, TENANT, soon(), secrets)
    return lab.room.publish(wanted, Publication(target, TENANT), soon(), secrets)


def image(lab: VolumeLab) -> Path:
    return lab.places.state_dir / "volumes" / "loop" / "default" / "data.img"


def test_content_is_there_with_the_key_and_only_with_it(lab: VolumeLab, tmp_path: Path) -> None:
    target, elsewhere = lab.target("data"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    publish(lab, data(), target)
    (target / "a-name-of-mine").write_bytes(b"in plain words" * 400)
    assert not publish(lab, data(), target).fresh
    lab.unpublish(target)
    assert b"in plain words" not in image(lab).read_bytes()
    assert b"a-name-of-mine" not in image(lab).read_bytes()
    with disk(image(lab), 0) as node:
        mount_device("ext4", node, elsewhere)
        (file,) = (elsewhere / vault.FOLDER).iterdir()
        assert file.name != "a-name-of-mine"
        with pytest.raises(OSError, match="key") as seen:
            file.read_bytes()
        assert seen.value.errno == errno.ENOKEY
        mount.umount(str(elsewhere))
    publish(lab, data(), target)
    assert (target / "a-name-of-mine").read_bytes() == b"in plain words" * 400
    lab.unpublish(target)


def test_another_key_opens_nothing_mounted_or_not(lab: VolumeLab) -> None:
    first, second = lab.target("data"), lab.target("data", "beef")
    publish(lab, data(), first)
    (first / "file").write_text("mine")
    for again in range(2):
        with pytest.raises(MismatchError, match="another key") as seen:
            publish(lab, data(), second, WRONG)
        assert KEY.decode()[::-1] not in str(seen.value)
        if not again:
            assert (first / "file").read_text() == "mine"
            lab.unpublish(first)
    publish(lab, data(), first)
    publish(lab, data(), second)
    assert (second / "file").read_text() == "mine"
    lab.unpublish(first)
    assert (second / "file").read_text() == "mine"
    lab.unpublish(second)


def test_the_key_goes_with_the_last_publication_even_where_the_mount_lives_on(
    lab: VolumeLab, tmp_path: Path
) -> None:
    """A mount that leaked into another namespace must not keep the content readable.

    The directory that it pins still has its names; what no process has open cannot be read.
    """
    target, elsewhere = lab.target("data"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    publish(lab, data(), target)
    (target / "file").write_text("mine")
    mount.bind(str(target), str(elsewhere))
    lab.unpublish(target)
    with pytest.raises(OSError, match="key") as seen:
        (elsewhere / "file").read_bytes()
    assert seen.value.errno == errno.ENOKEY
    mount.umount(str(elsewhere))


@pytest.mark.parametrize("size", [0, 16, 31, 65])
def test_a_key_of_the_wrong_size_is_said_without_its_content(lab: VolumeLab, size: int) -> None:
    with pytest.raises(InvalidError, match=f"has {size} bytes") as seen:
        publish(lab, data(), lab.target("data"), Secrets({"key": b"z" * size}))
    assert "zzz" not in str(seen.value)
    with pytest.raises(InvalidError, match="no 'key'"):
        publish(lab, data(), lab.target("data"), NO_SECRETS)


def test_a_volume_is_encrypted_from_the_start_or_not_at_all(lab: VolumeLab) -> None:
    target = lab.target("data")
    publish(lab, data(), target)
    lab.unpublish(target)
    with pytest.raises(MismatchError, match="encrypt: fscrypt"):
        publish(lab, data(Encryption.NONE), target)
    plain, other = data(Encryption.NONE, name="plain"), lab.target("plain")
    publish(lab, plain, other)
    (other / "file").write_text("plain")
    lab.unpublish(other)
    with pytest.raises(MismatchError, match="not ready for encryption"):
        publish(lab, data(name="plain"), other)
    image(lab).rename(image(lab).with_name("moved.img"))
    with pytest.raises(NotFoundError):
        publish(lab, Volume(Loop("gone"), NAMESPACE, encryption=Encryption.FSCRYPT), other)


def test_files_that_are_not_encrypted_are_not_hidden_behind_a_new_directory(
    lab: VolumeLab, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    lab.room.create(data(), TENANT, soon(), RIGHT)
    with disk(image(lab), 0) as node:
        mount_device("ext4", node, elsewhere)
        (elsewhere / "file").write_text("plain")
        mount.umount(str(elsewhere))
    with pytest.raises(MismatchError, match="files that are not encrypted"):
        publish(lab, data(), lab.target("data"))
    publish(lab, data(Encryption.NONE), lab.target("data"))
    assert (lab.target("data") / "file").read_text() == "plain"
    lab.unpublish(lab.target("data"))


def test_a_read_only_publication_needs_the_key_too(lab: VolumeLab) -> None:
    target = lab.target("data")
    publish(lab, data(), target)
    (target / "file").write_text("mine")
    lab.unpublish(target)
    publish(lab, data(readonly=True), target)
    assert (target / "file").read_text() == "mine"
    lab.unpublish(target)


def test_where_it_cannot_be_had_it_is_refused_and_never_plain(
    lab: VolumeLab, tmp_path: Path
) -> None:
    with pytest.raises(InvalidError, match="needs ext4"):
        lab.room.validate(data(fs_type=FsType.XFS), TENANT)
    for spec in (Tmpfs(), Subvolume("data")):
        wanted = Volume(spec, NAMESPACE, encryption=Encryption.FSCRYPT, instance="a/b")
        with pytest.raises(NotAvailableError):
            lab.room.validate(wanted, TENANT)
    (tmp_path / "features").mkdir()
    assert "CONFIG_FS_ENCRYPTION" in vault.lacking(tmp_path / "features" / "encryption")
