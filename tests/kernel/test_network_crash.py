"""A process that is killed while it attaches and detaches: what it leaves is collected."""

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from ringbolt.network.attachment import Bandwidth, ContainerId, InterfaceName, Key, PortMapping
from ringbolt.network.network import Network
from tests.kernel.network_lab import SETTINGS, attach, detach, links, network, pods, run

PORTS = (PortMapping(8080, 80),)
LIMITS = Bandwidth(8_000_000, 800_000, 8_000_000, 800_000)
MASQUERADED = replace(SETTINGS, masquerade=True)


def work(folder: str, seed: str) -> None:
    """Attach and detach two pods for ever, and say so; runs in a process of its own."""
    choose = random.Random(seed)
    with Network(Path(folder), coalesce=choose.random() < 0.5) as room, pods("a", "b") as (a, b):
        for turn in range(10_000):
            one, ports = ((a, PORTS), (b, ()))[turn % 2]
            room.add(attach(one, MASQUERADED, port_mappings=ports, bandwidth=LIMITS))
            os.write(1, b"+")
            if choose.random() < 0.8:
                room.delete(detach(one, MASQUERADED, gone=choose.random() < 0.3))
                os.write(1, b"-")


def _elements() -> list[object]:
    listed = json.loads(run("nft", "-j", "list", "map", "inet", "ringbolt", "ports4"))
    return next(one["map"].get("elem") for one in listed["nftables"] if "map" in one) or []


def test_what_a_killed_process_leaves_is_collected_and_attaching_goes_on(tmp_path: Path) -> None:
    choose = random.Random(7)
    program = f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\n"
    program += "from tests.kernel.test_network_crash import work; work(*sys.argv[1:])"
    with network(tmp_path) as room, pods("c") as (c,):
        for seed in range(8):
            words = (sys.executable, "-c", program, str(tmp_path), str(seed))
            with subprocess.Popen(words, stdout=subprocess.PIPE) as working:
                assert working.stdout
                assert working.stdout.read(choose.randrange(1, 40))
                working.kill()
            kept = room.add(attach(c, MASQUERADED))
            valid = frozenset([Key(ContainerId("c"), InterfaceName("eth0"))])
            room.collect(MASQUERADED, valid)
            assert set(links()) == {"lo", "rb0", kept.interfaces[1].name}
            assert _elements() == []
            assert [lease.key.container_id for lease in room.leases.all()] == ["c"]
            room.check(attach(c, MASQUERADED), kept)
