"""Unreadable, racing and lying devices are never formatted, and neither is anything with data.

Each thread in which people lost data has its test by name (repository and number).
"""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ringbolt.linux import loop, mount
from ringbolt.volumes.errors import (
    BusyError,
    InvalidError,
    MismatchError,
    NotAvailableError,
    NotBlankError,
    NotFoundError,
)
from ringbolt.volumes.format import PACKAGES, SMALLEST, Wanted
from ringbolt.volumes.held import hold
from ringbolt.volumes.spec import FormatPolicy, FsType
from tests.kernel import fuse_lab
from tests.kernel.format_lab import MIB, SIZE, ensure, refused, write
from tests.kernel.volume_lab import disk

pytestmark = pytest.mark.root


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return tmp_path / "image"


# --- Blank ones -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fs_type", FsType)
@pytest.mark.parametrize("block_size", [512, 4096])
def test_a_blank_disk_gets_its_file_system_once(
    image: Path, need_program: Callable[[str, str], str], fs_type: FsType, block_size: int
) -> None:
    need_program(f"mkfs.{fs_type.value}", PACKAGES[fs_type])
    with disk(image, SMALLEST[fs_type] + SIZE, block_size) as path:
        wanted = Wanted(fs_type, FormatPolicy.IF_BLANK)
        made = ensure(path, image.parent, wanted)
        again = ensure(path, image.parent, wanted)
        folder = image.parent / "mounted"
        folder.mkdir()
        mount.mount(path, str(folder), fs_type.value)
        mount.umount(str(folder))
    assert (made.made, again.made) == (True, False)
    assert again.superblock.uuid == made.superblock.uuid


def test_a_blank_image_file_gets_its_file_system(image: Path) -> None:
    image.touch()
    os.truncate(image, SIZE)
    assert ensure(str(image), image.parent).made
    assert not ensure(str(image), image.parent).made


def test_whatever_is_there_is_taken_where_nothing_is_asked_for(image: Path) -> None:
    with disk(image, SIZE) as path:
        ensure(path, image.parent)
        found = ensure(path, image.parent, Wanted(None, FormatPolicy.NEVER))
    assert found.superblock.fs_type is FsType.EXT4


def test_an_ext4_for_keys_of_directories(image: Path) -> None:
    with disk(image, SIZE) as path:
        wanted = Wanted(FsType.EXT4, FormatPolicy.IF_BLANK, encryptable=True)
        assert ensure(path, image.parent, wanted).superblock.encryptable


# --- Data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0, 4096, MIB - 1, SIZE - 1, SIZE - MIB])
def test_one_byte_of_unknown_data_is_enough(image: Path, offset: int) -> None:
    image.touch()
    os.truncate(image, SIZE)
    write(image, offset, b"\x01")
    refused(image, NotBlankError, f"unknown data at byte {offset}")


def test_data_far_from_both_ends_is_seen(image: Path) -> None:
    image.touch()
    os.truncate(image, SIZE)
    write(image, 2 * MIB, b"\xff" * (12 * MIB))
    refused(image, NotBlankError, "unknown data at byte")


