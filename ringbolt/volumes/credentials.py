"""What tells mounts apart that were made with different secrets: a mark that gives nothing away.

One mount serves all who share a volume, with the rights of whoever's password it was made with. So
the mark is a part of the volume's id: another password is another volume. It is keyed by bytes of
the run directory that are made once a boot, and that only root reads.
"""

import hashlib
import hmac
import os
from contextlib import suppress
from pathlib import Path

from ringbolt.volumes.volume import Secrets

_KEY_BYTES = 32
_MARK_DIGITS = 32


class Credentials:
    """Of one run directory."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "volumes" / "credentials.key"

    def mark(self, secrets: Secrets) -> str:
        """The same for the same secrets until the next boot; empty where there are none."""
        if not secrets.values:
            return ""
        digest = hmac.new(self._key(), digestmod=hashlib.sha256)
        for name, value in sorted(secrets.values.items()):
            for part in (name.encode("utf-8", "surrogateescape"), value):
                digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()[:_MARK_DIGITS]

    def _key(self) -> bytes:
        """Whoever comes first makes it, whole or not at all. Raises OSError."""
        with suppress(FileNotFoundError):
            return self._path.read_bytes()
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = self._path.with_suffix(f".{os.getpid()}")
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(aside, flags, 0o600), "wb") as file:
            file.write(os.urandom(_KEY_BYTES))
        with suppress(FileExistsError):
            os.link(aside, self._path)
        aside.unlink()
        return self._path.read_bytes()
