"""`ringbolt pods`: which pods have a network, what they were given, and whether it is still so."""

import sys
from pathlib import Path

import click

from daemon import pods_report
from daemon.cni_networks import read_networks
from daemon.command_options import CNI_CONF_DIR, OUTPUT, RUN_DIR
from daemon.pods_report import Row
from daemon.showing import Table, show
from ringbolt.network.errors import NetworkError
from ringbolt.network.inspection import Inspection, inspect

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))
_STEPS = ((1_000_000_000, "G"), (1_000_000, "M"), (1000, "k"))


@click.command()
@RUN_DIR
@CNI_CONF_DIR
@OUTPUT
def pods(run_dir: Path, cni_conf_dir: Path, output: str) -> None:
    """Show pods' networks: addresses, links, host ports, limits, state.

    It looks by itself, with an agent or without, and changes nothing.
    """
    found, lacks = look(run_dir, cni_conf_dir)
    rows = [pods_report.attachment(one) for one in found.held]
    if output != "table":
        show({"attachments": rows, "lacks": lacks}, output)
        return
    columns = "POD", "ADDRESSES", "NETWORK", "INTERFACE", "CONTAINER"
    table = Table(*columns, "AGE", "HOST PORTS", "BANDWIDTH", "STATE")
    for row in rows:
        table.add(*_cells(row))
    if rows:
        table.print()
    else:
        table.remark("no pod has a network of Ringbolt's here")
    for lack in lacks:
        table.note(lack)


def look(run_dir: Path, cni_conf_dir: Path) -> tuple[Inspection, list[str]]:
    """What is attached, and what could not be found out; ends the command where nothing can."""
    lacks: list[str] = []
    networks = read_networks(cni_conf_dir, lacks)
    try:
        found = inspect(run_dir, networks)
    except (NetworkError, OSError) as error:
        click.echo(f"ringbolt: the pods' networks cannot be read: {error}", err=True)
        sys.exit(1)
    unknown = dict.fromkeys(one.lease.network for one in found.held if one.guessed)
    lacks += [
        f"nobody tells how {one} was set up, {cni_conf_dir} neither: its routes and exemptions are"
        " shown as they are, and not compared (see --cni-conf-dir)"
        for one in unknown
    ]
    return found, [*lacks, *found.lacks]


def _cells(row: Row) -> tuple[str, ...]:
    pod = "/".join(filter(None, (row["namespace"], row["pod"])))
    reasons = "; ".join(row["reasons"])
    return (
        pod or "-",
        " ".join(row["addresses"]),
        f"{row['network']} {row['mode']}",
        f"{row['interface']} {row['hostInterface']}",
        row["containerId"][:13],
        age(row["ageSeconds"]),
        " ".join(map(port, row["hostPorts"])),
        bandwidth(row["bandwidth"]),
        f"{row['state']} ({reasons})" if reasons else row["state"],
    )


def age(seconds: int) -> str:
    """As 3d, 5h, 7m, 9s."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def port(one: Row) -> str:
    """As 8080->80/tcp, 127.0.0.1:8000-8009->80-89/udp."""
    last = one["count"] - 1
    at = f"{one['hostIP']}:" if one["hostIP"] else ""
    ends = [
        f"{first}-{first + last}" if last else str(first)
        for first in (one["hostPort"], one["containerPort"])
    ]
    return f"{at}{ends[0]}->{ends[1]}/{one['protocol']}"


def bandwidth(limits: Row | None) -> str:
    """Rates in bits a second, as `in 80M out 8M`."""
    if not limits:
        return ""
    ways = (("in", limits["ingressRate"]), ("out", limits["egressRate"]))
    return " ".join(f"{way} {_rate(rate)}" for way, rate in ways if rate)


def _rate(bits: int) -> str:
    for size, unit in _STEPS:
        if bits >= size:
            return f"{bits / size:.3g}{unit}"
    return str(bits)
