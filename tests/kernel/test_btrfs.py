"""Subvolumes of a real btrfs: made, frozen, limited, removed, resized."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from ringbolt.linux import btrfs, loop
from ringbolt.linux.statfs import statfs
from ringbolt.linux.statx import statx
from tests.kernel.volume_lab import MIB, MadeFileSystem

pytestmark = [pytest.mark.effects("libc", "sysfs", "subprocess"), pytest.mark.root]

Open = Callable[[str], int]


@pytest.fixture
def made(make: Callable[[str], MadeFileSystem]) -> MadeFileSystem:
    return make("btrfs")


@pytest.fixture
def below(made: MadeFileSystem) -> Iterator[Open]:
    held: list[int] = []

    def opened(name: str) -> int:
        held.append(os.open(name, os.O_RDONLY, dir_fd=made.fd))
        return held[-1]

    yield opened
    for fd in held:
        os.close(fd)


def test_a_subvolume_is_known_by_its_number(made: MadeFileSystem, below: Open) -> None:
    btrfs.create_subvolume(made.fd, "data")
    fd = below("data")
    found = btrfs.read_subvolume(fd)
    assert (found.name, found.readonly, found.parent_number) == ("data", False, 5)
    assert found.number == btrfs.subvolume_number(fd)
    assert statx(fd).subvolume in (found.number, None)
    assert os.fstat(fd).st_ino == btrfs.SUBVOLUME_INODE
    assert found.parent == UUID(int=0)


def test_a_snapshot_keeps_what_was(made: MadeFileSystem, below: Open) -> None:
    btrfs.create_subvolume(made.fd, "data")
    file = made.target / "data/file"
    file.write_text("then")
    btrfs.create_snapshot(below("data"), made.fd, "frozen", readonly=True)
    btrfs.create_snapshot(below("data"), made.fd, "copy")
    file.write_text("now")
    assert (made.target / "frozen/file").read_text() == "then"
    (made.target / "copy/file").write_text("otherwise")
    with pytest.raises(OSError, match="Read-only") as seen:
        (made.target / "frozen/file").write_text("now")
    assert seen.value.errno == errno.EROFS
    snapshot = below("frozen")
    assert btrfs.is_readonly(snapshot)
    found = btrfs.read_subvolume(snapshot)
    assert found.readonly
    assert found.parent == btrfs.read_subvolume(below("data")).uuid
    btrfs.set_readonly(snapshot, on=False)
    assert not btrfs.is_readonly(snapshot)
    (made.target / "frozen/file").write_text("now")


def test_what_cannot_be_is_refused_by_name(made: MadeFileSystem, below: Open) -> None:
    btrfs.create_subvolume(made.fd, "data")
    (made.target / "data/directory").mkdir()
    with pytest.raises(OSError, match=f"SUBVOL_CREATE_V2 {made.target}/data: File exists"):
        btrfs.create_subvolume(made.fd, "data")
    for name in ("", "a/b", "n" * 256):
        with pytest.raises(OSError, match="btrfs subvolume") as seen:
            btrfs.create_subvolume(made.fd, name)
        assert seen.value.errno == errno.EINVAL
    with pytest.raises(OSError, match="SNAP_CREATE_V2") as refused:
        btrfs.create_snapshot(below("data/directory"), made.fd, "snapshot")
    assert refused.value.errno == errno.EINVAL


def test_a_subvolume_goes_with_its_content_but_not_with_others(made: MadeFileSystem) -> None:
    btrfs.create_subvolume(made.fd, "data")
    (made.target / "data/file").touch()
    data = os.open(made.target / "data", os.O_RDONLY)
    btrfs.create_subvolume(data, "inner")
    with pytest.raises(OSError, match="SNAP_DESTROY_V2") as seen:
        btrfs.destroy_subvolume(made.fd, "data")
    assert seen.value.errno == errno.ENOTEMPTY
    btrfs.destroy_subvolume(data, "inner")
    os.close(data)
    btrfs.destroy_subvolume(made.fd, "data")
    assert list(made.target.iterdir()) == []


def test_a_limit_holds(made: MadeFileSystem, below: Open) -> None:
    btrfs.create_subvolume(made.fd, "data")
    number = btrfs.subvolume_number(below("data"))
    with pytest.raises(OSError, match="QGROUP_LIMIT"):
        btrfs.set_limit(made.fd, number, 4 * MIB)
    for _ in range(2):
        btrfs.enable_quota(made.fd)
    btrfs.wait_for_quota(made.fd)
    btrfs.set_limit(made.fd, number, 4 * MIB)
    with pytest.raises(OSError, match="quota") as seen:
        fill(made.target / "data/file", 8 * MIB)
    assert seen.value.errno == errno.EDQUOT
    btrfs.sync(made.fd)
    own = btrfs.file_system_uuid(made.fd)
    found = btrfs.read_use(own, number)
    assert found.limit == 4 * MIB
    assert 2 * MIB < found.referenced <= 4 * MIB
    btrfs.set_limit(made.fd, number, None)
    fill(made.target / "data/file", 8 * MIB)
    btrfs.sync(made.fd)
    assert btrfs.read_use(own, number).limit is None
    with pytest.raises(FileNotFoundError):
        btrfs.read_use(own, 999)


def fill(path: Path, size: int) -> None:
    with path.open("wb", buffering=0) as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
            os.fsync(file.fileno())


def test_it_grows_with_its_device(made: MadeFileSystem) -> None:
    before = statfs(made.fd).size
    os.truncate(made.image, before + 256 * MIB)
    fd = loop.open_loop(made.number)
    loop.update_capacity(fd)
    os.close(fd)
    assert statfs(made.fd).size == before
    btrfs.resize(made.fd)
    assert statfs(made.fd).size == before + 256 * MIB
    for size, number in ((1 << 40, errno.EFBIG), (MIB, errno.EINVAL)):
        with pytest.raises(OSError, match="BTRFS_IOC_RESIZE") as seen:
            btrfs.resize(made.fd, size)
        assert seen.value.errno == number


def test_another_file_system_is_none(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match=f"BTRFS_IOC_FS_INFO {tmp_path}") as seen:
        btrfs.file_system_uuid(fd)
    os.close(fd)
    assert seen.value.errno == errno.ENOTTY
