"""Who was attached until a moment ago, and why no more: the table `departed`, for people.

The last few hundred are kept, in the transaction that takes the lease back. Nothing is decided by
it. All of it works within the caller's transaction.
"""

import sqlite3
from dataclasses import dataclass
from typing import Any

from ringbolt.network import pool
from ringbolt.network.attachment import ContainerId, InterfaceName, Key, Pod
from ringbolt.network.record import Record
from ringbolt.network.settings import NetworkName

_KEPT = 256


@dataclass(frozen=True, slots=True)
class Departed:
    """An attachment that was taken back at `gone`, by the clock of the leases; `why` in words."""

    network: NetworkName
    key: Key
    pod: Pod
    host_name: str
    addresses: tuple[str, ...]
    gone: float
    why: str


def put_down(database: sqlite3.Connection, attachment: int, gone: float, why: str) -> None:
    """Keep what is known of an attachment whose row is still there; the oldest make room."""
    held = database.execute("SELECT address FROM leases WHERE attachment = ?", (attachment,))
    addresses = b"".join(address for (address,) in held)
    cursor = database.execute(
        "INSERT INTO departed"
        " (network, container_id, ifname, host_name, note, addresses, gone, why)"
        " SELECT network, container_id, ifname, host_name, note, ?, ?, ?"
        " FROM attachments WHERE id = ?",
        (addresses, gone, why, attachment),
    )
    database.execute("DELETE FROM departed WHERE id <= ?", ((cursor.lastrowid or 0) - _KEPT,))


def read(database: sqlite3.Connection) -> tuple[Departed, ...]:
    """Those that are kept, the last to go first."""
    if not database.execute("PRAGMA table_info(departed)").fetchall():
        return ()  # an older agent made this database
    rows = database.execute(
        "SELECT network, container_id, ifname, host_name, note, addresses, gone, why"
        " FROM departed ORDER BY id DESC"
    ).fetchall()
    return tuple(_departed(*row) for row in rows)


def _departed(  # a row has these columns
    network: str, container_id: str, ifname: str, host_name: str, note: str, *rest: Any
) -> Departed:
    addresses, gone, why = rest
    record = Record.from_json(note)
    leased = [
        pool.address_of(int.from_bytes(addresses[at : at + pool.BYTES]))
        for at in range(0, len(addresses), pool.BYTES)
    ]
    given = [one.address.ip for one in record.given]
    return Departed(
        NetworkName(network),
        Key(ContainerId(container_id), InterfaceName(ifname)),
        record.pod,
        host_name,
        tuple(map(str, leased or given)),
        gone,
        why,
    )
