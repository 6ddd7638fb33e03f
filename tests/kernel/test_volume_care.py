"""Owners shifted by a mount, file systems that grow while mounted, errors and mounts as events."""

import errno
import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ringbolt.linux import block, ext4, fanotify, freeze, loop, mount, xfs
from ringbolt.linux.mount_api import move_mount, open_tree
from ringbolt.linux.process import effective_capabilities
from ringbolt.linux.statfs import statfs
from ringbolt.linux.statx import statx
from ringbolt.linux.user_namespace import IdRange, open_user_namespace
from tests.kernel.volume_lab import MIB, MadeFileSystem

pytestmark = [pytest.mark.effects("libc", "sysfs", "subprocess"), pytest.mark.root]

Make = Callable[[str], MadeFileSystem]


@pytest.fixture
def watch() -> Iterator[Callable[[int], int]]:
    held: list[int] = []

    def keep(fd: int) -> int:
        held.append(fd)
        return fd

    yield keep
    for fd in held:
        os.close(fd)


def enlarge(made: MadeFileSystem, by: int) -> int:
    """Make the device larger; its new size."""
    fd = loop.open_loop(made.number)
    os.truncate(made.image, made.image.stat().st_size + by)
    loop.update_capacity(fd)
    found = block.size(fd)
    os.close(fd)
    return found


@pytest.mark.parametrize("fstype", ["ext4", "xfs", "btrfs"])
def test_owners_are_shifted_by_a_mount(make: Make, tmp_path: Path, fstype: str) -> None:
    made = make(fstype)
    (made.target / "file").touch()
    os.chown(made.target / "file", 5, 6)
    shown = tmp_path / "shown"
    shown.mkdir()
    users = open_user_namespace([IdRange(5, 1005, 1), IdRange(0, 1000, 1)], [IdRange(6, 2006, 1)])
    tree, to = open_tree(str(made.target), clone=True), os.open(shown, os.O_PATH)
    mount.idmap(tree, users)
    with pytest.raises(OSError, match="mount_setattr"):
        mount.idmap(tree, users)
    move_mount(tree, to)
    for fd in (users, tree, to):
        os.close(fd)
    found = (shown / "file").stat()
    assert (found.st_uid, found.st_gid) == (1005, 2006)
    os.chown(shown / "file", 1000, 2006)
    assert (made.target / "file").stat().st_uid == 0
    mount.umount(str(shown))


def test_a_file_system_that_cannot_shift_owners_says_so() -> None:
    users = open_user_namespace([IdRange(0, 1000, 1)], [IdRange(0, 1000, 1)])
    tree = open_tree("/proc", clone=True)
    with pytest.raises(OSError, match="mount_setattr") as seen:
        mount.idmap(tree, users)
    os.close(tree)
    os.close(users)
    assert seen.value.errno == errno.EINVAL


def test_maps_that_overlap_are_refused() -> None:
    with pytest.raises(OSError, match="uid_map") as seen:
        open_user_namespace([IdRange(0, 1000, 5), IdRange(3, 2000, 5)], [IdRange(0, 0, 1)])
    assert seen.value.errno == errno.EINVAL


def test_xfs_grows_while_mounted(make: Make) -> None:
    made = make("xfs")
    before = xfs.read_geometry(made.fd)
    size = enlarge(made, 64 * MIB)
    xfs.grow(made.fd, size // before.block_size)
    after = xfs.read_geometry(made.fd)
    assert after.data_blocks * after.block_size == size
    assert after.uuid == before.uuid
    with pytest.raises(OSError, match="XFS_IOC_FSGROWFSDATA"):
        xfs.grow(made.fd, 2 * size // before.block_size)


def test_ext4_grows_while_mounted_or_says_what_it_takes(make: Make) -> None:
    made = make("ext4")
    before = statfs(made.fd)
    size = enlarge(made, 16 * MIB)
    if "SYS_RESOURCE" in effective_capabilities():
        ext4.grow(made.fd, size // before.block_size)
        assert statfs(made.fd).size > before.size
        return
    with pytest.raises(OSError, match=f"EXT4_IOC_RESIZE_FS {made.target}") as seen:
        ext4.grow(made.fd, size // before.block_size)
    assert seen.value.errno == errno.EPERM


@pytest.mark.parametrize("fstype", ["ext4", "btrfs"])
def test_a_frozen_file_system_has_nothing_left_to_write(make: Make, fstype: str) -> None:
    made = make(fstype)
    (made.target / "file").write_text("here")
    with freeze.frozen(made.fd):
        copy = made.image.read_bytes()
        with pytest.raises(OSError, match=f"FIFREEZE {made.target}") as seen:
            freeze.freeze(made.fd)
        assert seen.value.errno == errno.EBUSY
        assert made.image.read_bytes() == copy
    # Before the write: one to a file system that is frozen still would never return.
    with pytest.raises(OSError, match="FITHAW") as none:
        freeze.thaw(made.fd)
    assert none.value.errno == errno.EINVAL
    (made.target / "file").write_text("there")


def test_room_that_was_freed_goes_back_to_the_image(make: Make) -> None:
    made = make("ext4")
    with (made.target / "file").open("wb") as file:
        file.write(os.urandom(4 * MIB))
        os.fsync(file.fileno())
    held = made.image.stat().st_blocks
    (made.target / "file").unlink()
    os.fsync(made.fd)
    assert freeze.trim(made.fd) >= 4 * MIB
    assert made.image.stat().st_blocks <= held - 4 * MIB // 512


def test_an_error_of_ext4_is_told_at_once(make: Make, watch: Callable[[int], int]) -> None:
    made = make("ext4")
    name = f"loop{made.number}"
    assert ext4.read_errors(name).total == 0
    events = watch(fanotify.open_error_watch())
    fanotify.watch_errors(events, made.fd)
    assert fanotify.read_events(events) == ()
    Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("test")
    assert select.select([events], [], [], 10)[0]
    (told,) = fanotify.read_events(events)
    assert isinstance(told, fanotify.FileSystemError)
    assert told.fsid == statfs(made.fd).fsid
    assert told.total == 1
    assert told.errno > 0
    found = ext4.read_errors(name)
    assert found.total == 1
    assert found.last_at >= found.first_at > 0
    assert found.cause


def test_a_file_system_that_tells_no_errors_says_so(watch: Callable[[int], int]) -> None:
    events, proc = watch(fanotify.open_error_watch()), watch(os.open("/proc", os.O_RDONLY))
    with pytest.raises(OSError, match="fanotify_mark 0x8000 /proc"):
        fanotify.watch_errors(events, proc)


def test_mounts_are_told_as_they_come_and_go(tmp_path: Path, watch: Callable[[int], int]) -> None:
    events = watch(fanotify.open_mount_watch())
    fanotify.watch_mounts(events, watch(os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)))
    mount.mount("none", str(tmp_path), "tmpfs")
    mount_id = statx(str(tmp_path), unique=True).mount_id
    assert mount_id
    came = fanotify.MountChange(mount_id, attached=True, detached=False)
    went = fanotify.MountChange(mount_id, attached=False, detached=True)
    assert select.select([events], [], [], 10)[0]
    assert fanotify.read_events(events) == (came,)
    mount.umount(str(tmp_path))
    assert select.select([events], [], [], 10)[0]
    assert fanotify.read_events(events) == (went,)
