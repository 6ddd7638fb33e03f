"""LUKS on a block device that another kind found or made, by cryptsetup(8), and what is in it.

The key goes to its standard input and nowhere else. A header is written only where the whole device
is provably blank; what is inside a new one is random, so its own proof is made by zeros that we
write there, under a label that says so until a file system is made. The mapping is named by the
volume's id: one that a killed agent left is found, closed and opened anew with the key.
"""

import hashlib
import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ringbolt.linux import block, command
from ringbolt.linux.command import ENVIRONMENT, Handed, Outcome
from ringbolt.linux.mount import MountPoint
from ringbolt.volumes.ability import NODE, PACKAGES, Ability
from ringbolt.volumes.backend import Ask
from ringbolt.volumes.blankness import places_of, prove_blank
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.device import Candidate, DeviceBackend, Found, fill
from ringbolt.volumes.errors import (
    BusyError,
    ConflictError,
    DeadlineError,
    InvalidError,
    MismatchError,
    NotAvailableError,
    NotBlankError,
)
from ringbolt.volumes.held import Held, hold
from ringbolt.volumes.signatures import find_signatures
from ringbolt.volumes.spec import Device, DeviceKey, FormatPolicy, FsType
from ringbolt.volumes.volume import Secrets, Volume, VolumeId

KEY = "key"
"""What the secret calls it."""

_MADE, _UNFINISHED = "ringbolt", "ringbolt-unfinished"
_LABEL = slice(24, 72)
"""In the header (LUKS2 On-Disk Format Specification, 2.1)."""
_WRONG_KEY = 2
_NOTHING = Handed()
_MEMORY_KIB = "65536"
"""For the key's derivation: what an agent in a container has to spare."""


