"""Which addresses of one network are taken: the tables `leases`, `runs` and `cursors`.

`leases` has a row for every address that is held or cools down, and its key is the last guard
against giving one twice. `runs` has the same addresses as unbroken runs, so that the next free one
is found by one look into an index, however full the range is. All of it works within the caller's
transaction; who may have what is decided elsewhere.
"""

import sqlite3

from ringbolt.network import pool
from ringbolt.network.settings import NetworkName


class Occupancy:
    """One network's taken addresses within a transaction; addresses are `pool`'s numbers."""

    def __init__(self, database: sqlite3.Connection, network: NetworkName) -> None:
        self._database = database
        self._network = network

    def next(self, slot: int, segments: tuple[pool.Segment, ...]) -> int | None:
        """The first free number after the one that `slot` was given last."""
        row = self._database.execute(
            "SELECT address FROM cursors WHERE network = ? AND slot = ?", (self._network, slot)
        ).fetchone()
        return pool.next_free(segments, int.from_bytes(row[0]) if row else None, self.run_end)

    def move_cursor(self, slot: int, number: int) -> None:
        """Remember what the slot was given last."""
        self._database.execute(
            "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)", (self._network, slot, _blob(number))
        )

    def coolest(self, segments: tuple[pool.Segment, ...]) -> int | None:
        """The one that has cooled the longest: better than a pod that does not start."""
        cooling = self._database.execute(
            "SELECT address FROM leases WHERE network = ? AND until IS NOT NULL ORDER BY until",
            (self._network,),
        )
        for (address,) in cooling:
            number = int.from_bytes(address)
            if any(one.first <= number <= one.last for one in segments):
                return number
        return None

    def holder(self, number: int) -> str | None:
        """The container that holds it."""
        row = self._database.execute(
            "SELECT container_id FROM leases JOIN attachments ON id = attachment"
            " WHERE leases.network = ? AND address = ?",
            (self._network, _blob(number)),
        ).fetchone()
        return str(row[0]) if row else None

    def hold(self, holder: int, slot: int, number: int) -> None:
        """Give it away. Raises sqlite3.IntegrityError if it is taken."""
        self._database.execute(
            "INSERT INTO leases (network, address, slot, attachment) VALUES (?, ?, ?, ?)",
            (self._network, _blob(number), slot, holder),
        )
        self._join_run(number)

    def forget(self, number: int) -> None:
        """Make it free, if it is not."""
        gone = self._database.execute(
            "DELETE FROM leases WHERE network = ? AND address = ?", (self._network, _blob(number))
        )
        if gone.rowcount:
            self._leave_run(number)

    def purge(self, now: float, limit: int) -> None:
        """Make free what has cooled down; `limit` -1 is all of it."""
        expired = self._database.execute(
            "SELECT address FROM leases WHERE network = ? AND until <= ? ORDER BY until LIMIT ?",
            (self._network, now, limit),
        ).fetchall()
        for (address,) in expired:
            self.forget(int.from_bytes(address))

    def count(self, segment: pool.Segment) -> tuple[int, int]:
        """How many are held, and how many cool down."""
        held, taken = self._database.execute(
            "SELECT count(attachment), count(*) FROM leases"
            " WHERE network = ? AND address BETWEEN ? AND ?",
            (self._network, _blob(segment.first), _blob(segment.last)),
        ).fetchone()
        return held, taken - held

    def run_end(self, number: int) -> int | None:
        """A `pool.RunEnd`."""
        run = self._run_before(number)
        return run[1] if run and run[1] >= number else None

    def _run_before(self, number: int) -> tuple[int, int] | None:
        """The last run that begins at or before the number."""
        row = self._database.execute(
            "SELECT first, last FROM runs WHERE network = ? AND first <= ?"
            " ORDER BY first DESC LIMIT 1",
            (self._network, _blob(number)),
        ).fetchone()
        return (int.from_bytes(row[0]), int.from_bytes(row[1])) if row else None

    def _join_run(self, number: int) -> None:
        first = last = number
        near = self._database.execute(
            "SELECT first, last FROM runs WHERE network = ? AND first <= ?"
            " ORDER BY first DESC LIMIT 2",
            (self._network, _blob(number + 1)),
        )
        for begin, end in near:
            if int.from_bytes(begin) == number + 1:
                last = int.from_bytes(end)
                self._delete_run(number + 1)
            elif int.from_bytes(end) == number - 1:
                first = int.from_bytes(begin)
        self._write_run(first, last)

    def _leave_run(self, number: int) -> None:
        run = self._run_before(number)
        assert run, "every leased address is in a run"
        first, last = run
        if first < number:
            self._write_run(first, number - 1)
        else:
            self._delete_run(first)
        if number < last:
            self._write_run(number + 1, last)

    def _write_run(self, first: int, last: int) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO runs VALUES (?, ?, ?)",
            (self._network, _blob(first), _blob(last)),
        )

    def _delete_run(self, first: int) -> None:
        self._database.execute(
            "DELETE FROM runs WHERE network = ? AND first = ?", (self._network, _blob(first))
        )


def _blob(number: int) -> bytes:
    """Sixteen bytes in network order, which SQLite compares as it compares numbers."""
    return number.to_bytes(pool.BYTES)
