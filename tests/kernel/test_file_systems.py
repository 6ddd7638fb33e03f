"""Real file systems on loop devices: flags, projects, quotas, reflinks, encryption, room."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ringbolt.linux import fiemap, fscrypt, inode_flags, mount, quota, reflink
from ringbolt.linux.statfs import ST_RDONLY, statfs
from ringbolt.linux.statx import STATX_ATTR_IMMUTABLE, statx
from ringbolt.volumes.backing_file import own_bytes
from tests.kernel.volume_lab import MAKERS, MIB, MadeFileSystem

pytestmark = [pytest.mark.effects("libc", "sysfs", "subprocess"), pytest.mark.root]

KEY = bytes(range(64))

Make = Callable[[str], MadeFileSystem]


@pytest.mark.parametrize("fstype", MAKERS)
def test_a_file_system_is_known_by_its_type_and_room(make: Make, fstype: str) -> None:
    made = make(fstype)
    by_path, by_fd = statfs(str(made.target)), statfs(made.fd)
    assert by_path.name == by_fd.name == fstype
    assert 0 < by_path.available <= by_path.free < by_path.size <= MAKERS[fstype][1] * MIB
    assert by_path.size == os.statvfs(made.target).f_blocks * by_path.block_size
    assert not by_path.readonly
    mount.mount_setattr(str(made.target), mount.MOUNT_ATTR_RDONLY)
    assert statfs(str(made.target)).flags & ST_RDONLY


def test_room_is_not_told_of_what_is_not_there() -> None:
    with pytest.raises(OSError, match="statfs /nowhere") as seen:
        statfs("/nowhere")
    assert seen.value.errno == errno.ENOENT


def test_a_mounts_root_is_told_from_a_directory_on_it(
    make: Make,
) -> None:
    made = make("ext4")
    (made.target / "directory").mkdir()
    (made.target / "link").symlink_to("directory")
    root, below = statx(str(made.target)), statx(str(made.target / "directory"))
    points = mount.read_mountinfo("thread-self")
    assert root.mount_id in {p.mount_id for p in points if p.target == str(made.target)}
    assert (root.mount_root, below.mount_root) == (True, False)
    assert below.mount_id == root.mount_id == statx(made.fd).mount_id
    unique = statx(str(made.target), unique=True).mount_id
    assert unique
    assert unique > (root.mount_id or 0)
    found = (made.target / "directory").stat()
    assert (below.inode, below.mode, os.makedev(*below.device)) == (
        found.st_ino,
        found.st_mode,
        found.st_dev,
    )
    assert statx(str(made.target / "link")).inode != below.inode


def test_a_path_that_is_gone_is_named() -> None:
    with pytest.raises(OSError, match="statx /nowhere: No such file"):
        statx("/nowhere")


@pytest.mark.parametrize("fstype", MAKERS)
def test_an_immutable_directory_takes_mounts_and_nothing_else(make: Make, fstype: str) -> None:
    made = make(fstype)
    guarded = made.target / "guarded"
    guarded.mkdir()
    fd = os.open(guarded, os.O_RDONLY)
    try:
        for _ in range(2):
            inode_flags.set_immutable(fd, on=True)
        assert inode_flags.is_immutable(fd)
        assert statx(fd).attributes & STATX_ATTR_IMMUTABLE
        with pytest.raises(OSError, match="not permitted") as seen:
            (guarded / "file").touch()
        assert seen.value.errno == errno.EPERM
        mount.mount("none", str(guarded), "tmpfs")
        (guarded / "file").touch()
        mount.umount(str(guarded))
        inode_flags.set_immutable(fd, on=False)
    finally:
        os.close(fd)
    guarded.rmdir()


def test_a_file_system_without_flags_says_so() -> None:
    fd = os.open("/proc", os.O_RDONLY)
    with pytest.raises(OSError, match="FS_IOC_GETFLAGS /proc") as seen:
        inode_flags.get_flags(fd)
    os.close(fd)
    assert seen.value.errno == errno.ENOTTY


def test_a_file_system_without_projects_says_so(make: Make) -> None:
    made = make("ext4")
    with pytest.raises(OSError, match=f"FS_IOC_FSSETXATTR {made.target}") as seen:
        inode_flags.set_project(made.fd, 4711)
    assert seen.value.errno == errno.EOPNOTSUPP


def test_a_project_is_inherited(make: Make) -> None:
    made = make("xfs")
    inode_flags.set_project(made.fd, 4711)
    (made.target / "below").mkdir()
    below = os.open(made.target / "below", os.O_RDONLY)
    found = inode_flags.get_extended(below)
    os.close(below)
    assert found.project == 4711
    assert found.flags & inode_flags.FS_XFLAG_PROJINHERIT
    inode_flags.set_project(made.fd, 0, inherit=False)
    assert inode_flags.get_extended(made.fd).flags & inode_flags.FS_XFLAG_PROJINHERIT == 0


@pytest.mark.parametrize("fstype", MAKERS)
def test_a_project_limit_holds_or_the_kernel_says_why_there_is_none(
    make: Make, fstype: str
) -> None:
    made = make(fstype)
    if (answer := refusal(made.fd)) is None:
        quota.set_project_limit(made.fd, 7, MIB, 10)
        found = quota.get_project_quota(made.fd, 7)
        assert (found.limit, found.inode_limit) == (MIB, 10)
        return
    assert answer.errno in (errno.ENOSYS, errno.ESRCH, errno.EINVAL, errno.EOPNOTSUPP)
    assert f"quotactl_fd Q_GETINFO PRJQUOTA 0 {made.target}" in str(answer)
    with pytest.raises(OSError, match="Q_SETQUOTA PRJQUOTA 7"):
        quota.set_project_limit(made.fd, 7, MIB)


def refusal(fd: int) -> OSError | None:
    try:
        quota.check_projects(fd)
    except OSError as error:
        return error
    return None


@pytest.mark.parametrize("fstype", MAKERS)
def test_a_clone_shares_or_the_kernel_says_that_it_cannot(make: Make, fstype: str) -> None:
    made = make(fstype)
    (made.target / "source").write_bytes(b"data" * MIB)
    with (made.target / "source").open("rb") as source, (made.target / "copy").open("wb") as copy:
        if fstype == "ext4":
            with pytest.raises(OSError, match=f"FICLONE {made.target}/copy") as seen:
                reflink.clone(source.fileno(), copy.fileno())
            assert seen.value.errno == errno.EOPNOTSUPP
            return
        reflink.clone(source.fileno(), copy.fileno())
    with (made.target / "copy").open("rb+") as copy:
        copy.write(b"else")
    assert (made.target / "source").read_bytes() == b"data" * MIB
    assert (made.target / "copy").read_bytes() == b"else" + b"data" * (MIB - 1)


def test_a_directory_is_unreadable_without_its_key(make: Make) -> None:
    made = make("ext4")
    folder = made.target / "encrypted"
    folder.mkdir()
    identifier = fscrypt.add_key(made.fd, KEY)
    assert fscrypt.add_key(made.fd, bytearray(KEY)) == identifier
    assert fscrypt.key_state(made.fd, identifier) is fscrypt.KeyState.PRESENT
    policy = fscrypt.Policy(identifier)
    fd = os.open(folder, os.O_RDONLY)
    for _ in range(2):
        fscrypt.set_policy(fd, policy)
    assert fscrypt.get_policy(fd) == policy
    os.close(fd)
    (folder / "name").write_text("secret")
    with (folder / "name").open() as held:
        assert (
            fscrypt.remove_key(made.fd, identifier)
            == fscrypt.FSCRYPT_KEY_REMOVAL_STATUS_FLAG_FILES_BUSY
        )
        assert fscrypt.key_state(made.fd, identifier) is fscrypt.KeyState.INCOMPLETELY_REMOVED
        assert held.read() == "secret"
    assert fscrypt.remove_key(made.fd, identifier) == 0
    assert fscrypt.key_state(made.fd, identifier) is fscrypt.KeyState.ABSENT
    (name,) = os.listdir(folder)  # noqa: PTH208  # as the kernel names it
    assert name != "name"
    with pytest.raises(OSError, match="Required key") as seen:
        (folder / name).read_text()
    assert seen.value.errno == errno.ENOKEY
    fscrypt.add_key(made.fd, KEY)
    assert (folder / "name").read_text() == "secret"
    fscrypt.remove_key(made.fd, identifier)


def test_no_error_tells_a_key(make: Make) -> None:
    made = make("ext4")
    with pytest.raises(OSError, match="FS_IOC_ADD_ENCRYPTION_KEY") as seen:
        fscrypt.add_key(made.fd, b"too short")
    assert seen.value.errno == errno.EINVAL
    assert "short" not in str(seen.value)
    with pytest.raises(OSError, match="FS_IOC_SET_ENCRYPTION_POLICY") as refused:
        fscrypt.set_policy(made.fd, fscrypt.Policy(bytes(16)))
    assert refused.value.errno in (errno.ENOKEY, errno.ENOTEMPTY)
    with pytest.raises(OSError, match="FS_IOC_GET_ENCRYPTION_POLICY_EX") as none:
        fscrypt.get_policy(made.fd)
    assert none.value.errno == errno.ENODATA
    with pytest.raises(OSError, match="FS_IOC_REMOVE_ENCRYPTION_KEY") as absent:
        fscrypt.remove_key(made.fd, bytes(16))
    assert absent.value.errno == errno.ENOKEY


@pytest.mark.parametrize("fstype", MAKERS)
def test_what_a_file_has_of_the_disk_is_told_piece_by_piece(make: Make, fstype: str) -> None:
    made, pieces = make(fstype), 600  # more than are told at once
    fd = os.open(made.target / "file", os.O_RDWR | os.O_CREAT)
    try:
        for number in range(pieces):
            os.pwrite(fd, os.urandom(4096), number * 2 * 4096)
        found = list(fiemap.extents(fd))
        told = [at for one in found for at in range(one.offset, one.offset + one.length, 4096)]
        assert len(set(told)) == len(told)
        assert {number * 2 * 4096 for number in range(pieces)} <= set(told)  # xfs has more ready
        assert len(found) > 256
        assert not any(one.shared for one in found)
    finally:
        os.close(fd)


@pytest.mark.parametrize("fstype", ["xfs", "btrfs"])
def test_what_two_files_share_is_told(make: Make, fstype: str) -> None:
    made = make(fstype)
    fds = [os.open(made.target / name, os.O_RDWR | os.O_CREAT) for name in ("file", "copy")]
    try:
        os.pwrite(fds[0], os.urandom(MIB), 0)
        os.fsync(fds[0])
        reflink.clone(*fds)
        os.pwrite(fds[1], os.urandom(4096), 0)
        os.fsync(fds[1])
        own = {one.offset: one.length for one in fiemap.extents(fds[1]) if not one.shared}
        assert own == {0: 4096}
        assert sum(one.length for one in fiemap.extents(fds[1])) == MIB
    finally:
        for fd in fds:
            os.close(fd)


def test_a_file_system_that_tells_no_pieces_says_so(tmp_path: Path) -> None:
    mount.mount("tmpfs", str(tmp_path), "tmpfs")
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(fd, bytes(MIB), 0)
        with pytest.raises(OSError, match="FS_IOC_FIEMAP") as seen:
            list(fiemap.extents(fd))
        assert seen.value.errno == errno.EOPNOTSUPP
        assert own_bytes(fd) == MIB
    finally:
        os.close(fd)
        mount.umount(str(tmp_path))
