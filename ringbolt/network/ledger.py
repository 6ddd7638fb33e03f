"""The file behind the leases: one SQLite database per boot, its tables, its transactions.

What the tables mean is the leases' affair. The database describes kernel objects, which a reboot
destroys; its name holds the boot's id, so what another boot wrote is never read, whole or torn.
That also frees it from syncing: a process that is killed loses nothing, a machine everything.
"""

import errno
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from ringbolt.network.errors import NotAvailableError, TryAgainError

_BUSY_TIMEOUT_S = 5.0
"""Another process holds the database for a millisecond; this is for one that was stopped."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS attachments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    network TEXT NOT NULL,
    container_id TEXT NOT NULL,
    ifname TEXT NOT NULL,
    netns_dev INTEGER NOT NULL,
    netns_ino INTEGER NOT NULL,
    host_name TEXT NOT NULL UNIQUE,
    born REAL NOT NULL,
    note TEXT NOT NULL,
    UNIQUE (network, container_id, ifname)
);
CREATE TABLE IF NOT EXISTS leases (
    network TEXT NOT NULL,
    address BLOB NOT NULL,
    slot INTEGER NOT NULL,
    attachment INTEGER REFERENCES attachments (id),
    until REAL,
    PRIMARY KEY (network, address),
    CHECK ((attachment IS NULL) = (until IS NOT NULL))
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS leases_held ON leases (attachment) WHERE attachment IS NOT NULL;
CREATE INDEX IF NOT EXISTS leases_cooling ON leases (network, until) WHERE until IS NOT NULL;
CREATE TABLE IF NOT EXISTS runs (
    network TEXT NOT NULL,
    first BLOB NOT NULL,
    last BLOB NOT NULL,
    PRIMARY KEY (network, first)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cursors (
    network TEXT NOT NULL,
    slot INTEGER NOT NULL,
    address BLOB NOT NULL,
    PRIMARY KEY (network, slot)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ports (
    protocol TEXT NOT NULL,
    host_ip TEXT NOT NULL,
    port INTEGER NOT NULL,
    attachment INTEGER NOT NULL REFERENCES attachments (id),
    PRIMARY KEY (protocol, host_ip, port)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ports_held ON ports (attachment);
CREATE TABLE IF NOT EXISTS departed (
    id INTEGER PRIMARY KEY,
    network TEXT NOT NULL,
    container_id TEXT NOT NULL,
    ifname TEXT NOT NULL,
    host_name TEXT NOT NULL,
    note TEXT NOT NULL,
    addresses BLOB NOT NULL,
    gone REAL NOT NULL,
    why TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS networks (
    name TEXT PRIMARY KEY,
    settings TEXT NOT NULL
) WITHOUT ROWID;
"""


def read_boot_id(proc: Path = Path("/proc")) -> str:
    """The running kernel's boot id."""
    return (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def ledger_path(run_dir: Path, boot_id: Callable[[], str] = read_boot_id) -> Path:
    """Where the ledger of this boot is, if there is one."""
    return run_dir / f"leases-{boot_id()}.sqlite"


class Ledger:
    """An open database; usable from every thread, one transaction at a time.

    `read_only` makes and changes nothing: the file is there (`ledger_path`), and `write` fails.
    Raises NotAvailableError where the directory cannot be written, here and in `write`.
    """

    def __init__(
        self,
        run_dir: Path,
        boot_id: Callable[[], str] = read_boot_id,
        *,
        read_only: bool = False,
    ) -> None:
        self.path = ledger_path(run_dir, boot_id)
        self._turn = threading.Lock()
        with self._explained():
            if read_only:
                self._database = _open_read_only(self.path)
                return
            run_dir.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self.path.chmod(0o600)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute("PRAGMA foreign_keys = ON")
            if not self._database.execute("PRAGMA table_info(departed)").fetchall():
                self._database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            self._forget_other_boots(run_dir)

    def _forget_other_boots(self, run_dir: Path) -> None:
        for path in run_dir.glob("leases-*.sqlite*"):
            if not path.name.startswith(self.path.name):
                path.unlink(missing_ok=True)

    @contextmanager
    def write(self) -> Generator[sqlite3.Connection]:
        """A transaction that excludes every other writer, also of other processes.

        Raises TryAgainError where another held it for too long.
        """
        with self._turn, self._explained():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._roll_back()
                raise
            self._commit()

    def _commit(self) -> None:
        try:
            self._database.execute("COMMIT")
        except sqlite3.Error:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        # A full disk makes SQLite roll back by itself.
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")

    @contextmanager
    def read(self) -> Generator[sqlite3.Connection]:
        """For single SELECTs, which never wait for a writer of another process."""
        with self._turn, self._explained():
            yield self._database

    def close(self) -> None:
        """Close it; can be repeated."""
        with self._turn:
            self._database.close()

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise TryAgainError(f"{self.path} was locked for {_BUSY_TIMEOUT_S:g} s") from error
            raise NotAvailableError(f"{self.path}: {error}: {_ADVICE}") from error
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            is_damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
            advice = _WHEN_DAMAGED if is_damaged else _ADVICE
            raise NotAvailableError(f"{self.path}: {error}: {advice}") from error
        except OSError as error:
            if error.errno not in {errno.EROFS, errno.ENOSPC, errno.EACCES, errno.ENOTDIR}:
                raise
            raise NotAvailableError(f"{self.path}: {error.strerror}: {_ADVICE}") from error


def _open_read_only(path: Path) -> sqlite3.Connection:
    """Raises sqlite3.OperationalError where it may not be read."""
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    database.execute("SELECT 1 FROM attachments LIMIT 1")
    return database


_ADVICE = "give its directory free space and write permission"
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_WHEN_DAMAGED = "somebody damaged it: drain the node, then delete it or reboot"
