"""`ringbolt devices`: what is found, which resource it serves, who holds it."""

from pathlib import Path

import click

from daemon import report
from daemon.command_options import CONFIG, KUBELET_DIR, OUTPUT, STATE_DIR
from daemon.refusal import telling_refusals
from daemon.showing import Table, show
from daemon.survey import Survey, survey


@click.command()
@CONFIG
@KUBELET_DIR
@STATE_DIR
@OUTPUT
@click.option("--all", "show_all", is_flag=True, help="Also the nodes that no resource takes.")
def devices(
    config: Path, kubelet_dir: Path, state_dir: Path, output: str, *, show_all: bool
) -> None:
    """Show devices, their resources and holders.

    It looks by itself, without the agent; what the agent has judged of their health, and tells the
    kubelet, is on the agent's page /devices.
    """
    with telling_refusals():
        found = survey(config, kubelet_dir, state_dir)
    if output == "table":
        _print_table(found, show_all=show_all)
        return
    document = {
        "devices": report.rows(found.snapshot, found.held),
        "unserved": report.unserved(found.snapshot),
        "lacks": list(found.lacks),
    }
    show(document, output)


def _print_table(found: Survey, *, show_all: bool) -> None:
    table = Table("RESOURCE", "DEVICE", "STATE", "NODES", "WHAT", "HELD BY")
    rows = report.rows(found.snapshot, found.held)
    for row in rows:
        table.add(*_cells(row))
    nodes = report.unserved(found.snapshot)
    for node in nodes if show_all or not rows else ():
        table.add("-", "-", "-", node["path"], _what(node), "")
    table.print()
    hidden = 0 if show_all or not rows else len(nodes)
    if hidden:
        table.remark(f"{hidden} more nodes serve no resource (--all shows them)")
    for lack in found.lacks:
        table.note(lack)


def _cells(row: report.Row) -> tuple[str, ...]:
    share = f" x{row['share']}" if row["share"] > 1 else ""
    return (
        row["resource"],
        row["id"] + share,
        row["state"] + (f" ({row['reason']})" if row["reason"] else ""),
        "\n".join(node["path"] for node in row["nodes"]),
        _what(row),
        "\n".join(held["holder"] for held in row["heldBy"]),
    )


def _what(row: report.Row) -> str:
    return " ".join(row[key] for key in ("vendor", "model", "serial") if row[key])
