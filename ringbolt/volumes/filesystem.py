"""File systems of block devices as detached mounts, and the options that are safe in any hands.

For every kind that ends in a block device. What is on the device is `format`'s affair.
"""

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ringbolt.linux.mount_api import FsContext
from ringbolt.volumes.errors import InvalidError, MismatchError, NotAvailableError
from ringbolt.volumes.mount_options import option_name
from ringbolt.volumes.spec import FsType

SAFE_OPTIONS = frozenset(
    {
        *("commit", "data", "delalloc", "dirsync", "discard", "errors", "lazytime", "nobarrier"),
        *("nodelalloc", "nodiscard", "nolazytime", "sync"),
        *("allocsize", "inode32", "inode64", "largeio", "logbsize", "logbufs", "nolargeio"),
        *("noquota", "swalloc", "wsync"),
        *("autodefrag", "compress", "compress-force", "datacow", "datasum", "flushoncommit"),
        *("norecovery", "noload"),
        *("max_inline", "noautodefrag", "nodatacow", "nodatasum", "nossd", "ssd", "thread_pool"),
    }
)
"""Of ext4(5), xfs(5) and btrfs(5): none names a device, a path or another subvolume."""

_NO_RECOVERY = frozenset({"norecovery", "noload"})
_WITHOUT_RECOVERY = {
    FsType.EXT4: "noload",
    FsType.XFS: "norecovery",
    FsType.BTRFS: "rescue=nologreplay",
}
"""Its log is left alone, so what was written last is missing, and files may be torn."""

_PANICS = "errors=panic"
_ALWAYS: dict[FsType, tuple[str, ...]] = {
    FsType.EXT4: ("errors=remount-ro",),
    FsType.XFS: ("nouuid",),
    FsType.BTRFS: (),
}
"""An ext4 with errors is written to no more; a copy of an xfs has the UUID of its original."""


def open_filesystem(device: str, fs_type: FsType, options: Iterable[str], *, readonly: bool) -> int:
    """The descriptor of a detached mount of what is on `device`.

    A log is left unread only where that is asked for and nothing is written. Raises
    NotAvailableError (the kernel has no such file system), InvalidError, MismatchError, OSError
    with the kernel's own words.
    """
    asked = _spelled(options, fs_type, readonly=readonly)
    names = {option_name(option) for option in asked}
    always = (one for one in _ALWAYS[fs_type] if option_name(one) not in names)
    with _context(fs_type) as context:
        context.set_string("source", device)
        if readonly:
            context.set_flag("ro")
        for option in (*always, *asked):
            name, given, value = option.partition("=")
            if given:
                context.set_string(name, value)
            else:
                context.set_flag(name)
        try:
            context.create()
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            raise _unwritable(device, fs_type, readonly=readonly) from error
        tree = context.mount()
    _check_device(tree, device, fs_type)
    return tree


def _spelled(options: Iterable[str], fs_type: FsType, *, readonly: bool) -> tuple[str, ...]:
    """The options as the file system has them. Raises InvalidError, MismatchError."""
    asked = tuple(options)
    if _PANICS in asked:
        raise MismatchError("errors=panic would stop the node: ask for another")
    if not _NO_RECOVERY & set(asked):
        return asked
    if not readonly:
        raise InvalidError(
            "norecovery leaves out what was written last: it is for read-only volumes alone"
        )
    return (*(one for one in asked if one not in _NO_RECOVERY), _WITHOUT_RECOVERY[fs_type])


def _unwritable(
    device: str, fs_type: FsType, *, readonly: bool
) -> MismatchError | NotAvailableError:
    if not readonly:
        return NotAvailableError(f"{device} takes no writes: ask for it read-only")
    return MismatchError(
        f"{device} takes no writes, and its {fs_type.value} was not unmounted cleanly: mount it "
        "once where it can be written; or ask for the mount option norecovery, which shows it "
        "without what was written last"
    )


def is_known(fs_type: FsType) -> bool:
    """Whether the kernel has it now; a module that is not loaded yet is loaded by mounting."""
    with suppress(OSError):
        return f"\t{fs_type.value}\n" in Path("/proc/filesystems").read_text(encoding="ascii")
    return False


def _context(fs_type: FsType) -> FsContext:
    try:
        return FsContext.open(fs_type.value)
    except OSError as error:
        if error.errno == errno.ENODEV:
            text = f"this node's kernel has no {fs_type.value}: load or install its module"
            raise NotAvailableError(text) from error
        raise


def _check_device(tree: int, device: str, fs_type: FsType) -> None:
    """That the node led where it should; btrfs numbers its superblocks by itself."""
    if fs_type is FsType.BTRFS:
        return
    expected, found = os.stat(device).st_rdev, os.fstat(tree).st_dev  # noqa: PTH116
    if expected != found:
        os.close(tree)
        raise MismatchError(f"{device} became another device while it was mounted: try again")
