"""A device of the demo's own that it can take away and bring back, as real as the user may.

As root a loop device, whose coming and going the kernel announces; otherwise a path of the user's.
"""

import errno
import os
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

from ringbolt.linux import loop
from ringbolt.sandbox.ability import Ability, Means

_NUMBERS = range(700, 800)
_SIZE = 1 << 20
_FREED_DEADLINE_S = 2.0


class Stage(Protocol):
    """What the demo plugs and unplugs."""

    resource: str
    pod: str
    """The example that uses it."""
    what: str
    lacks: str
    """Why it is not more real; "" where it is."""

    def configuration(self) -> dict[str, Any]:
        """The resource's entry for the agent's configuration."""
        ...

    def take_away(self) -> float:
        """Unplug it; the moment (time.monotonic) just before the kernel was asked."""
        ...

    def bring_back(self) -> float:
        """Plug it in again; the moment just before the kernel was asked."""
        ...


class LoopStage:
    """A loop device above the usual numbers, with a file of 1 MiB behind it."""

    resource = "ringbolt.dev/loop"
    pod = "loop.yaml"
    lacks = ""

    def __init__(self, undo: ExitStack) -> None:
        """Make it. Raises OSError where this kernel or this /dev does not let us."""
        self._number = _add_free()
        undo.callback(self._remove_for_good)
        self._path = f"/dev/loop{self._number}"
        self.what = f"the loop device {self._path}"
        with tempfile.TemporaryFile() as file:
            file.truncate(_SIZE)
            loop.attach(self._path, file.fileno())

    def configuration(self) -> dict[str, Any]:
        """Chosen by the kernel's name: nothing else tells loop devices apart."""
        return {
            "name": self.resource,
            "select": [{"subsystem": "block", "kernel": f"loop{self._number}"}],
            "container": {"path": "/dev/disk"},
            "env": {"LOOP_DEVICE": "{container_path}"},
        }

    def take_away(self) -> float:
        """LOOP_CTL_REMOVE, as soon as nobody has it open."""
        with suppress(OSError):
            loop.detach(self._path)
        deadline = time.monotonic() + _FREED_DEADLINE_S
        while True:
            began = time.monotonic()
            try:
                loop.remove(self._number)
            except OSError as error:
                if error.errno != errno.EBUSY or began > deadline:
                    raise
                time.sleep(0.005)
            else:
                return began

    def bring_back(self) -> float:
        """LOOP_CTL_ADD."""
        began = time.monotonic()
        loop.add(self._number)
        return began

    def _remove_for_good(self) -> None:
        try:
            self.take_away()
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise


class PathStage:
    """A link to /dev/zero in a directory of ours."""

    resource = "ringbolt.dev/port"
    pod = "port.yaml"

    def __init__(self, undo: ExitStack, lacks: str) -> None:
        """Make it."""
        directory = undo.enter_context(tempfile.TemporaryDirectory(prefix="ringbolt-dev-"))
        self._path = Path(directory, "port0")
        self._path.symlink_to("/dev/zero")
        self.what = f"the path {self._path}, a link to /dev/zero"
        self.lacks = lacks

    def configuration(self) -> dict[str, Any]:
        """A plain path: watched by inotify, since the kernel tells nothing of it."""
        return {
            "name": self.resource,
            "select": [{"path": str(self._path)}],
            "container": {"path": "/dev/port"},
            "env": {"PORT_DEVICE": "{container_path}"},
        }

    def take_away(self) -> float:
        """Remove the link."""
        began = time.monotonic()
        self._path.unlink()
        return began

    def bring_back(self) -> float:
        """Make the link."""
        began = time.monotonic()
        self._path.symlink_to("/dev/zero")
        return began


def open_stage(ability: Ability, undo: ExitStack) -> Stage:
    """The most real one that this user and this machine allow; `undo` takes it down."""
    if ability.means is not Means.ROOT and os.geteuid() != 0:
        return PathStage(undo, "only root can make a loop device, so no kernel event is shown")
    try:
        return LoopStage(undo)
    except OSError as error:
        return PathStage(undo, f"no loop device could be made ({error.strerror})")


def _add_free() -> int:
    for number in _NUMBERS:
        if not os.path.exists(f"/sys/block/loop{number}"):  # noqa: PTH110 - next to the kernel's name
            with suppress(FileExistsError):  # another process may have made it in between
                loop.add(number)
                return number
    raise OSError(errno.ENOSPC, "loop devices 700 to 799 are all taken")
