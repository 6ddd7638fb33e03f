"""What a kubelet is answered: one JSON document, and the one table from what went wrong to it.

Source: kubernetes pkg/volume/flexvolume/driver-call.go. A kubelet compares `status` letter by
letter, falls over a `null`, never makes a call again that it was told is not supported, and logs
all arguments, secrets too, of a driver that ends with another exit code than 0.
"""

import enum
import json
from collections.abc import Mapping

from ringbolt.volumes import errors

CAPABILITIES = {
    "attach": False,
    "fsGroup": False,
    "supportsMetrics": True,
    "requiresFSResize": True,
}
"""Nothing is attached, so no controller is needed. The room gives files to a group, once; a kubelet
would walk each tree at each start. Others than these keep the kubelet's defaults: `selinuxRelabel`
is true. The launcher says the same when asked for `init` (launcher/launcher.c)."""

_LONGEST_MESSAGE = 2000


class Status(enum.Enum):
    """The words of the contract."""

    SUCCESS = "Success"
    FAILURE = "Failure"
    NOT_SUPPORTED = "Not supported"


class Outcome(enum.Enum):
    """How a call ended, for logs and metrics: a kubelet is told `Failure` of all but two."""

    DONE = "done"
    NOT_SUPPORTED = "not supported"
    INVALID = "invalid"
    REFUSED = "refused"
    MISMATCH = "mismatch"
    CONFLICT = "conflict"
    BUSY = "busy"
    TRY_AGAIN = "try again"
    NOT_AVAILABLE = "not available"
    NOT_FOUND = "not found"
    FULL = "full"
    FAILED = "failed"
    INTERNAL = "internal"


_OUTCOMES: dict[type[BaseException], Outcome] = {
    errors.InvalidError: Outcome.INVALID,
    errors.RefusedError: Outcome.REFUSED,
    errors.MismatchError: Outcome.MISMATCH,
    errors.ConflictError: Outcome.CONFLICT,
    errors.BusyError: Outcome.BUSY,
    errors.TryAgainError: Outcome.TRY_AGAIN,
    errors.NotAvailableError: Outcome.NOT_AVAILABLE,
    errors.NotFoundError: Outcome.NOT_FOUND,
    errors.FullError: Outcome.FULL,
    OSError: Outcome.FAILED,
}
_WORDS = {
    Outcome.DONE: Status.SUCCESS,
    Outcome.NOT_SUPPORTED: Status.NOT_SUPPORTED,
}


def outcome_of(error: Exception) -> Outcome:
    """What an error comes to."""
    found = (_OUTCOMES[kind] for kind in type(error).__mro__ if kind in _OUTCOMES)
    return next(found, Outcome.INTERNAL)


def message_of(error: Exception) -> str:
    """What people are told of it. Of what nobody foresaw only its type: it might quote a secret."""
    if outcome_of(error) is Outcome.INTERNAL:
        return f"an error of Ringbolt's own ({type(error).__name__}); please report it"
    text = error.strerror if isinstance(error, OSError) else str(error)
    return str(text or type(error).__name__)[:_LONGEST_MESSAGE]


def encode(outcome: Outcome, message: str = "", more: Mapping[str, object] | None = None) -> bytes:
    """The document, in ASCII whatever the message holds."""
    wire: dict[str, object] = {"status": _WORDS.get(outcome, Status.FAILURE).value}
    if message:
        wire["message"] = f"ringbolt: {message}"
    return json.dumps(wire | dict(more or {}), separators=(",", ":")).encode() + b"\n"
