"""The codes of the contract, and the one table from what went wrong to them."""

import enum
import json

from ringbolt.network import errors


class Code(enum.IntEnum):
    """SPEC.md, section "Error"; 8 and 999 are the reference skeleton's, 100 and 101 are ours."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    DECODING_FAILURE = 6
    INVALID_CONFIG = 7
    INVALID_NETNS = 8
    TRY_AGAIN = 11
    NOT_AVAILABLE = 50
    LIMITED_CONNECTIVITY = 51
    CONFLICT = 100
    DRIFT = 101
    INTERNAL = 999


class CniError(Exception):
    """What a runtime is told. `code` is a Code, or the number that a delegate gave."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(f"{message}; {details}" if details else message)
        self.code = code
        self.message = message
        self.details = details


_CODES: dict[type[Exception], Code] = {
    errors.InvalidError: Code.INVALID_CONFIG,
    errors.ExhaustedError: Code.TRY_AGAIN,
    errors.ConflictError: Code.CONFLICT,
    errors.UnknownContainerError: Code.UNKNOWN_CONTAINER,
    errors.DriftError: Code.DRIFT,
    errors.TryAgainError: Code.TRY_AGAIN,
    errors.DegradedError: Code.TRY_AGAIN,
    errors.NotAvailableError: Code.TRY_AGAIN,
}
_STATUS_CODES: dict[type[Exception], Code] = {
    errors.InvalidError: Code.INVALID_CONFIG,
    errors.DegradedError: Code.LIMITED_CONNECTIVITY,
    errors.NetworkError: Code.NOT_AVAILABLE,
    OSError: Code.NOT_AVAILABLE,
}


def translated(error: Exception, *, status: bool = False) -> CniError:
    """What a runtime is told of any error; `status`: it asked whether an ADD would be served."""
    if isinstance(error, CniError):
        return error
    table = _STATUS_CODES if status else _CODES
    codes = (table[kind] for kind in type(error).__mro__ if kind in table)
    return CniError(next(codes, Code.INTERNAL), str(error) or type(error).__name__)


def encode_error(error: CniError, version: str | None) -> bytes:
    """The error object; with the version of the configuration where that could be read."""
    wire: dict[str, object] = {"cniVersion": version} if version else {}
    wire |= {"code": int(error.code), "msg": _retriable(error.message)}
    if error.details:
        wire["details"] = _retriable(error.details)
    return json.dumps(wire, indent=4).encode()


def _retriable(text: str) -> str:
    # containerd takes a DEL whose error holds these words for a success, and never repeats it.
    return text.replace("not found", "missing")
