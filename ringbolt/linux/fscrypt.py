"""Encryption of directories by the file system itself: policies and keys of version 2.

Documentation/filesystems/fscrypt.rst, linux/fscrypt.h; Linux 5.4, ext4, f2fs and ubifs. A key is
known to the file system that it was added to and is named by an identifier that the kernel makes
of it. No message has a key in it.
"""

import errno
import struct
from enum import IntEnum
from typing import NamedTuple

from ringbolt.linux import ioctls, libc

FSCRYPT_MODE_AES_256_XTS = 1
FSCRYPT_MODE_AES_256_CTS = 4
FSCRYPT_MODE_ADIANTUM = 9
FSCRYPT_MODE_AES_256_HCTR2 = 10
FSCRYPT_POLICY_FLAGS_PAD_32 = 0x03

FSCRYPT_KEY_REMOVAL_STATUS_FLAG_FILES_BUSY = 0x1
FSCRYPT_KEY_REMOVAL_STATUS_FLAG_OTHER_USERS = 0x2

_VERSION_2 = 2
_BY_IDENTIFIER = 2
IDENTIFIER_SIZE = 16
_IDENTIFIER_AT = 8
KEY_SIZES = range(16, 65)
"""In bytes; AES-256 takes 32 at least."""

_SPECIFIER = struct.Struct("=I4x16s16x")
_ADD = struct.Struct(f"={_SPECIFIER.size}sI36x")
_REMOVE = struct.Struct(f"={_SPECIFIER.size}sI20x")
_STATUS = struct.Struct(f"={_SPECIFIER.size}s24xIII52x")
_POLICY = struct.Struct("=4BB3x16s")
_POLICY_EX = struct.Struct(f"=Q{_POLICY.size}s")
_POLICY_V1_SIZE = 12
_GET_POLICY_SIZE = 9

_KIND = ord("f")
FS_IOC_SET_ENCRYPTION_POLICY = ioctls.ior(_KIND, 19, _POLICY_V1_SIZE)
FS_IOC_GET_ENCRYPTION_POLICY_EX = ioctls.iowr(_KIND, 22, _GET_POLICY_SIZE)
FS_IOC_ADD_ENCRYPTION_KEY = ioctls.iowr(_KIND, 23, _ADD.size)
FS_IOC_REMOVE_ENCRYPTION_KEY = ioctls.iowr(_KIND, 24, _REMOVE.size)
FS_IOC_GET_ENCRYPTION_KEY_STATUS = ioctls.iowr(_KIND, 26, _STATUS.size)


class KeyState(IntEnum):
    """FSCRYPT_KEY_STATUS_*; files were open when an incompletely removed one was removed."""

    ABSENT = 1
    PRESENT = 2
    INCOMPLETELY_REMOVED = 3


class Policy(NamedTuple):
    """How what is in a directory is encrypted, and by which key."""

    identifier: bytes
    contents_mode: int = FSCRYPT_MODE_AES_256_XTS
    filenames_mode: int = FSCRYPT_MODE_AES_256_CTS
    flags: int = FSCRYPT_POLICY_FLAGS_PAD_32


def add_key(fd: int, key: bytes | bytearray) -> bytes:
    """Give a key to the file system of `fd`; its identifier. Again is no error.

    Raises OSError (EOPNOTSUPP: the file system is made or built without encryption; EINVAL: the
    key's size).
    """
    specifier = _SPECIFIER.pack(_BY_IDENTIFIER, b"")
    buffer = bytearray(_ADD.size + len(key))
    _ADD.pack_into(buffer, 0, specifier, len(key))
    buffer[_ADD.size :] = key
    try:
        ioctls.exchange(fd, "FS_IOC_ADD_ENCRYPTION_KEY", FS_IOC_ADD_ENCRYPTION_KEY, buffer)
        return bytes(buffer[_IDENTIFIER_AT : _IDENTIFIER_AT + IDENTIFIER_SIZE])
    finally:
        buffer[:] = bytes(len(buffer))


def remove_key(fd: int, identifier: bytes) -> int:
    """Take a key from the file system of `fd`, with all that was decrypted by it.

    Returns FSCRYPT_KEY_REMOVAL_STATUS_FLAG_*: with FILES_BUSY, files that are open stay readable;
    call again once they are closed. Raises OSError (ENOKEY: it has no such key).
    """
    buffer = bytearray(_REMOVE.pack(_specified(identifier), 0))
    ioctls.exchange(fd, "FS_IOC_REMOVE_ENCRYPTION_KEY", FS_IOC_REMOVE_ENCRYPTION_KEY, buffer)
    return int(_REMOVE.unpack(buffer)[1])


def key_state(fd: int, identifier: bytes) -> KeyState:
    """Whether the file system of `fd` has a key. Raises OSError."""
    buffer = bytearray(_STATUS.pack(_specified(identifier), 0, 0, 0))
    operation = "FS_IOC_GET_ENCRYPTION_KEY_STATUS"
    ioctls.exchange(fd, operation, FS_IOC_GET_ENCRYPTION_KEY_STATUS, buffer)
    return KeyState(_STATUS.unpack(buffer)[1])


def set_policy(fd: int, policy: Policy) -> None:
    """Encrypt all that will be made in an empty directory. The same again is no error.

    Raises OSError (ENOTEMPTY; EEXIST: it has another policy; ENOKEY: the key was not added).
    """
    buffer = bytearray(
        _POLICY.pack(
            _VERSION_2,
            policy.contents_mode,
            policy.filenames_mode,
            policy.flags,
            0,
            policy.identifier,
        )
    )
    ioctls.exchange(fd, "FS_IOC_SET_ENCRYPTION_POLICY", FS_IOC_SET_ENCRYPTION_POLICY, buffer)


def get_policy(fd: int) -> Policy:
    """How a directory or file is encrypted, also while its key is absent.

    Raises OSError (ENODATA: it is not; EINVAL: by version 1).
    """
    buffer = bytearray(_POLICY_EX.pack(_POLICY.size, b""))
    operation = "FS_IOC_GET_ENCRYPTION_POLICY_EX"
    ioctls.exchange(fd, operation, FS_IOC_GET_ENCRYPTION_POLICY_EX, buffer)
    return parse_policy(_POLICY_EX.unpack(buffer)[1])


def parse_policy(data: bytes) -> Policy:
    """`struct fscrypt_policy_v2` as a value. Raises OSError EINVAL for another version."""
    version, contents, filenames, flags, _, identifier = _POLICY.unpack(data)
    if version != _VERSION_2:
        raise libc.failed(errno.EINVAL, "FS_IOC_GET_ENCRYPTION_POLICY_EX", f"version {version}")
    return Policy(identifier, contents, filenames, flags)


def _specified(identifier: bytes) -> bytes:
    return _SPECIFIER.pack(_BY_IDENTIFIER, identifier)
