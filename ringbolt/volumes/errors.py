"""What can go wrong in this room, told apart by what a caller can do about it.

The kernel's own refusals are the floor's OSErrors and pass unchanged. No text here may ever hold a
secret: callers print them.
"""


class VolumeError(Exception):
    """The room refused or failed; the text says what, on what, and what to do."""


class InvalidError(VolumeError):
    """The request contradicts itself or is malformed: the same call fails again."""


class RefusedError(VolumeError):
    """The node's policy does not allow it, or it would be dangerous; nothing was touched."""


class MismatchError(VolumeError):
    """What was found is not what was asked for: another file system, size, checksum, label."""


class NotBlankError(MismatchError):
    """It cannot be formatted: data was found, or blankness could not be proved."""


class ConflictError(VolumeError):
    """Something else has the place or the volume: a foreign mount, other options, another user."""


class BusyError(VolumeError):
    """It is in use; it will work once that ends."""


class TryAgainError(VolumeError):
    """It will work later: another call on the same volume is under way."""


class DeadlineError(TryAgainError):
    """It did not end in time; what was begun is taken back or told of as quarantined."""


class NotAvailableError(VolumeError):
    """This node cannot: a module, a program or a capability is missing; the text names it."""


class NotFoundError(VolumeError):
    """There is no such volume, device, directory or publication."""


class FullError(VolumeError):
    """There is not enough space for it where it would lie."""
