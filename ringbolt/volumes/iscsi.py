"""Volumes that are logical units of iSCSI targets, by iscsiadm(8) and the node's iscsid.

Each has a session of its own, made with its own CHAP secrets, under an interface named by the
volume's id: so it is found again, and nobody rides on the session of another. A unit that another
session of this node uses is refused, since two mounts of one disk destroy it. What is on it is
treated as on any device of the node. iscsiadm's own files are private: a secret lies in them for as
long as it logs in.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ringbolt.linux import block
from ringbolt.linux.mount import MountPoint
from ringbolt.linux.private_files import Private, run_private
from ringbolt.volumes.ability import NODE, Ability
from ringbolt.volumes.aside import one_line, without_secrets
from ringbolt.volumes.backend import Ask
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.device import Candidate, DeviceBackend, Found
from ringbolt.volumes.errors import (
    ConflictError,
    DeadlineError,
    InvalidError,
    NotFoundError,
    RefusedError,
)
from ringbolt.volumes.filesystem import SAFE_OPTIONS
from ringbolt.volumes.locks import Locks
from ringbolt.volumes.mounts import Root
from ringbolt.volumes.nfs import check_host
from ringbolt.volumes.outcome import Created
from ringbolt.volumes.paths import Places
from ringbolt.volumes.spec import Device, DeviceKey, Iscsi, Kind
from ringbolt.volumes.volume import Secrets, Volume

_IQN = re.compile(r"(iqn|eui|naa)\.[a-z0-9][a-z0-9.:-]{0,218}", re.ASCII)
_PORTAL = re.compile(r"(?P<host>[^:]+|\[[^]]+\])(:(?P<port>\d{1,5}))?", re.ASCII)
_CHAP = {
    "username": "node.session.auth.username",
    "password": "node.session.auth.password",
    "usernameIn": "node.session.auth.username_in",
    "passwordIn": "node.session.auth.password_in",
}
_LARGEST_LUN = 16383
_PAUSE_S = 0.05
_LOGOUT_S = 30.0
_NOTHING = b""


class IscsiBackend:
    """The kind `iscsi`; `folder` is where iscsiadm has its configuration."""

    kind = Kind.ISCSI
    staged = True
    options = SAFE_OPTIONS

    def __init__(
        self, places: Places, node: Ability = NODE, folder: Path = Path("/etc/iscsi")
    ) -> None:
        self._state_dir = places.state_dir
        self._locks = Locks(places.run_dir, make=False)  # the room has made it
        self._node = node
        self._folder = folder

    def lacks(self) -> str:
        """The program, its configuration and the kernel's initiator."""
        if lack := self._node.lacks_program("iscsiadm") or self._node.lacks_module("iscsi_tcp"):
            return lack
        if not (self._folder / "initiatorname.iscsi").exists():
            return f"{self._folder} has no initiatorname.iscsi: show the agent the node's directory"
        return ""

    def validate(self, volume: Volume) -> None:
        """Raise InvalidError for what a logical unit cannot be."""
        spec = _spec(volume)
        portal = _PORTAL.fullmatch(spec.portal)
        check_host(portal["host"] if portal else spec.portal)
        if not _IQN.fullmatch(spec.iqn):
            raise InvalidError(f"{spec.iqn[:80]!r} is no name of a target (iqn.2026-01.org:disk)")
        if not 0 <= spec.lun <= _LARGEST_LUN:
            raise InvalidError(f"{spec.lun} is no number of a logical unit")
        if volume.block:
            raise InvalidError("an iscsi volume is published as a file system, not as a device")

    def create(self, ask: Ask) -> Created:
        """The target has it, or logging in says so."""
        return Created(ask.volume.id, None, fresh=False)

    def open_tree(self, ask: Ask, undo: ExitStack) -> int:
        """Log in, and mount what is on the unit. Raises ConflictError, what a device's do."""
        volume, spec = ask.volume, _spec(ask.volume)
        with self._locks.hold(f"iscsi {spec.iqn} {spec.lun}", "open", ask.deadline):
            undo.callback(self.release, volume)
            if self._session(volume) is None:
                self._login(ask)
            device = self._await_device(ask)
            self._require_alone(volume)
            return device.open_tree(_inner(ask), undo)

    def expand(self, ask: Ask, size: int, fd: int | None) -> int:
        """Let the file system have what the target gave the unit by now."""
        session = self._session(ask.volume)
        if session is None:
            raise NotFoundError(f"{ask.volume.id} is not mounted: it grows with its next mount")
        number = session.name.removeprefix("session")
        self._run((("-m", "session", "-r", number, "-R"),), _NOTHING, ask.deadline, ask.secrets)
        return self._await_device(ask).expand(_inner(ask), size, fd)

    def holds(self, volume: Volume, point: MountPoint, root: Root) -> bool:
        """By the device of its session."""
        node = self._unit(self._session(volume), _spec(volume).lun)
        return node is not None and _device(node, self._state_dir).holds(
            replace(volume, spec=_as_device(volume)), point, root
        )

    def release(self, volume: Volume) -> None:
        """Log out."""
        if self._session(volume) is not None:
            steps = (self._record(volume, "--op=new"), self._record(volume, "--logout"))
            self._run(steps, _NOTHING, Deadline.after(_LOGOUT_S), Secrets())

    def delete(self, volume: Volume) -> bool:
        """Never: it is the target's."""
        raise RefusedError(f"{_spec(volume).portal} has the data: delete it there")

    # --- Sessions, as sysfs has them ------------------------------------------------------------

    def _sessions(self, iqn: str) -> Iterator[Path]:
        for path in (self._node.sysfs / "class" / "iscsi_session").glob("session*"):
            if _text(path / "targetname") == iqn:
                yield path

    def _session(self, volume: Volume) -> Path | None:
        ours = (
            one
            for one in self._sessions(_spec(volume).iqn)
            if _text(one / "ifacename") == _interface(volume)
        )
        return next(ours, None)

    def _unit(self, session: Path | None, lun: int) -> str | None:
        """The node of a session's unit; None while there is none."""
        found = session.glob(f"device/target*/*:{lun}/block/*") if session else iter(())
        return next((f"/dev/{one.name}" for one in found), None)

    def _await_device(self, ask: Ask) -> DeviceBackend:
        """The kernel looks for units once a session stands; that takes it a moment."""
        spec = _spec(ask.volume)
        while (node := self._unit(self._session(ask.volume), spec.lun)) is None:
            if ask.deadline.left_s() == 0:
                raise NotFoundError(f"target {spec.iqn} has no unit {spec.lun} for this node")
            time.sleep(_PAUSE_S)
        return _device(node, self._state_dir)

    def _require_alone(self, volume: Volume) -> None:
        spec, own = _spec(volume), self._session(volume)
        for session in self._sessions(spec.iqn):
            node = self._unit(session, spec.lun) if session != own else None
            if node is None:
                continue
            try:
                os.close(block.open_exclusive(node, write=False))
            except OSError:
                raise ConflictError(
                    f"unit {spec.lun} of {spec.iqn} is in use on this node as {node}, by "
                    f"{_text(session / 'ifacename')}: two mounts of one disk would destroy it"
                ) from None

    # --- The program ----------------------------------------------------------------------------

    def _login(self, ask: Ask) -> None:
        spec = _spec(ask.volume)
        name = ("-m", "iface", "-I", _interface(ask.volume), "--op=new")
        steps = (name, self._record(ask.volume, "--op=new"), self._record(ask.volume, "--login"))
        self._run(steps, _settings(ask.secrets), ask.deadline, ask.secrets, spec.iqn)

    def _record(self, volume: Volume, verb: str) -> tuple[str, ...]:
        spec = _spec(volume)
        portal = spec.portal if _has_port(spec.portal) else f"{spec.portal}:3260"
        return ("-m", "node", "-T", spec.iqn, "-p", portal, "-I", _interface(volume), verb)

    def _run(
        self,
        steps: tuple[tuple[str, ...], ...],
        settings: bytes,
        deadline: Deadline,
        secrets: Secrets,
        what: str = "iscsi",
    ) -> None:
        program = self._node.program("iscsiadm") or "iscsiadm"
        name = self._folder / "initiatorname.iscsi"
        files = {"iscsid.conf": settings, name.name: name.read_bytes()}
        elsewhere = tuple(one for one in ("/var/lib/iscsi",) if os.path.isdir(one))  # noqa: PTH112
        private = Private(str(self._folder), files, elsewhere)
        outcome = run_private([(program, *one) for one in steps], private, deadline.left_s())
        if outcome.code is None:
            raise DeadlineError(f"{what}: iscsiadm took too long and was killed: is iscsid there?")
        if outcome.code:
            said = without_secrets(outcome.output, secrets).strip().rpartition("\n")[2]
            raise ConflictError(f"{what}: iscsiadm exited with {outcome.code}: {said[:300]}")


