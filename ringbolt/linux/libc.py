"""The C library: one handle, every signature, and errors that tell the call they come from.

Wrappers with a meaning live in the module of their noun (`mount`, `namespaces`, ...).
"""

import ctypes
import os

_SHORT = 0xFFF
"""Larger numbers are flags: hexadecimal tells more."""

_M_ARENA_MAX = -8

_libc = ctypes.CDLL(None, use_errno=True)

_SIGNATURES: dict[str, tuple[type, ...]] = {
    "mount": (
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_ulong,
        ctypes.c_char_p,
    ),
    "umount2": (ctypes.c_char_p, ctypes.c_int),
    "pivot_root": (ctypes.c_char_p, ctypes.c_char_p),
    "unshare": (ctypes.c_int,),
    "setns": (ctypes.c_int, ctypes.c_int),
    "sethostname": (ctypes.c_char_p, ctypes.c_size_t),
    "prctl": (ctypes.c_int, *[ctypes.c_ulong] * 4),
    "capset": (ctypes.c_void_p, ctypes.c_void_p),
    "statfs": (ctypes.c_char_p, ctypes.c_void_p),
    "fstatfs": (ctypes.c_int, ctypes.c_void_p),
    "statx": (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_void_p,
    ),
    "fanotify_init": (ctypes.c_uint, ctypes.c_uint),
    "fanotify_mark": (
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint64,
        ctypes.c_int,
        ctypes.c_char_p,
    ),
}

for _name, _arguments in _SIGNATURES.items():
    getattr(_libc, _name).argtypes = _arguments
_libc.syscall.restype = ctypes.c_long


def call(operation: str, *arguments: object) -> int:
    """The C function `operation`; strings go in as bytes. Raises OSError naming both."""
    ready = [encoded(a) if isinstance(a, str) else a for a in arguments]
    result = int(getattr(_libc, operation)(*ready))
    if result < 0:
        raise failed(ctypes.get_errno(), operation, *arguments)
    return result


def syscall(operation: str, number: int, *arguments: object) -> int:
    """A system call that the C library may not know yet. Raises OSError as `call` does."""
    ready = [encoded(a) if isinstance(a, str) else a for a in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *ready))
    if result < 0:
        raise failed(ctypes.get_errno(), operation, *arguments)
    return result


def limit_arenas(count: int) -> None:
    """Let all threads share that many heaps, as far as there are none yet (mallopt(3)).

    By default each thread soon has one of its own, which keeps what that thread once needed. A C
    library without arenas needs no limit.
    """
    if mallopt := getattr(_libc, "mallopt", None):
        mallopt(_M_ARENA_MAX, count)


def encoded(text: str) -> bytes:
    """A string for the kernel. Raises ValueError where it would end early."""
    if "\0" in text:
        message = f"embedded null byte in {text!r}"
        raise ValueError(message)
    return os.fsencode(text)


def path_of(fd: int) -> str:
    """What a descriptor is open on, for messages."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return f"descriptor {fd}"


def failed(errno: int, operation: str, *arguments: object) -> OSError:
    """The OSError of a call: `mount /a /b: Device or resource busy`."""
    shown = " ".join(_shown(a) for a in arguments if a not in (None, b"", ""))
    return OSError(errno, f"{operation} {shown}: {os.strerror(errno)}")


def write(path: str, text: str) -> None:
    """Hand `text` to a file of the kernel's in one write. Raises OSError that names both."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode("ascii"))
    except OSError as error:
        raise failed(error.errno or 0, "write", path, text) from None
    finally:
        os.close(fd)


def _shown(argument: object) -> str:
    if isinstance(argument, bytes):
        return os.fsdecode(argument)
    return hex(argument) if isinstance(argument, int) and argument > _SHORT else str(argument)
