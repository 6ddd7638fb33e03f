"""A volume's encrypted directory (fscrypt), which is what is published of an encrypted volume.

The key comes with each call and is the kernel's as long as the volume is mounted; what is derived
of it is derived there. No error, record or log has it. A volume is encrypted from the start or not
at all, and is never shown the other way.
"""

import errno
import os
from contextlib import ExitStack, suppress
from pathlib import Path

from ringbolt.linux import fscrypt
from ringbolt.linux.fscrypt import Policy
from ringbolt.linux.openat2 import mkdir_below, open_below
from ringbolt.volumes.errors import InvalidError, MismatchError, NotAvailableError
from ringbolt.volumes.spec import Encryption, FsType
from ringbolt.volumes.volume import Secrets, Volume

FOLDER = "ringbolt.encrypted"
KEY = "key"
"""What the secret calls it."""
KEY_SIZES = range(32, 65)
"""Bytes that AES-256 takes, random ones: nothing is done here to make a weak one strong."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_MADE_BY_MKFS = frozenset({"lost+found"})
_FEATURE = Path("/sys/fs/ext4/features/encryption")


def lacking(feature: Path = _FEATURE) -> str:
    """What this kernel lacks for it; empty if nothing, or if ext4 is not loaded yet."""
    if feature.exists() or not feature.parent.exists():
        return ""
    return "its kernel is built without CONFIG_FS_ENCRYPTION: use encrypt: luks, or another kernel"


def require_possible(volume: Volume, fs_type: FsType) -> None:
    """Raise InvalidError, NotAvailableError where a volume cannot be encrypted this way."""
    if volume.encryption is not Encryption.FSCRYPT:
        return
    if fs_type is not FsType.EXT4:
        raise InvalidError(f"fscrypt needs ext4, not {fs_type.value}")
    if volume.block:
        raise InvalidError("fscrypt encrypts files: a raw device has none, ask for luks")
    if lack := lacking():
        raise NotAvailableError(f"this node cannot encrypt with fscrypt: {lack}")


def enter(root: int, volume: Volume, secrets: Secrets) -> int:
    """What is published of the volume whose root is `root` (O_PATH), unlocked; a new descriptor.

    Raises InvalidError (no key, or of a wrong size), MismatchError (another key, or the volume is
    not as it is asked for), NotAvailableError.
    """
    if volume.encryption is not Encryption.FSCRYPT:
        _require_plain(root, volume)
        return os.dup(root)
    key = _key_of(secrets)
    with ExitStack() as opened:
        top = open_below(root, ".", _DIRECTORY)
        opened.callback(os.close, top)
        identifier = _add(top, key)
        try:
            folder = _open_folder(top, volume)
            opened.callback(os.close, folder)
            _require_policy(folder, identifier, volume)
        except MismatchError:
            _drop(top, identifier, keep=_identifier(top))
            raise
        return os.dup(folder)


def lock(root: int) -> bool:
    """Take the key of what is mounted at `root` (O_PATH) from the kernel; False: it has none."""
    top = open_below(root, ".", _DIRECTORY)
    try:
        identifier = _identifier(top)
        return identifier is not None and _drop(top, identifier, keep=None)
    finally:
        os.close(top)


def _key_of(secrets: Secrets) -> bytes:
    key = secrets.get(KEY)
    if len(key) not in KEY_SIZES:
        raise InvalidError(
            f"the secret's {KEY!r} has {len(key)} bytes: an encryption key has "
            f"{KEY_SIZES.start} to {KEY_SIZES.stop - 1}, random ones"
        )
    return key


def _add(top: int, key: bytes) -> bytes:
    try:
        return fscrypt.add_key(top, key)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY):
            raise NotAvailableError(
                f"the volume's file system cannot encrypt: {lacking() or 'it takes ext4'}"
            ) from error
        raise


def _open_folder(top: int, volume: Volume) -> int:
    """The directory, made where the volume is new."""
    with suppress(FileNotFoundError):
        return open_below(top, FOLDER, _DIRECTORY)
    with os.scandir(top) as entries:
        there = sorted({entry.name for entry in entries} - _MADE_BY_MKFS)
    if there:
        raise MismatchError(
            f"{volume.id} holds files that are not encrypted ({there[0]!r} and others): ask for it "
            "as it is, or copy them to a new volume"
        )
    return mkdir_below(top, FOLDER, 0o755)


def _require_policy(folder: int, identifier: bytes, volume: Volume) -> None:
    try:
        found = fscrypt.get_policy(folder)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
    else:
        if found.identifier != identifier:
            raise MismatchError(f"{volume.id} is encrypted with another key than the secret's")
        return
    try:
        fscrypt.set_policy(folder, Policy(identifier))
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        text = f"{FOLDER} of {volume.id} is not encrypted and not empty: it is nothing of ours"
        raise MismatchError(text) from error


def _require_plain(root: int, volume: Volume) -> None:
    try:
        folder = open_below(root, FOLDER, _DIRECTORY)
    except OSError:
        return  # not there, or nothing of ours
    try:
        encrypted = _policy(folder) is not None
    finally:
        os.close(folder)
    if encrypted:
        raise MismatchError(f"{volume.id} is encrypted: ask for it with encrypt: fscrypt")


def _identifier(top: int) -> bytes | None:
    """By which key the volume is encrypted."""
    with suppress(OSError):
        folder = open_below(top, FOLDER, _DIRECTORY)
        try:
            policy = _policy(folder)
        finally:
            os.close(folder)
        return policy.identifier if policy else None
    return None


def _policy(folder: int) -> Policy | None:
    with suppress(OSError):
        return fscrypt.get_policy(folder)
    return None


def _drop(top: int, identifier: bytes, *, keep: bytes | None) -> bool:
    """Take a key away, unless it is the one to keep."""
    if identifier == keep:
        return False
    with suppress(OSError):  # ENOKEY: it is gone
        fscrypt.remove_key(top, identifier)
        return True
    return False
