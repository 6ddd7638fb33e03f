"""Stable links on a real file system: they point at their own device or are not there."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from ringbolt.devices import links
from ringbolt.devices.device import Device, DeviceId, Member
from ringbolt.devices.resource import ResourceName

NAME = ResourceName("ringbolt.dev/serial")


def device(ident: str, **members: str) -> Device:
    return Device(DeviceId(ident), NAME, tuple(Member(n, p, "tty") for n, p in members.items()))


def listing(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else ""
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "run" / "devices"


def test_links_are_made_and_only_changed_ones_are_touched(root: Path) -> None:
    first = links.sync(root, [device("gps", tty="/dev/ttyUSB0"), device("mic", pcm="/dev/snd/p")])
    assert first == {root / "gps/tty", root / "mic/pcm"}
    kept = (root / "mic/pcm").lstat()
    second = links.sync(root, [device("gps", tty="/dev/ttyUSB1"), device("mic", pcm="/dev/snd/p")])
    assert second == {root / "gps/tty"}
    assert (root / "gps/tty").readlink() == Path("/dev/ttyUSB1")
    assert (root / "mic/pcm").lstat() == kept
    assert (root / "gps").stat().st_mode & 0o777 == 0o755


def test_two_devices_that_swap_their_numbers_swap_their_links(root: Path) -> None:
    links.sync(root, [device("a", t="/dev/ttyUSB0"), device("b", t="/dev/ttyUSB1")])
    links.sync(root, [device("a", t="/dev/ttyUSB1"), device("b", t="/dev/ttyUSB0")])
    assert listing(root) == {"a": "", "a/t": "/dev/ttyUSB1", "b": "", "b/t": "/dev/ttyUSB0"}


def test_a_gone_device_that_is_held_keeps_its_folder_without_links(root: Path) -> None:
    links.sync(root, [device("a", t="/dev/ttyUSB0")])
    assert links.sync(root, [], keep={DeviceId("a")}) == {root / "a/t"}
    assert listing(root) == {"a": ""}
    links.sync(root, [device("a", t="/dev/ttyUSB3")], keep={DeviceId("a")})
    assert (root / "a/t").readlink() == Path("/dev/ttyUSB3")


def test_a_gone_device_that_is_not_held_vanishes(root: Path) -> None:
    links.sync(root, [device("a", t="/dev/ttyUSB0", h="/dev/hidraw0")])
    links.sync(root, [])
    assert listing(root) == {}


def test_a_member_that_went_loses_its_link(root: Path) -> None:
    links.sync(root, [device("a", t="/dev/ttyUSB0", h="/dev/hidraw0")])
    links.sync(root, [device("a", t="/dev/ttyUSB0")])
    assert listing(root) == {"a": "", "a/t": "/dev/ttyUSB0"}


def test_foreign_files_stay(root: Path) -> None:
    (root / "a").mkdir(parents=True)
    (root / "a" / "note").write_text("mine")
    (root / "note").write_text("mine")
    links.sync(root, [device("a", t="/dev/ttyUSB0")])
    links.sync(root, [])
    assert listing(root) == {"a": "", "a/note": "", "note": ""}


def test_nothing_outside_is_followed_or_deleted(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "t").symlink_to("/dev/null")
    root.mkdir(parents=True)
    (root / "a").symlink_to(outside)
    (root / "b").symlink_to(outside)
    links.sync(root, [device("a", t="/dev/ttyUSB0")])
    assert listing(outside) == {"t": "/dev/null"}
    assert not (root / "a").is_symlink()
    assert (root / "a/t").readlink() == Path("/dev/ttyUSB0")


def test_a_folder_that_a_runtime_made_for_a_missing_mount_is_replaced(root: Path) -> None:
    (root / "a" / "sock").mkdir(parents=True)
    links.sync(root, [device("a", sock="/run/x.sock")])
    assert (root / "a/sock").readlink() == Path("/run/x.sock")


def test_an_interrupted_call_leaves_nothing_behind_for_good(root: Path) -> None:
    (root / "a").mkdir(parents=True)
    (root / "a" / ".new-t").symlink_to("/dev/null")
    links.sync(root, [device("a", t="/dev/ttyUSB0")])
    assert listing(root) == {"a": "", "a/t": "/dev/ttyUSB0"}


def test_pipes_and_files_are_binds_and_nodes_and_folders_are_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    names = {"f": tmp_path / "file", "p": tmp_path / "pipe", "d": tmp_path}
    found = device("x", n=os.devnull, g="/dev/absent", **{k: str(v) for k, v in names.items()})
    assert links.find_binds([found]) == {str(tmp_path / "file"), str(tmp_path / "pipe")}


def test_one_device_whose_link_cannot_be_made_holds_up_no_other(root: Path) -> None:
    (root / "b" / "t" / "what a container wrote").mkdir(parents=True)
    with pytest.raises(links.LinksError) as caught:
        links.sync(root, [device(name, t="/dev/ttyUSB0") for name in "abc"])
    assert caught.value.errors.keys() == {"b"}
    assert "b" in str(caught.value)
    assert (root / "a/t").readlink() == (root / "c/t").readlink() == Path("/dev/ttyUSB0")


def test_what_somebody_else_removed_is_found_and_made_again(root: Path) -> None:
    made = links.targets([device("a", t="/dev/ttyUSB0"), device("b", t="/dev/ttyUSB1")])
    links.update(root, {}, made)
    shutil.rmtree(root / "a")
    (root / "b" / "t").unlink()
    known = links.found(root, made)
    assert known == {"b": {}}
    links.update(root, known, made)
    assert links.found(root, made) == made


def test_agents_take_turns(root: Path) -> None:
    with links.locked(root):
        other = os.open(root, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(other)
    with links.locked(root):
        pass
