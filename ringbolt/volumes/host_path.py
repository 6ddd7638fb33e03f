"""What lies below the host's roots that its operator named, opened with no link on the way."""

import os

from ringbolt.linux.openat2 import open_below
from ringbolt.volumes.errors import NotFoundError, RefusedError
from ringbolt.volumes.policy import root_of


def split_host_path(roots: tuple[str, ...], path: str) -> tuple[str, str]:
    """The innermost root of a path, and the rest. Raises RefusedError: it is below none."""
    root = root_of(roots, path)
    if root is None:
        raise RefusedError(f"{path} is below none of volumes.roots")
    return root, path[len(root) :].lstrip("/")


def open_host_path(roots: tuple[str, ...], path: str, flags: int) -> int:
    """Open it below its root. Raises NotFoundError, RefusedError: it cannot be used safely."""
    root, relative = split_host_path(roots, path)
    try:
        held = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFoundError(f"{root}, of volumes.roots, does not exist: make it") from None
    try:
        return open_below(held, relative or ".", flags)
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None
    except OSError as error:
        text = os.strerror(error.errno or 0)
        raise RefusedError(f"{path} is nothing that is safe to use: {text}") from None
    finally:
        os.close(held)
