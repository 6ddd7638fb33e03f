"""`python -m ringbolt.sandbox kubelet`: an embedded kubelet as a process of its own.

It prints each event as one line of JSON and ends on SIGTERM or SIGINT; SIGHUP restarts it.
"""

import asyncio
import json
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ringbolt.sandbox.events import Event
from ringbolt.sandbox.generation import GENERATIONS
from ringbolt.sandbox.kubelet import Kubelet
from ringbolt.sandbox.settings import Settings, TopologyPolicy


@click.command()
@click.option("--root", type=click.Path(path_type=Path), required=True, help="Its directory.")
@click.option("--generation", type=click.Choice(sorted(GENERATIONS)), default="1.36")
@click.option("--numa-nodes", type=click.IntRange(1, 8), default=1, help="How many.")
@click.option(
    "--policy", type=click.Choice([policy.value for policy in TopologyPolicy]), default="none"
)
def kubelet(root: Path, generation: str, numa_nodes: int, policy: str) -> None:
    """Run a kubelet whose directory is laid out like /var/lib/kubelet."""
    settings = Settings(tuple(range(numa_nodes)), TopologyPolicy(policy))
    asyncio.run(_run(Kubelet(root.absolute(), GENERATIONS[generation], settings)))


async def _run(kubelet: Kubelet) -> None:
    loop = asyncio.get_running_loop()
    orders: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, orders.put_nowait, number)
    reports = asyncio.create_task(_report(kubelet))
    async with kubelet:
        while await orders.get() is signal.SIGHUP:
            await kubelet.restart()
    kubelet.log.close()
    await reports


async def _report(kubelet: Kubelet) -> None:
    """Each event at once, with the node's status while the kubelet runs."""
    async for event in kubelet.events():
        click.echo(json.dumps(as_document(event, kubelet)))


def as_document(event: Event, kubelet: Kubelet) -> Mapping[str, Any]:
    """The event with its time since the epoch and what the node offers now."""
    document = asdict(event) | {"kind": event.kind.value}
    document["time_s"] = time.time() - (time.monotonic() - event.at_s)
    if kubelet.is_running:
        status = kubelet.node_status().items()
        document["node"] = {name: asdict(quantity) for name, quantity in status}
    return document
