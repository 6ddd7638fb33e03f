"""The kinds that end in a block device, with LUKS on it where a volume asks for that.

Below LUKS the volume is a raw device of its kind; all else is as without.
"""

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ringbolt.linux.mount import MountPoint
from ringbolt.volumes.backend import Ask
from ringbolt.volumes.device import DeviceBackend, Finder
from ringbolt.volumes.errors import NotAvailableError
from ringbolt.volumes.loop_image import LoopBackend
from ringbolt.volumes.luks import LuksLayer
from ringbolt.volumes.mounts import Root
from ringbolt.volumes.outcome import Created, Snapshot
from ringbolt.volumes.signatures import LUKS, find_signatures
from ringbolt.volumes.spec import Device, Encryption, FormatPolicy, FsType, Loop
from ringbolt.volumes.volume import Volume


class EncryptedLoopBackend(LoopBackend):
    """The kind `loop`, encrypted or not."""

    encryptions = LoopBackend.encryptions | {Encryption.LUKS}

    def __init__(self, state_dir: Path, luks: LuksLayer | None = None) -> None:
        super().__init__(state_dir)
        self._luks = luks or LuksLayer(state_dir)

    def lacking(self) -> tuple[str, ...]:
        """What LUKS needs."""
        lack = self._luks.lacks()
        return (f"encrypt: luks: {lack}",) if lack else ()

    def validate(self, volume: Volume) -> None:
        """Raise InvalidError, NotAvailableError."""
        if _is_luks(volume):
            self._luks.validate(volume)
        super().validate(_raw(volume))

    def create(self, ask: Ask) -> Created:
        """Make the image; what is in an encrypted one is made with its first mount."""
        return super().create(_below(ask))

    def open_tree(self, ask: Ask, undo: ExitStack) -> int:
        """Mount what is in it."""
        if not _is_luks(ask.volume):
            return super().open_tree(ask, undo)
        return _opened(self._luks, ask, super().open_tree(_below(ask), undo), undo)

    def expand(self, ask: Ask, size: int, fd: int | None) -> int:
        """The image, then what is in it."""
        if not _is_luks(ask.volume):
            return super().expand(ask, size, fd)
        has = super().expand(_below(ask), size, None)
        self._luks.grow(ask, fd)
        return has

    def snapshot(self, ask: Ask, name: str, fd: int | None, *, plain: bool) -> Snapshot:
        """Copy it; not an encrypted one, whose copy would have the same key for ever."""
        if _is_luks(ask.volume) or self._has_luks(ask.volume):
            raise NotAvailableError("volumes with luks are not copied: one key would open both")
        return super().snapshot(ask, name, fd, plain=plain)

    def _has_luks(self, volume: Volume) -> bool:
        """By what is in it: whoever only has its name knows nothing else."""
        fd = self._open(volume, os.O_RDONLY)
        try:
            held = self._held(volume, fd)
            return any(one.name == LUKS for one in find_signatures(held.read, held.size))
        finally:
            os.close(fd)

    def holds(self, volume: Volume, point: MountPoint, root: Root) -> bool:
        """By its mapping, or as without."""
        if _is_luks(volume):
            return self._luks.holds(volume, point)
        return super().holds(volume, point, root)

    def release(self, volume: Volume) -> None:
        """Close the mapping, then let go of the device."""
        if _is_luks(volume):
            self._luks.close(volume.id)
        super().release(_raw(volume))


class EncryptedDeviceBackend(DeviceBackend):
    """The kind `device`, encrypted or not."""

    encryptions = DeviceBackend.encryptions | {Encryption.LUKS}

    def __init__(self, find: Finder | None, state_dir: Path, luks: LuksLayer | None = None) -> None:
        super().__init__(find, state_dir)
        self._luks = luks or LuksLayer(state_dir)

    def lacking(self) -> tuple[str, ...]:
        """What LUKS needs."""
        lack = self._luks.lacks()
        return (f"encrypt: luks: {lack}",) if lack else ()

    def validate(self, volume: Volume) -> None:
        """Raise InvalidError, NotAvailableError."""
        if _is_luks(volume):
            self._luks.validate(volume)
        super().validate(_raw(volume))

    def open_tree(self, ask: Ask, undo: ExitStack) -> int:
        """Mount what is on it."""
        if not _is_luks(ask.volume):
            return super().open_tree(ask, undo)
        # One that a killed agent left keeps the device busy.
        self._luks.close(ask.volume.id)
        return _opened(self._luks, ask, super().open_tree(_below(ask), undo), undo)

    def expand(self, ask: Ask, size: int, fd: int | None) -> int:
        """Let what is on it have all of it."""
        if not _is_luks(ask.volume):
            return super().expand(ask, size, fd)
        has = super().expand(_below(ask), size, None)
        self._luks.grow(ask, fd)
        return has

    def holds(self, volume: Volume, point: MountPoint, root: Root) -> bool:
        """By its mapping, or as without."""
        if _is_luks(volume):
            return self._luks.holds(volume, point)
        return super().holds(volume, point, root)

    def release(self, volume: Volume) -> None:
        """Close the mapping."""
        if _is_luks(volume):
            self._luks.close(volume.id)


def _is_luks(volume: Volume) -> bool:
    return volume.encryption is Encryption.LUKS


def _raw(volume: Volume) -> Volume:
    """The device that LUKS is on."""
    if not _is_luks(volume):
        return volume
    plain = replace(volume, encryption=Encryption.NONE, subdir="", options=(), readonly=False)
    return replace(plain, block=True)


def _below(ask: Ask) -> Ask:
    return replace(
        ask, volume=_raw(ask.volume), options=() if _is_luks(ask.volume) else ask.options
    )


def _opened(luks: LuksLayer, ask: Ask, node: int, undo: ExitStack) -> int:
    """`node` is a mount of the device's node; its number is all that is used of it."""
    try:
        number = os.fstat(node).st_rdev
    finally:
        os.close(node)
    return luks.open_tree(ask, number, _wanted(ask.volume), undo)


def _wanted(volume: Volume) -> tuple[FsType | None, FormatPolicy]:
    spec = volume.spec
    assert isinstance(spec, Loop | Device)
    return spec.fs_type, spec.format
