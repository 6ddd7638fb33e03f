"""Which attachment holds which addresses and host ports, for every process on the node.

Policy over the ledger's tables: all addresses of a pod or none, round robin, a cool-down, one
answer for one interface of one namespace however often it is asked. It knows no link and no
namespace but by number. Every call is one transaction, so a process may die anywhere in between.
"""

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, NewType

from ringbolt.network import departed, pool
from ringbolt.network.attachment import ContainerId, InterfaceName, Key, PortMapping
from ringbolt.network.departed import Departed
from ringbolt.network.errors import ConflictError, ExhaustedError, UnknownContainerError
from ringbolt.network.ledger import Ledger
from ringbolt.network.names import host_name
from ringbolt.network.occupancy import Occupancy
from ringbolt.network.settings import COOL_DOWN_S, IpAddress, NetworkName, RangeSet

AttachmentId = NewType("AttachmentId", int)
Clock = Callable[[], float]

_EVERY_ADDRESS = ""
_ALL = -1
_SALT_BITS = 32
_PURGED_AT_ONCE = 64
"""A lease expires at most as often as one is given, so this keeps up and bounds a call."""


class Netns(NamedTuple):
    """A network namespace as the kernel numbers it: `st_dev` and `st_ino` of its file."""

    dev: int
    ino: int


NOWHERE = Netns(0, 0)
"""Of an attachment whose namespace nobody told."""


@dataclass(frozen=True, slots=True)
class Request:
    """What an interface wants: one address of each of `sets`, those of `asked` by name.

    `note` is kept with it and not looked into.
    """

    network: NetworkName
    key: Key
    netns: Netns
    sets: tuple[RangeSet, ...]
    reserved: tuple[IpAddress, ...] = ()
    asked: tuple[IpAddress, ...] = ()
    ports: tuple[PortMapping, ...] = ()
    note: str = ""
    cool_down_s: float = COOL_DOWN_S


@dataclass(frozen=True, slots=True)
class Lease:
    """What it got; `host_name` is the name of the node's end and no other lease's.

    `born` is when, by the leases' clock: seconds since boot.
    """

    id: AttachmentId
    network: NetworkName
    key: Key
    netns: Netns
    host_name: str
    born: float
    note: str
    addresses: tuple[IpAddress, ...]


