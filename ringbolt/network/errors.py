"""What can go wrong in this room, told apart by what a caller can do about it.

The kernel's own refusals are the floor's OSErrors and pass unchanged.
"""


class NetworkError(Exception):
    """The room refused or failed; the text says what, on what, and what to do."""


class InvalidError(NetworkError):
    """The settings or the request contradict themselves: the same call fails again."""


class ExhaustedError(NetworkError):
    """No address is free in a range."""


class ConflictError(NetworkError):
    """Somebody else has it: the interface name, the address, the host port, the bridge."""


class UnknownContainerError(NetworkError):
    """Nothing is recorded for this container and interface."""


class DriftError(NetworkError):
    """What the kernel has is not what was set up."""


class TryAgainError(NetworkError):
    """It will work later: a lock was held, a table was being rebuilt."""


class NotAvailableError(NetworkError):
    """No pod can be attached now; those that are keep working."""


class DegradedError(NotAvailableError):
    """No pod can be attached now, and those that are may have lost connections."""
