"""The leases' policy: properties against a model, and the sentences that users know."""

import ipaddress
import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ringbolt.network.attachment import ContainerId, InterfaceName, Key, PortMapping
from ringbolt.network.errors import (
    ConflictError,
    ExhaustedError,
    InvalidError,
    NotAvailableError,
)
from ringbolt.network.leases import Lease, Leases, Netns, Request
from ringbolt.network.ledger import Ledger
from ringbolt.network.names import is_host_name
from ringbolt.network.settings import IpAddress, NetworkName, Range, RangeSet

NETWORK = NetworkName("pods")
SMALL: tuple[RangeSet, ...] = (
    (Range(ipaddress.ip_network("10.0.0.0/29")), Range(ipaddress.ip_network("10.0.1.0/30"))),
    (Range(ipaddress.ip_network("fd00::/124")),),
)
CAPACITY = 6


def _ip(text: str) -> IpAddress:
    return ipaddress.ip_address(text)


class Clock:
    """Time that stands still until it is told to go on."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Lab:
    """Leases in a folder, asked for by short words."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.folder = folder
        self.leases = Leases(Ledger(folder, lambda: "boot"), self.clock)

    def get(  # the words a test needs
        self,
        container: str,
        *asked: str,
        netns: int = 0,
        sets: tuple[RangeSet, ...] = SMALL,
        ports: tuple[PortMapping, ...] = (),
        network: str = NETWORK,
        reserved: tuple[str, ...] = (),
    ) -> Lease:
        request = Request(
            NetworkName(network),
            Key(ContainerId(container), InterfaceName("eth0")),
            Netns(4, netns or hash(container) & 0xFFFF),
            sets,
            asked=tuple(map(_ip, asked)),
            ports=ports,
            reserved=tuple(map(_ip, reserved)),
        )
        return self.leases.acquire(request).lease

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with self.leases._ledger.read() as database:
            return cast("list[tuple[object, ...]]", database.execute(query).fetchall())


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.leases.close()


def _texts(lease: Lease) -> list[str]:
    return [str(one) for one in lease.addresses]


def test_a_pod_gets_one_address_of_each_set(lab: Lab) -> None:
    assert _texts(lab.get("a")) == ["10.0.0.2", "fd00::2"]
    assert _texts(lab.get("b")) == ["10.0.0.3", "fd00::3"]


def test_the_same_interface_of_the_same_namespace_keeps_its_lease(lab: Lab) -> None:
    first = lab.get("a", netns=7)
    assert lab.get("a", netns=7) == first


def test_a_container_in_a_new_namespace_gets_a_new_lease(lab: Lab) -> None:
    old = lab.get("a", netns=7)
    new = lab.get("a", netns=8)
    assert set(old.addresses).isdisjoint(new.addresses)
    assert lab.leases.all() == (new,)


def test_addresses_go_round_before_they_come_back(lab: Lab) -> None:
    seen: list[str] = []
    for _ in range(CAPACITY):
        lease = lab.get("a")
        lab.leases.release(lease)
        seen += _texts(lease)[:1]
        lab.clock.now += 60
    assert len(set(seen)) == CAPACITY
    assert _texts(lab.get("a"))[0] == seen[0]


def test_an_address_cools_down(lab: Lab) -> None:
    only: tuple[RangeSet, ...] = ((Range(_net("10.0.0.0/29"), _ip("10.0.0.2"), _ip("10.0.0.4")),),)
    held = lab.get("keeps", sets=only)
    lab.leases.release(lab.get("a", sets=only))
    assert _texts(lab.get("b", sets=only)) == ["10.0.0.4"]
    assert _texts(held) == ["10.0.0.2"]


def test_where_nothing_else_is_left_the_coolest_is_given(lab: Lab) -> None:
    sets: tuple[RangeSet, ...] = ((Range(_net("10.0.0.0/30")),),)
    lab.leases.release(lab.get("a", sets=sets))
    assert _texts(lab.get("b", sets=sets)) == ["10.0.0.2"]


def test_all_addresses_or_none(lab: Lab) -> None:
    sets: tuple[RangeSet, ...] = (SMALL[0], (Range(_net("fd00::/126")),))
    lab.get("a", sets=sets)
    lab.get("b", sets=sets)
    before = lab.rows("SELECT * FROM leases")
    with pytest.raises(
        ExhaustedError,
        match="for range 1: no IP addresses available in range set: fd00::1-fd00::3",
    ):
        lab.get("c", sets=sets)
    assert lab.rows("SELECT * FROM leases") == before
    assert len(lab.leases.all()) == 2


def test_addresses_can_be_asked_for(lab: Lab) -> None:
    assert _texts(lab.get("a", "fd00::9")) == ["10.0.0.2", "fd00::9"]
    with pytest.raises(ConflictError, match="container a has it"):
        lab.get("b", "fd00::9")
    with pytest.raises(InvalidError):
        lab.get("b", "192.0.2.1")


def test_one_who_asks_for_an_address_gets_it_while_it_cools_down(lab: Lab) -> None:
    lab.leases.release(lab.get("a", "10.0.0.5"))
    assert _texts(lab.get("a", "10.0.0.5"))[0] == "10.0.0.5"


def test_what_is_reserved_is_given_only_when_asked_for(lab: Lab) -> None:
    assert _texts(lab.get("a", reserved=("10.0.0.2",)))[0] == "10.0.0.3"
    assert _texts(lab.get("b", "10.0.0.2", reserved=("10.0.0.2",)))[0] == "10.0.0.2"


def test_networks_do_not_meet(lab: Lab) -> None:
    assert _texts(lab.get("a")) == _texts(lab.get("a", network="other"))
    assert lab.get("a").host_name != lab.get("a", network="other").host_name