@dataclass(frozen=True, slots=True)
class Acquired:
    """`fresh` is False where the lease was there; `replaced` lost its namespace without a word."""

    lease: Lease
    fresh: bool
    replaced: Lease | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Addresses of one range set."""

    capacity: int
    held: int
    cooling: int


@dataclass(frozen=True, slots=True)
class Cooling:
    """An address that was given back and is nobody's before `until`, by the leases' clock."""

    network: NetworkName
    address: IpAddress
    until: float


def boot_time() -> float:
    """Seconds since boot, also those asleep; the same for every process."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Leases:
    """The leases of one node. Safe for threads; safe beside other processes."""

    def __init__(self, ledger: Ledger, clock: Clock = boot_time) -> None:
        self._ledger = ledger
        self._clock = clock

    def acquire(self, request: Request) -> Acquired:
        """Give the interface its addresses and ports, or the ones it has.

        The same container and interface in another namespace gets a new lease: the old namespace
        is gone, or the runtime forgot it. Raises ExhaustedError, ConflictError, InvalidError; then
        nothing has changed.
        """
        asked = pool.assign(request.asked, request.sets)
        with self._ledger.write() as database:
            known = _find(database, request.network, request.key)
            if known and known.netns == request.netns:
                return Acquired(known, fresh=False)
            now = self._clock()
            if known:
                why = "its container came again with another namespace"
                _release(database, known, now, request.cool_down_s, why)
            taken = Occupancy(database, request.network)
            taken.purge(now, _PURGED_AT_ONCE)
            number, name = _insert(database, request, now)
            numbers: list[int] = []
            for slot in range(len(request.sets)):
                numbers.append(_choose(taken, request, slot, asked.get(slot), now))
                taken.hold(number, slot, numbers[-1])
            _hold_ports(database, number, request.ports)
            addresses = tuple(map(pool.address_of, numbers))
            whose = request.network, request.key, request.netns
            lease = Lease(number, *whose, name, now, request.note, addresses)
            return Acquired(lease, fresh=True, replaced=known)

    def adopt(
        self, network: NetworkName, key: Key, addresses: tuple[IpAddress, ...], note: str
    ) -> bool:
        """Put down what another address management gave; False where key or address is known."""
        with self._ledger.write() as database:
            taken = Occupancy(database, network)
            numbers = [pool.number_of(one) for one in addresses]
            if _find(database, network, key) or any(map(taken.holder, numbers)):
                return False
            request = Request(network, key, NOWHERE, (), note=note)
            holder, _name = _insert(database, request, self._clock())
            for slot, number in enumerate(numbers):
                taken.forget(number)
                taken.hold(holder, slot, number)
            return True

    def rename(self, lease: Lease) -> Lease:
        """Another name for the node's end: somebody else's link has this one."""
        with self._ledger.write() as database:
            name = _free_name(database, lease.network, lease.key, secrets.randbits(_SALT_BITS))
            database.execute("UPDATE attachments SET host_name = ? WHERE id = ?", (name, lease.id))
            found = _find(database, lease.network, lease.key)
        if not found:
            raise UnknownContainerError(f"{lease.key.container_id} was released meanwhile")
        return found

    def find(self, network: NetworkName, key: Key) -> Lease | None:
        """The lease of an interface."""
        with self._ledger.read() as database:
            return _find(database, network, key)

    def is_held(self, lease: Lease) -> bool:
        """Whether this very lease is there still."""
        with self._ledger.read() as database:
            row = database.execute("SELECT 1 FROM attachments WHERE id = ?", (lease.id,))
            return row.fetchone() is not None

    def release(
        self, lease: Lease, cool_down_s: float = COOL_DOWN_S, why: str = "it was detached"
    ) -> bool:
        """Take back all of it; False where this very lease is not there any more."""
        with self._ledger.write() as database:
            return _release(database, lease, self._clock(), cool_down_s, why)

    def departed(self) -> tuple[Departed, ...]:
        """Whose leases were taken back of late, the last first."""
        with self._ledger.read() as database:
            return departed.read(database)

    def all(self, network: NetworkName | None = None) -> tuple[Lease, ...]:
        """Every lease, of one network or of all, the oldest first."""
        with self._ledger.read() as database:
            where = ("", ()) if network is None else (" WHERE network = ?", (network,))
            rows = database.execute(f"{_ATTACHMENT}{where[0]} ORDER BY id", where[1]).fetchall()
            return tuple(_lease(database, row) for row in rows)

    def cooling(self) -> tuple[Cooling, ...]:
        """The addresses that cool down now, the next to be free first."""
        with self._ledger.read() as database:
            rows = database.execute(
                "SELECT network, address, until FROM leases WHERE until > ? ORDER BY until",
                (self._clock(),),
            ).fetchall()
        return tuple(
            Cooling(NetworkName(network), pool.address_of(int.from_bytes(address)), until)
            for network, address, until in rows
        )

    def has_any(self, network: NetworkName) -> bool:
        """Whether anything of the network is leased."""
        with self._ledger.read() as database:
            row = database.execute("SELECT 1 FROM attachments WHERE network = ?", (network,))
            return row.fetchone() is not None

    def remember(self, network: NetworkName, settings: str) -> None:
        """Keep a text with the network, in place of the one before; not looked into."""
        with self._ledger.write() as database:
            database.execute("INSERT OR REPLACE INTO networks VALUES (?, ?)", (network, settings))

    def remembered(self, *, attached: bool = True) -> dict[NetworkName, str]:
        """The texts of the networks that have leases, or of all that ever had since boot."""
        with self._ledger.read() as database:
            rows = database.execute(
                "SELECT name, settings FROM networks WHERE ? OR name IN"
                " (SELECT DISTINCT network FROM attachments)",
                (not attached,),
            ).fetchall()
        return {NetworkName(name): text for name, text in rows}

    def usage(
        self, network: NetworkName, ranges: RangeSet, reserved: tuple[IpAddress, ...]
    ) -> Usage:
        """How full a range set is. Counts rows: for people and metrics, not for each call."""
        segments = pool.segments_of(ranges, reserved)
        with self._ledger.read() as database:
            taken = Occupancy(database, network)
            counts = [taken.count(one) for one in segments]
        capacity = sum(one.last - one.first + 1 for one in segments)
        return Usage(capacity, sum(c[0] for c in counts), sum(c[1] for c in counts))

    def has_free(
        self, network: NetworkName, ranges: RangeSet, reserved: tuple[IpAddress, ...]
    ) -> bool:
        """Whether `acquire` would find an address."""
        segments = pool.segments_of(ranges, reserved)
        with self._ledger.read() as database:
            taken = Occupancy(database, network)
            return pool.next_free(segments, None, taken.run_end) is not None or (
                taken.coolest(segments) is not None
            )

    def now(self) -> float:
        """The time by which leases are born."""
        return self._clock()

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()


# --- Steps of a transaction ------------------------------------------------------------------

_ATTACHMENT = (
    "SELECT id, network, container_id, ifname, netns_dev, netns_ino, host_name, born, note"
    " FROM attachments"
)
_Row = tuple[int, str, str, str, int, int, str, float, str]


