"""`ringbolt devices`: what is found, which resource it serves, who holds it."""

import json
import os
from pathlib import Path

import click
import yaml

from daemon import report
from daemon.command_options import CONFIG, KUBELET_DIR, STATE_DIR
from daemon.refusal import telling_refusals
from daemon.survey import Survey, survey

_WIDTH_OF_A_PIPE = 1000
"""What is no terminal has no width, and a table folded to some would break `grep`."""


@click.command()
@CONFIG
@KUBELET_DIR
@STATE_DIR
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="json and yaml are stable; the table is for people.",
)
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
    text = (
        json.dumps(document, indent=2, ensure_ascii=False)
        if output == "json"
        else yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    )
    click.echo(text)


def _print_table(found: Survey, *, show_all: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - only the table needs it
    from rich.table import Table  # noqa: PLC0415

    console = Console()
    if not (console.is_terminal or "COLUMNS" in os.environ):
        console.width = _WIDTH_OF_A_PIPE
    table = Table(box=None, pad_edge=False)
    for column in ("RESOURCE", "DEVICE", "STATE", "NODES", "WHAT", "HELD BY"):
        table.add_column(column, overflow="fold")
    rows = report.rows(found.snapshot, found.held)
    for row in rows:
        table.add_row(*_cells(row))
    nodes = report.unserved(found.snapshot)
    for node in nodes if show_all or not rows else ():
        table.add_row("-", "-", "-", node["path"], _what(node), "")
    console.print(table)
    hidden = 0 if show_all or not rows else len(nodes)
    if hidden:
        console.print(f"{hidden} more nodes serve no resource (--all shows them)", style="dim")
    for lack in found.lacks:
        console.print(
            f"note: {lack}", style="yellow", markup=False, highlight=False, soft_wrap=True
        )


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