def test_data_with_wiped_ends_is_known_by_its_spares(image: Path) -> None:
    """Who wiped the first megabytes of a disk may still want the rest back."""
    image.touch()
    os.truncate(image, 256 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-b", "4096", image], check=True)
    with image.open("r+b") as file:
        file.write(bytes(MIB))
    refused(image, MismatchError, "ext4 at byte 134217784 .a spare copy.")


def test_another_file_system_is_a_refusal(image: Path) -> None:
    """mount-utils only warns about it."""
    image.touch()
    os.truncate(image, SIZE)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    refused(image, MismatchError, "holds ext4, not xfs", Wanted(FsType.XFS, FormatPolicy.IF_BLANK))


def test_a_disk_with_partitions_is_a_refusal(image: Path) -> None:
    image.touch()
    os.truncate(image, SIZE)
    write(image, 510, b"\x55\xaaEFI PART")
    refused(image, MismatchError, "gpt at byte 512")


def test_an_encrypted_disk_is_a_refusal(
    image: Path, need_program: Callable[[str, str], str]
) -> None:
    """hetznercloud/csi-driver#1346 lost such a volume, too."""
    program = need_program("cryptsetup", "cryptsetup-bin")
    image.touch()
    os.truncate(image, 32 * MIB)
    argv = [program, "luksFormat", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]
    subprocess.run([*argv, image, "-"], input=b"secret", check=True)
    refused(image, MismatchError, "luks at byte 0")


def test_a_member_of_a_raid_is_a_refusal(image: Path) -> None:
    """A mirror with its metadata at the end looks like the file system on it."""
    image.touch()
    os.truncate(image, SIZE)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    write(image, (SIZE // 512 - 16 & ~7) * 512, b"\xfc\x4e\x2b\xa9\x01\0\0\0")
    refused(image, MismatchError, "md raid 1.0")


def test_never_means_never(image: Path) -> None:
    image.touch()
    os.truncate(image, SIZE)
    never = Wanted(FsType.EXT4, FormatPolicy.NEVER)
    refused(image, NotBlankError, "`format` is never", never)


def test_topolvm_522_a_clone_keeps_its_content(
    image: Path, need_program: Callable[[str, str], str]
) -> None:
    """A clone of an xfs volume has its UUID; making it anew wiped the clone."""
    need_program("mkfs.xfs", "xfsprogs")
    image.touch()
    os.truncate(image, 320 * MIB)
    subprocess.run(["mkfs.xfs", "-q", image], check=True)
    clone = image.with_name("clone")
    shutil.copyfile(image, clone)
    wanted = Wanted(FsType.XFS, FormatPolicy.IF_BLANK)
    with disk(image, 0) as one, disk(clone, 0) as other:
        first, second = (ensure(path, image.parent, wanted) for path in (one, other))
    assert not first.made
    assert not second.made
    assert first.superblock.uuid == second.superblock.uuid


# --- In use ---------------------------------------------------------------------------------------


def test_a_mounted_disk_is_busy(image: Path) -> None:
    with disk(image, SIZE) as path:
        ensure(path, image.parent)
        folder = image.parent / "mounted"
        folder.mkdir()
        mount.mount(path, str(folder), "ext4")
        with pytest.raises(BusyError, match="in use"):
            ensure(path, image.parent)
        mount.umount(str(folder))


def test_gcp_pd_csi_driver_1657_a_lazily_unmounted_disk_is_busy(image: Path) -> None:
    """Nothing shows in mountinfo, yet somebody still writes to it."""
    with disk(image, SIZE) as path:
        ensure(path, image.parent)
        folder = image.parent / "mounted"
        folder.mkdir()
        mount.mount(path, str(folder), "ext4")
        writer = os.open(folder / "file", os.O_CREAT | os.O_RDWR)
        mount.umount(str(folder), mount.MNT_DETACH)
        with pytest.raises(BusyError):
            ensure(path, image.parent)
        os.close(writer)
        assert not ensure(path, image.parent).made


# --- Devices that are not what they seem ----------------------------------------------------------


def test_k_k_142243_an_unreadable_disk_is_not_unformatted(tmp_path: Path) -> None:
    folder = tmp_path / "fuse"
    folder.mkdir()
    with fuse_lab.served(folder, SIZE) as file:

        def fail(_offset: int, _data: bytes) -> bytes:
            raise OSError(errno.EIO, "injected")

        with disk(folder / fuse_lab.NAME, SIZE) as path:
            file.on_read = fail
            with pytest.raises(OSError, match="Input/output error"):
                ensure(path, tmp_path)
        assert not any(file.content)


def test_a_disk_with_one_bad_place_is_not_proved_blank(tmp_path: Path) -> None:
    """The head reads well, so does the tail; one sample in the middle does not."""
    folder = tmp_path / "fuse"
    folder.mkdir()
    with fuse_lab.served(folder, SIZE) as file:

        def fail(offset: int, data: bytes) -> bytes:
            if 6 * MIB <= offset < 8 * MIB:
                raise OSError(errno.EIO, "injected")
            return data

        with disk(folder / fuse_lab.NAME, SIZE) as path:
            file.on_read = fail
            with pytest.raises(NotBlankError, match="cannot be proved blank"):
                ensure(path, tmp_path)
        assert not any(file.content)


def test_a_disk_that_loses_writes_is_not_said_to_be_formatted(tmp_path: Path) -> None:
    folder = tmp_path / "fuse"
    folder.mkdir()
    with fuse_lab.served(folder, SIZE) as file, disk(folder / fuse_lab.NAME, SIZE) as path:
        file.on_read = lambda _offset, data: bytes(len(data))
        with pytest.raises(MismatchError, match="loses or lies about writes"):
            ensure(path, tmp_path)


def test_longhorn_14042_a_disk_without_a_size_is_not_ready(tmp_path: Path) -> None:
    number = loop.free()
    with pytest.raises((NotAvailableError, NotFoundError)):
        ensure(loop.device_path(number), tmp_path)


def test_hetznercloud_csi_driver_1346_a_disk_that_is_not_there_yet(tmp_path: Path) -> None:
    """blkid finds nothing on what does not exist; a moment later it does, with data."""
    with pytest.raises(NotFoundError, match="is not there"):
        ensure(str(tmp_path / "by-id"), tmp_path)


@pytest.mark.parametrize("what", ["directory", "pipe", "character device"])
def test_what_is_no_disk_is_never_taken_for_an_empty_one(tmp_path: Path, what: str) -> None:
    path = tmp_path / "it"
    match what:
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case _:
            path = Path("/dev/null")
    with pytest.raises((MismatchError, OSError)):
        ensure(str(path), tmp_path)


def test_k_k_57444_a_renamed_disk_is_known_by_its_number(image: Path) -> None:
    """What was looked up as one device is another by the time it is opened."""
    other = os.makedev(7, 254)
    with (
        disk(image, SIZE) as path,
        pytest.raises(MismatchError, match="renamed meanwhile"),
        hold(path, expected=other),
    ):
        pass


def test_a_disk_that_changes_under_the_proof_is_another(image: Path) -> None:
    """Its size is asked before and after: a disk that was swapped or resized proves nothing."""
    with disk(image, SIZE) as path, hold(path) as held:
        fd = os.open(path, os.O_RDWR)
        os.truncate(image, 2 * SIZE)
        loop.update_capacity(fd)
        os.close(fd)
        with pytest.raises(MismatchError, match=f"{SIZE} bytes became {2 * SIZE}"):
            held.refresh()


def test_a_read_only_disk_is_said_to_be(image: Path) -> None:
    image.touch()
    os.truncate(image, SIZE)
    backing = os.open(image, os.O_RDONLY)
    attached = loop.attach_free(
        backing, loop.Setup(loop.LO_FLAGS_READ_ONLY | loop.LO_FLAGS_AUTOCLEAR)
    )
    os.close(backing)
    with pytest.raises((NotAvailableError, PermissionError)):
        ensure(loop.device_path(attached.number), image.parent)
    os.close(attached.fd)


def test_too_small_is_said_before_anything_is_written(image: Path) -> None:
    image.touch()
    os.truncate(image, SIZE)
    wanted = Wanted(FsType.XFS, FormatPolicy.IF_BLANK)
    refused(image, InvalidError, "xfs needs 314572800", wanted)


@pytest.fixture(autouse=True)
def _tools(need_program: Callable[[str, str], str]) -> None:
    need_program("mkfs.ext4", "e2fsprogs")