def _find(database: sqlite3.Connection, network: NetworkName, key: Key) -> Lease | None:
    where = f"{_ATTACHMENT} WHERE network = ? AND container_id = ? AND ifname = ?"
    row = database.execute(where, (network, *key)).fetchone()
    return _lease(database, row) if row else None


def _lease(database: sqlite3.Connection, row: _Row) -> Lease:
    number, network, container_id, ifname, dev, ino, name, born, note = row
    held = database.execute(
        "SELECT address FROM leases WHERE attachment = ? ORDER BY slot", (number,)
    )
    return Lease(
        AttachmentId(number),
        NetworkName(network),
        Key(ContainerId(container_id), InterfaceName(ifname)),
        Netns(dev, ino),
        name,
        born,
        note,
        tuple(pool.address_of(int.from_bytes(address)) for (address,) in held),
    )


def _insert(database: sqlite3.Connection, request: Request, now: float) -> tuple[AttachmentId, str]:
    """The attachment's row; its id, and the name of the node's end."""
    name = _free_name(database, request.network, request.key)
    cursor = database.execute(
        "INSERT INTO attachments (network, container_id, ifname, netns_dev, netns_ino, host_name,"
        " born, note) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (request.network, *request.key, *request.netns, name, now, request.note),
    )
    assert cursor.lastrowid is not None, "a row was inserted"
    return AttachmentId(cursor.lastrowid), name


def _free_name(database: sqlite3.Connection, network: NetworkName, key: Key, salt: int = 0) -> str:
    while True:
        name = host_name(network, key, salt)
        taken = database.execute("SELECT 1 FROM attachments WHERE host_name = ?", (name,))
        if not taken.fetchone():
            return name
        salt += 1


def _choose(
    taken: Occupancy, request: Request, slot: int, asked: IpAddress | None, now: float
) -> int:
    """The number that a slot gets. Raises ExhaustedError or ConflictError."""
    ranges = request.sets[slot]
    if asked is not None:
        return _claim(taken, asked, ranges)
    segments = pool.segments_of(ranges, request.reserved)
    number = taken.next(slot, segments)
    if number is None:
        taken.purge(now, _ALL)
        number = taken.next(slot, segments)
    if number is None:
        number = taken.coolest(segments)
        if number is None:
            raise ExhaustedError(
                f"failed to allocate for range {slot}: no IP addresses available in range set: "
                f"{pool.describe(ranges)}"
            )
        taken.forget(number)
    taken.move_cursor(slot, number)
    return number


def _claim(taken: Occupancy, asked: IpAddress, ranges: RangeSet) -> int:
    """An address asked for by name; whoever asks for one that cools down wants that very one."""
    number = pool.number_of(asked)
    if holder := taken.holder(number):
        raise ConflictError(
            f"requested IP address {asked} is not available in range set {pool.describe(ranges)}:"
            f" container {holder} has it"
        )
    taken.forget(number)
    return number


def _hold_ports(
    database: sqlite3.Connection, holder: AttachmentId, ports: Iterable[PortMapping]
) -> None:
    for one in ports:
        host_ip = _EVERY_ADDRESS if one.host_ip is None else str(one.host_ip)
        for port in range(one.host_port, one.host_port + one.count):
            row = (one.protocol.value, host_ip, port)
            try:
                database.execute("INSERT INTO ports VALUES (?, ?, ?, ?)", (*row, holder))
            except sqlite3.IntegrityError:
                raise ConflictError(_port_conflict(database, row)) from None


def _port_conflict(database: sqlite3.Connection, row: tuple[str, str, int]) -> str:
    (other,) = database.execute(
        "SELECT container_id FROM ports JOIN attachments ON id = attachment"
        " WHERE protocol = ? AND host_ip = ? AND port = ?",
        row,
    ).fetchone()
    where = f"{row[1]} " if row[1] else ""
    return f"host port {where}{row[2]}/{row[0]} leads to container {other} already"


def _release(
    database: sqlite3.Connection, lease: Lease, now: float, cool_down_s: float, why: str
) -> bool:
    """Take back addresses (to cool down) and ports; False where it is not there."""
    if not database.execute("SELECT 1 FROM attachments WHERE id = ?", (lease.id,)).fetchone():
        return False
    departed.put_down(database, lease.id, now, why)
    database.execute(
        "UPDATE leases SET attachment = NULL, until = ? WHERE attachment = ?",
        (now + cool_down_s, lease.id),
    )
    database.execute("DELETE FROM ports WHERE attachment = ?", (lease.id,))
    database.execute("DELETE FROM attachments WHERE id = ?", (lease.id,))
    return True
