"""Paths below a directory that no link leads out of, and trees that go as a whole."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringbolt.linux import mount
from ringbolt.linux.openat2 import mkdir_below, open_below, openat2, remove_below

pytestmark = pytest.mark.effects("libc")


@pytest.fixture
def top(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_a_file_below_opens(top: int, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_text("here")
    fd = open_below(top, "a/file", os.O_RDONLY)
    assert os.read(fd, 10) == b"here"
    assert not os.get_inheritable(fd)
    os.close(fd)


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("link", errno.ELOOP),
        ("link/file", errno.ELOOP),
        ("..", errno.EXDEV),
        ("a/../..", errno.EXDEV),
        ("/etc", errno.EXDEV),
        ("gone", errno.ENOENT),
    ],
)
def test_nothing_leads_out(top: int, tmp_path: Path, path: str, number: int) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(OSError, match=f"openat2 {tmp_path}/{path}: ") as seen:
        open_below(top, path)
    assert seen.value.errno == number


def test_a_new_file_gets_its_mode(top: int, tmp_path: Path) -> None:
    os.close(openat2(top, "file", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_directories_are_made_on_the_way(top: int, tmp_path: Path) -> None:
    for _ in range(2):
        fd = mkdir_below(top, "a/b/c", 0o700)
        assert os.path.samestat(os.fstat(fd), (tmp_path / "a/b/c").stat())
        os.close(fd)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("path", ["a/../b", "", "a//b", "./a", "link/a", "file/a"])
def test_no_directory_is_made_elsewhere(top: int, tmp_path: Path, path: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "link").symlink_to("outside")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"mkdirat|openat2") as seen:
        mkdir_below(top, path)
    assert seen.value.errno in (errno.EINVAL, errno.ELOOP, errno.ENOTDIR)
    assert list(outside.iterdir()) == []


def test_a_tree_goes_with_all_its_kinds_of_files(top: int, tmp_path: Path) -> None:
    tree, kept = tmp_path / "a/tree", tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("kept")
    (tree / "x/y").mkdir(parents=True)
    (tree / "x/.removed-0").write_text("a name that removal would take")
    (tree / ".removed-0/full").mkdir(parents=True)
    (tree / "x/y/link").symlink_to(kept)
    os.mkfifo(tree / "x/fifo")
    remove_below(top, "a/tree")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "file", "kept"]


def test_what_cannot_be_made_or_removed_is_named(top: int, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"remove {tmp_path}/gone: No such file"):
        remove_below(top, "gone")
    with pytest.raises(OSError, match=f"mkdirat {tmp_path}/a/n+: File name too long"):
        mkdir_below(top, f"a/{'n' * 256}")


def test_a_link_goes_and_not_what_it_names(top: int, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    remove_below(top, "link")
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_a_tree_deeper_than_any_stack_goes(top: int, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    here = os.open(tmp_path / "tree", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove_below(top, "tree")
    assert list(tmp_path.iterdir()) == []


def test_nothing_goes_beyond_a_mount(top: int, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (tmp_path / "tree/deep/mounted").mkdir(parents=True)
    kept.mkdir()
    (kept / "file").write_text("kept")
    for target in ("tree/deep/mounted", "tree"):
        mount.bind(str(kept), str(tmp_path / target))
        with pytest.raises(OSError, match=f"remove {tmp_path}/tree: ") as seen:
            remove_below(top, "tree")
        assert seen.value.errno in (errno.EXDEV, errno.EBUSY)
        assert (kept / "file").read_text() == "kept"
        mount.umount(str(tmp_path / target))
        (tmp_path / "tree/deep/mounted").mkdir(parents=True, exist_ok=True)
    remove_below(top, "tree")
