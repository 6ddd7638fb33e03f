"""`ringbolt config check`: every error of a configuration with its line."""

from pathlib import Path

import click

from daemon.config import load
from daemon.problem import ConfigError, Problem


@click.group()
def config() -> None:
    """Look at configuration files."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_context
def check(context: click.Context, file: Path) -> None:
    """Check FILE, or all files of a directory.

    Every error is printed with its line; exit 1 if there is any. Of a directory all *.yaml and
    *.yml files count, as one configuration.
    """
    try:
        found = load(file)
    except ConfigError as error:
        _print(error.problems)
        context.exit(1)
    _print(found.warnings)
    count = len(found.resources)
    click.echo(f"{file}: ok, {count} resource{'' if count == 1 else 's'}")


def _print(problems: tuple[Problem, ...]) -> None:
    for problem in problems:
        click.echo(str(problem))
