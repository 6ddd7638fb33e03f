"""FlexVolume drivers as a kubelet finds and calls them: exec'd, each answer one JSON document.

Source: kubernetes pkg/volume/flexvolume probe.go, driver-call.go. A driver is asked for `init` when
it appears and after every change in its folder; files whose names begin with a dot are none.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import asyncinotify

_CHANGED = (
    asyncinotify.Mask.CREATE
    | asyncinotify.Mask.MODIFY
    | asyncinotify.Mask.MOVED_TO
    | asyncinotify.Mask.ATTRIB
    | asyncinotify.Mask.DELETE
    | asyncinotify.Mask.MOVED_FROM
)
_SUCCESS, _NOT_SUPPORTED = "Success", "Not supported"


class DriverError(Exception):
    """A driver is missing, breaks the contract or refuses; the message is a kubelet's."""


class NotSupportedError(DriverError):
    """The driver leaves this call to the kubelet."""


class Execute(Protocol):
    """Runs a program on the node."""

    async def __call__(self, argv: Sequence[str]) -> tuple[int, bytes]:
        """Its exit code and all that it printed, to whichever output."""
        ...


@dataclass(frozen=True, slots=True)
class FlexDriver:
    """A driver that answered `init`. `unsupported` are the calls that are not made again."""

    name: str
    program: Path
    execute: Execute
    capabilities: Mapping[str, bool] = field(default_factory=dict[str, bool])
    unsupported: set[str] = field(default_factory=set[str])

    async def call(self, name: str, *arguments: str) -> Mapping[str, Any]:
        """Make a call; the answer. Raises DriverError, NotSupportedError."""
        if name in self.unsupported:
            raise NotSupportedError(f"{name} is not supported by {self.name}")
        code, printed = await self.execute((str(self.program), name, *arguments))
        answer = _document(printed, name)
        status = answer.get("status")
        if status == _NOT_SUPPORTED:
            self.unsupported.add(name)
            raise NotSupportedError(f"{name} is not supported by {self.name}")
        if status != _SUCCESS:
            reason = answer.get("message", "")
            raise DriverError(f"{name} command failed, status: {status}, reason: {reason}")
        if code:
            raise DriverError(f"{name} succeeded with exit code {code}: driver bug")
        return answer


def _document(printed: bytes, call: str) -> Mapping[str, Any]:
    """The one document, or an error; nothing may stand beside it."""
    try:
        found: Any = json.loads(printed)
    except ValueError as error:
        raise DriverError(
            f"failed to unmarshal output for command: {call}, output: {printed[:200]!r}, "
            f"error: {error}"
        ) from None
    if not isinstance(found, dict):
        raise DriverError(f"{call} answered no object: {printed[:200]!r}")
    answer = cast("dict[str, Any]", found)
    if nulls := [key for key, value in answer.items() if value is None]:
        raise DriverError(f"{call} answered null for {nulls[0]}: a kubelet would end here")
    return answer


class FlexDrivers:
    """The drivers below `directory`, found again when their folders change. Close it."""

    def __init__(self, directory: Path, execute: Execute) -> None:
        self._directory = directory
        self._execute = execute
        self._known: dict[str, FlexDriver] = {}
        self._inotify = asyncinotify.Inotify(sync_timeout=0)
        self._watched = set[Path]()
        self._stale = set[str]()
        self.inits = 0
        """How often a driver was asked for `init`."""

    def forget(self) -> None:
        """As a kubelet that starts: every driver is asked for `init` again."""
        self._known.clear()

    def close(self) -> None:
        """Watch no more."""
        self._inotify.close()

    async def find(self, name: str) -> FlexDriver:
        """The driver that a pod names, `vendor/driver`. Raises DriverError."""
        self._follow()
        vendor, _, driver = name.rpartition("/")
        folder = self._directory / (f"{vendor}~{driver}" if vendor else driver)
        known = self._known.get(name)
        if known is None or folder.name in self._stale:
            self._known.pop(name, None)
            self._known[name] = known = await self._init(name, folder / driver)
            self._stale.discard(folder.name)
        return known

    def _follow(self) -> None:
        """Take note of what changed since the last look."""
        folders = [one for one in _folders(self._directory) if one not in self._watched]
        for folder in (self._directory, *folders):
            if folder.is_dir() and folder not in self._watched:
                self._inotify.add_watch(folder, _CHANGED)
                self._watched.add(folder)
                self._stale.add(folder.name)
        for event in self._inotify:
            if event.name is None or event.name.name.startswith("."):
                continue
            if event.watch and Path(event.watch.path) == self._directory:
                self._stale.add(event.name.name)
                self._watched.discard(self._directory / event.name)
            elif event.watch:
                self._stale.add(Path(event.watch.path).name)

    async def _init(self, name: str, program: Path) -> FlexDriver:
        if not os.access(program, os.X_OK):
            raise DriverError(f"no volume plugin matched name: {name} (there is no {program})")
        self.inits += 1
        answer = await FlexDriver(name, program, self._execute).call("init")
        said = cast("dict[str, bool]", answer.get("capabilities", {}))
        defaults = {"attach": True, "fsGroup": True, "requiresFSResize": True}
        driver = FlexDriver(name, program, self._execute, defaults | said)
        if driver.capabilities["attach"]:
            raise DriverError(f"{name} wants to attach, for which the sandbox has no controller")
        return driver


def _folders(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return [one for one in directory.iterdir() if one.is_dir() and not one.name.startswith(".")]
