"""`ringbolt doctor`: what this node needs, what of it is there, and what to do for the rest."""

import sys
from typing import Any

import click

from daemon import doctor as room
from daemon import doctor_network, doctor_node, doctor_volumes
from daemon.command_options import (
    CNI_BIN_DIR,
    CNI_CONF_DIR,
    CONFIG,
    KUBELET_DIR,
    OUTPUT,
    RUN_DIR,
    SOCKET,
    STATE_DIR,
)
from daemon.doctor import Checked, Places, Verdict
from daemon.showing import Table, show

CHECKS = (*doctor_node.CHECKS, *doctor_network.CHECKS, *doctor_volumes.CHECKS)


@click.command()
@CONFIG
@KUBELET_DIR
@RUN_DIR
@STATE_DIR
@CNI_BIN_DIR
@CNI_CONF_DIR
@SOCKET
@OUTPUT
def doctor(*, output: str, **options: Any) -> None:
    """Say what this node lacks, and what to do; exit 1 if it stops pods."""
    options["socket"] = options["socket"] or options["run_dir"] / "agent.sock"
    found = room.examine(room.look(Places(**options)), CHECKS)
    if output == "table":
        _print_table(found)
    else:
        show({"checks": [row(one) for one in found]}, output)
    if any(one.finding.verdict is Verdict.FAIL for one in found):
        sys.exit(1)


def row(one: Checked) -> dict[str, str]:
    """A check for programs."""
    finding = one.finding
    return {
        "name": one.name,
        "state": finding.verdict.value,
        "found": finding.what,
        "toDo": finding.todo,
    }


def _print_table(found: list[Checked]) -> None:
    table = Table("CHECK", "STATE", "FOUND", "TO DO")
    for one in found:
        table.add(*row(one).values())
    table.print()