def _interface(volume: Volume) -> str:
    return f"ringbolt-{hashlib.sha256(volume.id.encode()).hexdigest()[:16]}"


def _settings(secrets: Secrets) -> bytes:
    """iscsid.conf, of which a new record is made: one setting a line, blanks at its ends lost."""
    lines = [b"node.startup = manual"]
    if secrets.values:
        lines.append(b"node.session.auth.authmethod = CHAP")
    names = [one for one in _CHAP if one in secrets.values or not one.endswith("In")]
    for name in names if secrets.values else ():
        value = one_line(secrets, name)
        if value != value.strip():
            raise InvalidError(
                f"the secret's {name!r} begins or ends with a blank: it would be lost"
            )
        lines.append(_CHAP[name].encode() + b" = " + value)
    return b"\n".join(lines) + b"\n"


def _device(node: str, state_dir: Path) -> DeviceBackend:
    found = Found((Candidate(node, os.stat(node).st_rdev),))  # noqa: PTH116  # as text
    return DeviceBackend(lambda _key, _value: found, state_dir)


def _as_device(volume: Volume) -> Device:
    spec = _spec(volume)
    return Device(DeviceKey.PATH, f"{spec.iqn}-lun-{spec.lun}", spec.fs_type, spec.format)


def _inner(ask: Ask) -> Ask:
    return replace(ask, volume=replace(ask.volume, spec=_as_device(ask.volume)))


def _has_port(portal: str) -> bool:
    found = _PORTAL.fullmatch(portal)
    return bool(found and found["port"])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _spec(volume: Volume) -> Iscsi:
    if not isinstance(volume.spec, Iscsi):
        raise RefusedError(f"{volume.kind.value} is not iscsi")
    return volume.spec
