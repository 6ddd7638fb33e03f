"""Mounts built detached and attached by descriptor, on the real kernel."""

import errno
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ringbolt.linux import mount
from ringbolt.linux.mount_api import (
    FsContext,
    is_supported,
    move_mount,
    open_tree,
)

pytestmark = pytest.mark.effects("libc")


@contextmanager
def held(fd: int) -> Generator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.fixture(autouse=True)
def _unmounted(tmp_path: Path) -> Iterator[None]:
    """Take off what the test mounted in its folder."""
    yield
    for point in reversed(mount.read_mountinfo("thread-self")):
        if point.target.startswith(str(tmp_path)):
            mount.umount(point.target)


def point_at(path: Path) -> mount.MountPoint | None:
    found = [p for p in mount.read_mountinfo("thread-self") if p.target == str(path)]
    return found[-1] if found else None


def mount_tmpfs(target: Path, attributes: int = 0, **options: str) -> None:
    with FsContext.open("tmpfs") as context:
        for key, value in options.items():
            context.set_string(key, value)
        context.create()
        with held(context.mount(attributes)) as made, held(os.open(target, os.O_PATH)) as to:
            move_mount(made, to)


def test_a_tmpfs_is_made_detached_and_attached_by_descriptor(tmp_path: Path) -> None:
    with FsContext.open("tmpfs") as context:
        context.set_string("size", "1m")
        context.set_string("source", "a, b")
        context.create()
        made = context.mount(mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV)
    with held(made), held(os.open(tmp_path, os.O_PATH)) as target:
        assert point_at(tmp_path) is None
        move_mount(made, target)
    found = point_at(tmp_path)
    assert found
    assert (found.fstype, found.source) == ("tmpfs", "a, b")
    assert {"nosuid", "nodev"} <= found.options
    assert "size=1024k" in found.super_options


def test_an_unknown_option_is_told_in_the_kernels_own_words_without_its_value() -> None:
    with FsContext.open("tmpfs") as context, pytest.raises(OSError, match="tmpfs: Unknown") as seen:
        context.set_string("bogus_opt", "secret")
    assert seen.value.errno == errno.EINVAL
    assert "FSCONFIG_SET_STRING bogus_opt" in str(seen.value)
    assert "secret" not in str(seen.value)


def test_an_option_cannot_end_early() -> None:
    with FsContext.open("tmpfs") as context, pytest.raises(ValueError, match="null byte"):
        context.set_string("size", "1m\0,size=1g")


def test_a_file_system_that_the_kernel_lacks_is_named() -> None:
    with pytest.raises(OSError, match="fsopen nosuchfs") as seen:
        FsContext.open("nosuchfs")
    assert seen.value.errno == errno.ENODEV


def test_a_tmpfs_grows_in_place(tmp_path: Path) -> None:
    mount_tmpfs(tmp_path, size="1m")
    with FsContext.pick(str(tmp_path)) as context:
        context.set_string("size", "2m")
        context.reconfigure()
    found = point_at(tmp_path)
    assert found
    assert "size=2048k" in found.super_options


def test_a_picked_descriptor_is_as_good_as_a_path(tmp_path: Path) -> None:
    mount_tmpfs(tmp_path)
    with held(open_tree(str(tmp_path))) as there, FsContext.pick(there) as context:
        context.set_flag("ro")
        context.reconfigure()
    found = point_at(tmp_path)
    assert found
    assert "ro" in found.super_options


def test_an_exclusive_superblock_is_shared_with_nobody() -> None:
    with FsContext.open("sysfs") as first, FsContext.open("sysfs") as second:
        first.create()
        with pytest.raises(OSError, match="CREATE_EXCL") as seen:
            second.create(exclusive=True)
    assert seen.value.errno == errno.EBUSY


def test_a_bind_mount_is_read_only_from_its_first_moment(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "file").write_text("here")
    with held(open_tree(str(source), clone=True)) as tree:
        mount.mount_setattr(tree, mount.MOUNT_ATTR_RDONLY | mount.MOUNT_ATTR_NODEV)
        with held(os.open(target, os.O_PATH)) as to:
            move_mount(tree, to)
    assert (target / "file").read_text() == "here"
    with pytest.raises(OSError, match="Read-only") as seen:
        (target / "file").write_text("there")
    assert seen.value.errno == errno.EROFS
    mount.mount_setattr(str(target), clear=mount.MOUNT_ATTR_RDONLY)
    (target / "file").write_text("there")


def test_a_clone_from_a_descriptor_follows_a_renamed_directory(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "target").mkdir()
    with held(os.open(tmp_path / "old", os.O_PATH)) as source:
        (tmp_path / "old").rename(tmp_path / "new")
        with (
            held(open_tree(source, clone=True)) as tree,
            held(os.open(tmp_path / "target", os.O_PATH)) as to,
        ):
            move_mount(tree, to)
    found = point_at(tmp_path / "target")
    assert found
    assert found.root.endswith("/new")


def test_a_recursive_clone_takes_what_is_mounted_below(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "below").mkdir(parents=True)
    target.mkdir()
    mount_tmpfs(source / "below")
    with (
        held(open_tree(str(source), clone=True, recursive=True)) as tree,
        held(os.open(target, os.O_PATH)) as to,
    ):
        move_mount(tree, to)
    assert point_at(target / "below")


def test_propagation_is_set_by_descriptor(tmp_path: Path) -> None:
    mount_tmpfs(tmp_path)
    mount.set_propagation(str(tmp_path), mount.MS_UNBINDABLE)
    with pytest.raises(OSError, match="open_tree") as seen:
        open_tree(str(tmp_path), clone=True)
    assert seen.value.errno == errno.EINVAL


def test_a_directory_is_not_attached_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        held(open_tree(str(tmp_path), clone=True)) as tree,
        held(os.open(tmp_path / "file", os.O_PATH)) as to,
        pytest.raises(OSError, match=f"move_mount {tmp_path}/file") as seen,
    ):
        move_mount(tree, to)
    assert seen.value.errno in (errno.EINVAL, errno.ENOTDIR)


def test_an_unmount_follows_no_link_and_no_rename(tmp_path: Path) -> None:
    (tmp_path / "old/target").mkdir(parents=True)
    with held(os.open(tmp_path / "old", os.O_PATH)) as above:
        mount_tmpfs(tmp_path / "old/target")
        (tmp_path / "old").rename(tmp_path / "new")
        (tmp_path / "new/link").symlink_to("target")
        for name, number in (("link", errno.EINVAL), ("../new/target", errno.EINVAL)):
            with pytest.raises(OSError, match="umount2") as seen:
                mount.umount_below(above, name)
            assert seen.value.errno == number
        mount.umount_below(above, "target")
        assert point_at(tmp_path / "new/target") is None
        with pytest.raises(OSError, match=f"umount2 {tmp_path}/new/target") as none:
            mount.umount_below(above, "target")
        assert none.value.errno == errno.EINVAL


def test_this_kernel_is_said_to_have_it() -> None:
    assert is_supported()
