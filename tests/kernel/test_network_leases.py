"""Leases of several processes that are killed at any instruction: none given twice, none lost."""

import ipaddress
import random
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from ringbolt.network.leases import Leases
from ringbolt.network.ledger import Ledger
from ringbolt.network.settings import NetworkName, Range

SUBNET = "10.88.0.0/27"
CAPACITY = 29

_WORK = """
import ipaddress, random, sys
from pathlib import Path
from ringbolt.network.attachment import ContainerId, InterfaceName, Key, PortMapping
from ringbolt.network.errors import NetworkError
from ringbolt.network.leases import Leases, Netns, Request
from ringbolt.network.ledger import Ledger
from ringbolt.network.settings import NetworkName, Range

folder, name, subnet, seed = sys.argv[1:]
choose = random.Random(seed)
leases = Leases(Ledger(Path(folder)))
sets = ((Range(ipaddress.ip_network(subnet)),), (Range(ipaddress.ip_network("fd00::/120")),))
held = {}
for turn in range(100_000):
    if held and choose.random() < 0.45:
        container = choose.choice(sorted(held))
        print("releasing", container, flush=True)
        leases.release(held.pop(container))
        print("released", container, flush=True)
        continue
    container = f"{name}-{seed}-{turn}"
    key = Key(ContainerId(container), InterfaceName("eth0"))
    port = PortMapping(choose.randrange(1000, 2000), 80)
    request = Request(NetworkName("pods"), key, Netns(4, turn), sets, ports=(port,))
    try:
        lease = leases.acquire(request).lease
    except NetworkError:
        print("refused", container, flush=True)
        continue
    held[container] = lease
    print("acquired", container, *lease.addresses, flush=True)
"""


def _start(folder: Path, name: str, seed: int) -> subprocess.Popen[str]:
    words = (sys.executable, "-c", _WORK, str(folder), name, SUBNET, str(seed))
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


class Account:
    """What the processes said, against what is on record."""

    def __init__(self) -> None:
        self.acquired: dict[str, list[str]] = {}
        self.perhaps_released: set[str] = set()

    def hear(self, line: str) -> None:
        verb, container, *addresses = line.split()
        if verb == "acquired":
            self.acquired[container] = addresses
        elif verb == "releasing":
            self.perhaps_released.add(container)
        elif verb == "released":
            self.acquired.pop(container)
            self.perhaps_released.discard(container)

    def compare(self, leases: Leases) -> None:
        found = {str(one.key.container_id): list(map(str, one.addresses)) for one in leases.all()}
        given = [address for one in found.values() for address in one]
        assert len(given) == len(set(given))
        assert all(len(one) == 2 for one in found.values()), "all addresses or none"
        for container, addresses in self.acquired.items():
            if container not in self.perhaps_released:
                assert found.get(container) == addresses
        ranges = (Range(ipaddress.ip_network(SUBNET)),)
        usage = leases.usage(NetworkName("pods"), ranges, ())
        assert usage.capacity == CAPACITY
        assert usage.held == len(found)


def test_killed_processes_neither_lose_nor_double_an_address(tmp_path: Path) -> None:
    choose = random.Random(20)
    account = Account()
    for turn in range(12):
        with ExitStack() as undo:
            working = [undo.enter_context(_start(tmp_path, name, turn)) for name in "ab"]
            for one in working:
                assert one.stdout
                for _ in range(choose.randrange(1, 60)):
                    account.hear(one.stdout.readline())
            for one in working:
                one.kill()
                assert one.stdout
                for line in one.stdout:
                    if line.endswith("\n"):
                        account.hear(line)
        leases = Leases(Ledger(tmp_path))
        account.compare(leases)
        for lease in leases.all():
            leases.release(lease)
        with leases._ledger.read() as database:
            taken = database.execute("SELECT count(*) FROM leases").fetchone()
            spans = database.execute("SELECT first, last FROM runs").fetchall()
            assert database.execute("SELECT count(*) FROM ports").fetchone() == (0,)
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        inside = sum(int.from_bytes(last) - int.from_bytes(first) + 1 for first, last in spans)
        assert (inside,) == taken, "what cools down is in the runs and nothing else is"
        leases.close()
        account = Account()