class LuksLayer:
    """`mapper` is where the kernel's mappings appear."""

    def __init__(
        self, state_dir: Path, node: Ability = NODE, mapper: Path = Path("/dev/mapper")
    ) -> None:
        self._state_dir = state_dir
        self._node = node
        self._mapper = mapper

    def lacks(self) -> str:
        """The program and the kernel's part."""
        return self._node.lacks_program("cryptsetup") or self._node.lacks_module("dm_crypt")

    def validate(self, volume: Volume) -> None:
        """Raise NotAvailableError, InvalidError."""
        if lack := self.lacks():
            raise NotAvailableError(f"this node cannot encrypt with luks: {lack}")
        if volume.block:
            raise InvalidError("an encrypted volume is published as a file system, not as a device")

    def open_tree(
        self, ask: Ask, number: int, wanted: tuple[FsType | None, FormatPolicy], undo: ExitStack
    ) -> int:
        """Mount what is in device `number` (`st_rdev`), which nobody else uses.

        Raises MismatchError (the key does not fit), NotBlankError, BusyError, NotAvailableError.
        """
        volume = ask.volume
        _key(ask.secrets)
        self.close(volume.id)
        policy = FormatPolicy.NEVER if volume.readonly else wanted[1]
        with hold(f"/dev/{block.name(number)}", expected=number) as held:
            unfinished = self._ensure_header(held, policy, ask)
            pinned = os.open(f"/proc/self/fd/{held.fd}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._open(pinned, ask)
            undo.callback(self.close, volume.id)
            if unfinished:
                self._zero_inside(volume.id)
            inside = self._inside(volume.id, wanted[0], policy)
            tree = self._device(volume.id).open_tree(
                replace(ask, volume=replace(volume, spec=inside)), undo
            )
            if unfinished:
                self._label(pinned, ask.deadline)
            return tree
        finally:
            os.close(pinned)

    def holds(self, volume: Volume, point: MountPoint) -> bool:
        """By the number of its mapping."""
        path = self.path(volume.id)
        if not path.exists():
            return False
        if point.fstype == FsType.BTRFS.value:
            return os.path.realpath(point.source) == os.path.realpath(path)
        number = path.stat().st_rdev
        return point.device == (os.major(number), os.minor(number))

    def grow(self, ask: Ask, fd: int | None) -> None:
        """Let the mapping and the mounted file system (`fd`) have what the device has now."""
        path = self.path(ask.volume.id)
        if not path.exists():
            return
        self._must(("resize", path.name, "--key-file", "-"), ask, "cannot grow")
        if fd is not None:
            number = path.stat().st_rdev
            found = next(iter(block.live_superblocks(number)), "")
            if found in {fs_type.value for fs_type in FsType}:
                size = int((block.directory(number) / "size").read_text(encoding="ascii")) * 512
                fill(fd, FsType(found), size)

    def close(self, volume_id: VolumeId) -> None:
        """Close its mapping; content where there is none. Raises BusyError, DeadlineError."""
        path = self.path(volume_id)
        if not path.exists():
            return
        if live := block.live_superblocks(path.stat().st_rdev):
            raise BusyError(f"{path} is still in use by {live[0]}: a process holds a file of it")
        outcome = self._run(("close", path.name), Deadline.after(30))
        if outcome.code and path.exists():
            raise BusyError(f"{path} cannot be closed: cryptsetup {outcome.failure}")

    def path(self, volume_id: VolumeId) -> Path:
        """Where its mapping appears."""
        return self._mapper / f"ringbolt-{hashlib.sha256(volume_id.encode()).hexdigest()[:32]}"

    # --- The header -----------------------------------------------------------------------------

    def _ensure_header(self, held: Held, policy: FormatPolicy, ask: Ask) -> bool:
        """Find one, or make one where nothing is; whether what is inside was never finished."""
        found = {one.name for one in find_signatures(held.read, held.size) if not one.copy}
        if found == {"luks"}:
            label = held.read(0, 4096)[_LABEL].split(b"\0", 1)[0].decode("utf-8", "replace")
            return label == _UNFINISHED and policy is FormatPolicy.IF_BLANK
        if policy is FormatPolicy.NEVER or found:
            what = ", ".join(sorted(found)) or "nothing that is known"
            raise NotBlankError(
                f"{held.name} has no LUKS header but {what}, and is not encrypted over it; nothing "
                "was written. With format: if-blank one is made where it holds zeros only"
            )
        blank = prove_blank(held)
        with blank.held.shown() as (path, fds):
            argv = ("luksFormat", "--type", "luks2", "--batch-mode", "--label", _UNFINISHED)
            pace = ("--pbkdf-memory", _MEMORY_KIB, "--key-file", "-")
            self._must((*argv, *pace, path), ask, "cannot be encrypted", fds)
        held.refresh()
        return True

    def _label(self, device: int, deadline: Deadline) -> None:
        argv = ("config", f"/proc/self/fd/{device}", "--label", _MADE)
        self._run(argv, deadline, Handed(fds=(device,)))

    def _open(self, device: int, ask: Ask) -> None:
        name = self.path(ask.volume.id).name
        only = ("--readonly",) if ask.volume.readonly else ()
        argv = ("open", "--type", "luks", "--key-file", "-", *only, f"/proc/self/fd/{device}", name)
        self._must(argv, ask, "cannot be opened", (device,))

    # --- What is inside -------------------------------------------------------------------------

    def _zero_inside(self, volume_id: VolumeId) -> None:
        """Write the zeros that the proof reads, where no signature is: it is all our own noise."""
        with hold(str(self.path(volume_id))) as held:
            if any(find_signatures(held.read, held.size)):
                return
            for offset, length in places_of(held.size):
                os.pwrite(held.fd, bytes(length), offset)
            os.fsync(held.fd)

    def _inside(self, volume_id: VolumeId, fs_type: FsType | None, policy: FormatPolicy) -> Device:
        return Device(DeviceKey.PATH, str(self.path(volume_id)), fs_type, policy)

    def _device(self, volume_id: VolumeId) -> DeviceBackend:
        path = os.path.realpath(self.path(volume_id))
        found = Found((Candidate(path, os.stat(path).st_rdev),))  # noqa: PTH116  # as text
        return DeviceBackend(lambda _key, _value: found, self._state_dir)

    # --- The program ----------------------------------------------------------------------------

    def _must(
        self, argv: tuple[str, ...], ask: Ask, failed: str, fds: tuple[int, ...] = ()
    ) -> None:
        outcome = self._run(argv, ask.deadline, Handed(_key(ask.secrets), fds))
        if outcome.code == _WRONG_KEY:
            raise MismatchError(f"{ask.volume.id}: the secret's {KEY!r} does not open it")
        if outcome.code:
            raise ConflictError(f"{ask.volume.id} {failed}: cryptsetup {outcome.failure}")

    def _run(self, argv: tuple[str, ...], deadline: Deadline, handed: Handed = _NOTHING) -> Outcome:
        program = self._node.program("cryptsetup") or "cryptsetup"
        # Without udev nobody else makes the nodes, and nobody answers who waits for it.
        alone = {} if Path("/run/udev/control").exists() else {"DM_DISABLE_UDEV": "1"}
        try:
            outcome = command.run(
                (program, *argv), {**ENVIRONMENT, **alone}, deadline.left_s(), handed
            )
        except FileNotFoundError:
            raise NotAvailableError(f"install {PACKAGES['cryptsetup']}") from None
        if outcome.code is None:
            raise DeadlineError(f"cryptsetup {argv[0]} took too long and was ended; try again")
        return outcome


def _key(secrets: Secrets) -> bytes:
    key = secrets.get(KEY)
    if not key:
        raise InvalidError(f"the secret's {KEY!r} is empty")
    return key
