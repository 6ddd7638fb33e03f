"""nftables through libnftables, in-process: commands and answers as JSON, libnftables-json(5).

Which tables and rules there should be is the room's policy.
"""

import ctypes
import errno
import json
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from ringbolt.linux import network_namespace

LIBRARY: Final = "libnftables.so.1"
PACKAGE: Final = "libnftables1"

Command = Mapping[str, Any]
"""One object of the "nftables" array, such as {"add": {"table": {...}}}; JSON's own shape."""

Commands = Sequence[Command] | str
"""JSON values, or a script in nft's language: JSON of 1.0.6 makes no map to address and port."""

_HANDLE, _JSON, _NUMERIC = 1 << 3, 1 << 4, 1 << 7 | 1 << 8 | 1 << 9
_CONTEXT = ctypes.c_void_p
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "nft_ctx_new": (_CONTEXT, (ctypes.c_uint32,)),
    "nft_ctx_free": (None, (_CONTEXT,)),
    "nft_ctx_output_set_flags": (None, (_CONTEXT, ctypes.c_uint)),
    "nft_ctx_set_dry_run": (None, (_CONTEXT, ctypes.c_bool)),
    "nft_ctx_buffer_output": (ctypes.c_int, (_CONTEXT,)),
    "nft_ctx_buffer_error": (ctypes.c_int, (_CONTEXT,)),
    "nft_ctx_get_output_buffer": (ctypes.c_char_p, (_CONTEXT,)),
    "nft_ctx_get_error_buffer": (ctypes.c_char_p, (_CONTEXT,)),
    "nft_run_cmd_from_buffer": (ctypes.c_int, (_CONTEXT, ctypes.c_char_p)),
}


class NftError(OSError):
    """nftables refused; the message holds its own words, `errno` what they tell."""


class Nftables:
    """A connection to nftables of one network namespace, for any thread. Close it.

    `netns` is the namespace's descriptor, None for the caller's own. Raises OSError (ENOENT: the
    library is not installed; EPERM).
    """

    def __init__(self, netns: int | None = None) -> None:
        self._library = load()
        self._turn = threading.Lock()
        if netns is None:
            self._context = self._new_context()
        else:
            self._context = network_namespace.inside(netns, self._new_context)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release it; a second time does nothing."""
        with self._turn:
            if self._context is not None:
                self._library.nft_ctx_free(self._context)
            self._context = None

    def run(self, commands: Commands) -> list[dict[str, Any]]:
        """Carry out all commands or none of them; what the listing ones among them show.

        Raises NftError (ENOENT: no such table, chain, element; EEXIST).
        """
        return self._run(commands, dry=False)

    def check(self, commands: Commands) -> None:
        """Let library and kernel judge the commands without effect. Raises NftError."""
        self._run(commands, dry=True)

    def supports(self, commands: Commands) -> bool:
        """Whether this library and this kernel could carry out the commands.

        Raises NftError (EPERM: that cannot be told).
        """
        try:
            self.check(commands)
        except NftError as error:
            if error.errno == errno.EPERM:
                raise
            return False
        return True

    def _run(self, commands: Commands, *, dry: bool) -> list[dict[str, Any]]:
        if not isinstance(commands, str):
            commands = json.dumps({"nftables": list(commands)})
        library = self._library
        with self._turn:
            context = self._context
            if context is None:
                raise NftError(errno.EBADF, "nftables: the connection is closed")
            library.nft_ctx_set_dry_run(context, dry)
            failed = library.nft_run_cmd_from_buffer(context, commands.encode())
            shown = library.nft_ctx_get_output_buffer(context) or b""
            words = library.nft_ctx_get_error_buffer(context) or b""
        if failed:
            raise _refusal(words.decode(errors="replace"))
        entries: list[dict[str, Any]] = json.loads(shown)["nftables"] if shown.strip() else []
        return [entry for entry in entries if "metainfo" not in entry]

    def _new_context(self) -> int | None:
        library = self._library
        context: int | None = library.nft_ctx_new(0)
        if context is None:
            raise NftError(errno.ENOMEM, "nft_ctx_new failed")
        library.nft_ctx_output_set_flags(context, _HANDLE | _JSON | _NUMERIC)
        if library.nft_ctx_buffer_output(context) or library.nft_ctx_buffer_error(context):
            library.nft_ctx_free(context)
            raise NftError(errno.ENOMEM, "nft_ctx_buffer_output failed")
        return context


def load(name: str = LIBRARY) -> ctypes.CDLL:
    """The library with its signatures. Raises OSError (ENOENT) naming the package to install."""
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        raise FileNotFoundError(
            errno.ENOENT,
            f"nftables needs {name} ({error}): install the package {PACKAGE} "
            "(Debian, Ubuntu; nftables or nftables-libs elsewhere)",
        ) from None
    for function, (result, arguments) in _SIGNATURES.items():
        getattr(library, function).restype = result
        getattr(library, function).argtypes = arguments
    return library


_ERRNOS = {os.strerror(number): number for number in errno.errorcode}


def _refusal(words: str) -> NftError:
    """The error in what nftables says: `Error: Could not process rule: File exists`."""
    first = next((line for line in words.splitlines() if "rror" in line), words.strip())
    number = _ERRNOS.get(first.rpartition(": ")[2].strip(), errno.EINVAL)
    return NftError(number, f"nftables -> {errno.errorcode[number]}: {first.strip()}")
