"""Mounts that only a program can make: made where nobody sees them, taken over by descriptor.

The kernel's own interface would do for a plain NFS or SMB mount, but not for what the programs do
around it: names looked up, versions negotiated, rpc.statd started for locks, Kerberos tickets
found. All of that differs by distribution, and is theirs.
"""

import errno
from dataclasses import replace
from pathlib import Path

from ringbolt.linux.mount_program import Mounted, MountProgramError, Program, mount_program
from ringbolt.volumes.ability import PACKAGES
from ringbolt.volumes.backend import Ask
from ringbolt.volumes.errors import DeadlineError, InvalidError, NotAvailableError
from ringbolt.volumes.paths import Places
from ringbolt.volumes.volume import Secrets

LONGEST_S = 60.0
"""A kubelet waits two minutes for all of a pod, and tries again."""


class Aside:
    """Runs mount programs for the room of these places."""

    def __init__(self, places: Places) -> None:
        self._folder = places.run_dir / "volumes" / "aside"
        self._hidden = (places.kubelet_root,)

    def mount(self, program: Program, ask: Ask) -> Mounted:
        """Run one, for as long as the call may take.

        Raises DeadlineError, NotAvailableError, OSError with what the program said: never a secret.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = Path(program.argv[0]).name
        hidden = replace(program, hidden=(*program.hidden, *self._hidden))
        try:
            return mount_program(hidden, self._folder, min(LONGEST_S, ask.deadline.left_s()))
        except MountProgramError as error:
            raise _told(error, name, ask) from None


def _told(error: MountProgramError, name: str, ask: Ask) -> Exception:
    said = without_secrets(error.output, ask.secrets).strip().partition("\n")[0][:300]
    text = f"{ask.volume.id}: {error.strerror}" + (f": {said}" if said else "")
    if error.errno == errno.ETIMEDOUT:
        return DeadlineError(f"{text}; the server does not answer, or is somewhere else")
    if error.errno == errno.ENOENT and not said:
        where = f": install {PACKAGES[name]}" if name in PACKAGES else ""
        return NotAvailableError(f"{text}{where}")
    return OSError(error.errno or errno.EIO, text)


def without_secrets(text: str, secrets: Secrets) -> str:
    """What a program said, for people: some repeat what they were given."""
    for value in sorted(secrets.values.values(), key=len, reverse=True):
        hidden = value.decode("utf-8", "replace").strip()
        if hidden:
            text = text.replace(hidden, "***")
    return text


def one_line(secrets: Secrets, name: str) -> bytes:
    """A secret that a file of lines shall hold. Raises InvalidError, which does not show it."""
    value = secrets.get(name)
    if not value or any(byte in value for byte in b"\n\r\0"):
        raise InvalidError(
            f"the secret's {name!r} is empty or has a line break in it: remove it, perhaps at its "
            "end (`echo -n`)"
        )
    return value