def test_a_host_port_has_one_holder(lab: Lab) -> None:
    taken = lab.get("a", ports=(PortMapping(8000, 80, count=3),))
    with pytest.raises(ConflictError, match="host port 8002/tcp leads to container a already"):
        lab.get("b", ports=(PortMapping(8002, 80),))
    assert len(lab.leases.all()) == 1
    lab.get("c", ports=(PortMapping(8002, 80, host_ip=_ip("192.0.2.1")),))
    lab.leases.release(taken)
    lab.get("b", ports=(PortMapping(8002, 80),))


def test_releasing_twice_is_no_harm(lab: Lab) -> None:
    lease = lab.get("a")
    assert lab.leases.release(lease)
    assert not lab.leases.release(lease)
    again = lab.get("a")
    assert not lab.leases.release(lease), "an old lease does not take the new one along"
    assert lab.leases.all() == (again,)


def test_another_boot_knows_nothing_of_this_one(tmp_path: Path) -> None:
    before = Lab(tmp_path)
    before.get("a")
    before.leases.close()
    after = Leases(Ledger(tmp_path, lambda: "next"))
    assert after.all() == ()
    after.close()
    assert [path.name for path in tmp_path.iterdir() if "boot" in path.name] == []


def test_the_last_guard_refuses_a_second_holder(lab: Lab) -> None:
    lab.get("a")
    with pytest.raises(sqlite3.IntegrityError), lab.leases._ledger.write() as database:
        database.execute("INSERT INTO leases SELECT network, address, 9, 1, NULL FROM leases")


def test_what_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotAvailableError, match="free space and write permission"):
        Ledger(tmp_path / "file" / "run", lambda: "boot")


def test_a_damaged_ledger_is_told_from_one_that_cannot_be_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, lambda: "boot")
    ledger.close()
    ledger.path.write_bytes(b"no database, as far as anyone can see" * 40)
    with pytest.raises(NotAvailableError, match="drain the node, then delete it"):
        Ledger(tmp_path, lambda: "boot")


def test_a_full_range_of_65000_is_searched_by_a_few_looks(lab: Lab) -> None:
    sets: tuple[RangeSet, ...] = ((Range(_net("10.0.0.0/16")),),)
    with lab.leases._ledger.write() as database:
        database.execute(
            "INSERT INTO runs VALUES ('pods', ?, ?)", (_blob("10.0.0.2"), _blob("10.0.255.253"))
        )
    looks: list[str] = []
    with lab.leases._ledger.read() as database:
        database.set_trace_callback(looks.append)
    assert _texts(lab.get("a", sets=sets)) == ["10.0.255.254"]
    assert len(looks) < 25


def test_no_question_on_the_way_of_a_pod_reads_a_whole_table(lab: Lab) -> None:
    looks: set[str] = set()
    with lab.leases._ledger.read() as database:
        database.set_trace_callback(looks.add)
    lab.leases.release(lab.get("a", ports=(PortMapping(80, 80),)))
    with lab.leases._ledger.read() as database:
        database.set_trace_callback(None)
        asked = [look for look in looks if look.startswith(("SELECT", "UPDATE", "DELETE"))]
        plans = [p for q in asked for p in database.execute(f"EXPLAIN QUERY PLAN {q}")]
    assert asked
    assert [plan for plan in plans if plan[3].startswith("SCAN")] == []


def _net(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text)


def _blob(text: str) -> bytes:
    return ipaddress.ip_address(f"::ffff:{text}").packed


class Model(RuleBasedStateMachine):
    """Leases beside a model that knows only sets."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.lab = Lab(self.folder)
        self.held: dict[str, Lease] = {}

    def teardown(self) -> None:
        self.lab.leases.close()
        shutil.rmtree(self.folder)

    @rule(container=st.sampled_from("abcdefgh"), netns=st.integers(1, 2))
    def add(self, container: str, netns: int) -> None:
        known = self.held.get(container)
        try:
            lease = self.lab.get(container, netns=netns)
        except ExhaustedError:
            assert container not in self.held
            assert len(self.held) == CAPACITY
            return
        if known and known.netns.ino == netns:
            assert lease == known
        self.held[container] = lease

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        container = data.draw(st.sampled_from(sorted(self.held)))
        assert self.lab.leases.release(self.held.pop(container))

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.lab.clock.now += seconds

    @rule()
    def restart(self) -> None:
        self.lab.leases.close()
        clock = self.lab.clock
        self.lab = Lab(self.folder)
        self.lab.clock.now = clock.now

    @invariant()
    def every_holder_has_what_the_model_says(self) -> None:
        assert sorted(self.lab.leases.all(), key=lambda lease: lease.key) == sorted(
            self.held.values(), key=lambda lease: lease.key
        )
        given = [address for lease in self.held.values() for address in lease.addresses]
        assert len(given) == len(set(given)) == 2 * len(self.held)
        names = {lease.host_name for lease in self.held.values()}
        assert len(names) == len(self.held)
        assert all(is_host_name(name) for name in names)

    @invariant()
    def runs_are_the_unbroken_runs_of_the_taken_addresses(self) -> None:
        taken = sorted(_int(a) for (a,) in self.lab.rows("SELECT address FROM leases"))
        runs = self.lab.rows("SELECT first, last FROM runs ORDER BY first")
        spans = [(_int(first), _int(last)) for first, last in runs]
        assert [n for first, last in spans for n in range(first, last + 1)] == taken
        assert all(one[1] + 1 < other[0] for one, other in itertools.pairwise(spans))


def _int(value: object) -> int:
    assert isinstance(value, bytes)
    return int.from_bytes(value)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
