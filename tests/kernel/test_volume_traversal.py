"""Paths that lead elsewhere: what others published CVEs about, and what we do of it."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ringbolt.linux import mount
from ringbolt.volumes.directory import DirectoryBackend
from ringbolt.volumes.errors import InvalidError, RefusedError, VolumeError
from ringbolt.volumes.policy import Policy, Rule
from ringbolt.volumes.spec import Directory, Kind, Loop
from ringbolt.volumes.volume import VolumeId
from tests.kernel.volumes_lab import TENANT, VolumeLab, flipping, soon, volume, volume_lab

pytestmark = pytest.mark.root


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[VolumeLab]:
    made = volume_lab(tmp_path)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("the host's")
    yield made
    made.room.close()
    assert (tmp_path / "secret" / "key").read_text() == "the host's"
    assert made.mounts() == []
    mount.umount(str(made.places.kubelet_dir))


def test_cve_2017_1002101_and_2021_25741_a_subdirectory_swapped_for_a_link(
    lab: VolumeLab, tmp_path: Path
) -> None:
    data, target = lab.root / "data", lab.target("data")
    data.mkdir()
    shown = 0
    with flipping(data / "sub", tmp_path / "secret"):
        for _ in range(150):
            with suppress(VolumeError):
                lab.publish(volume(Directory(str(data)), subdir="sub"), target)
                shown += 1
                assert not (target / "key").exists()
            lab.unpublish(target)
    assert shown, "the directory was never there: nothing was tried"


def test_a_directory_volume_swapped_for_a_link(lab: VolumeLab, tmp_path: Path) -> None:
    target = lab.target("data")
    with flipping(lab.root / "data", tmp_path / "secret"):
        for _ in range(150):
            with suppress(VolumeError):
                lab.publish(volume(Directory(str(lab.root / "data"))), target)
                assert not (target / "key").exists()
            lab.unpublish(target)


def test_a_root_that_is_too_wide_gives_away_nothing_of_other_pods(
    lab: VolumeLab, tmp_path: Path
) -> None:
    wide = (str(tmp_path),)
    rules = (Rule(frozenset({Kind.DIRECTORY})),)
    (tmp_path / "harmless").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path)
    policy = Policy((*wide, str(tmp_path / "alias")), rules)
    lab.room.adopt(policy, [DirectoryBackend(policy.roots)])
    places = lab.places
    for path in (
        *(tmp_path, places.kubelet_dir, places.kubelet_dir / "pods", places.run_dir),
        *(places.state_dir, places.state_dir / "volumes" / "loop", tmp_path / "alias"),
    ):
        with pytest.raises(RefusedError, match="not to be had"):
            lab.room.validate(volume(Directory(str(path))), TENANT)
    lab.room.validate(volume(Directory(str(tmp_path / "harmless"))), TENANT)


def test_files_swapped_for_links_are_not_given_away(lab: VolumeLab, tmp_path: Path) -> None:
    data, target = lab.root / "data", lab.target("data")
    data.mkdir()
    with flipping(data / "sub", tmp_path / "secret"):
        for turn in range(60):
            wanted = volume(Directory(str(data)), "", "noidmap")
            lab.publish(wanted, target, fs_group=5000 + turn)
            lab.unpublish(target)
    assert (tmp_path / "secret" / "key").stat().st_gid == 0
    assert (tmp_path / "secret").stat().st_gid == 0


@pytest.mark.parametrize("text", ["loop.a.b/../../secret", "../secret", "loop.a.b\n", ""])
def test_cve_2026_3864_and_3865_an_id_is_no_path(lab: VolumeLab, text: str) -> None:
    with pytest.raises(InvalidError):
        lab.room.unstage(VolumeId(text), soon())


def test_a_link_in_place_of_an_image_is_not_followed(lab: VolumeLab, tmp_path: Path) -> None:
    image = tmp_path / "elsewhere.img"
    image.write_bytes(bytes(1 << 20))
    folder = lab.places.state_dir / "volumes" / "loop" / "default"
    folder.mkdir(parents=True)
    (folder / "data.img").symlink_to(image)
    with pytest.raises(OSError, match="symbolic link"):
        lab.publish(volume(Loop("data", 1 << 20)), lab.target("data"))
    with pytest.raises(OSError, match="symbolic link"):
        lab.room.delete(volume(Loop("data")), soon())
    assert image.read_bytes() == bytes(1 << 20)
    assert os.listdir(folder) == ["data.img"]  # noqa: PTH208
