"""How commands that only look print what they found: documents for programs, tables for people."""

import json
import os
from collections.abc import Mapping
from typing import Any

import click

_WIDTH_OF_A_PIPE = 1000
"""What is no terminal has no width, and a table folded to some would break `grep`."""


def show(document: Mapping[str, Any], output: str) -> None:
    """Print it as `output`: json or yaml."""
    if output == "json":
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    import yaml  # noqa: PLC0415 - only this needs it

    click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


class Table:
    """A table with these columns, and what is said below it."""

    def __init__(self, *columns: str) -> None:
        from rich.console import Console  # noqa: PLC0415 - only a table needs it
        from rich.table import Table as Rich  # noqa: PLC0415

        self._console = Console()
        if not (self._console.is_terminal or "COLUMNS" in os.environ):
            self._console.width = _WIDTH_OF_A_PIPE
        self._table = Rich(box=None, pad_edge=False)
        for column in columns:
            self._table.add_column(column, overflow="fold")

    def add(self, *cells: str) -> None:
        """One row; what looks like markup is shown as it is."""
        from rich.text import Text  # noqa: PLC0415

        self._table.add_row(*map(Text, cells))

    def print(self) -> None:
        """Print the rows."""
        self._console.print(self._table)

    def remark(self, text: str) -> None:
        """What is worth knowing, in passing."""
        self._console.print(text, style="dim", markup=False, highlight=False)

    def note(self, text: str) -> None:
        """What could not be found out, or is amiss."""
        self._console.print(
            f"note: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True
        )
