"""What a command does when the configuration is refused: every problem on stderr, exit 1."""

import contextlib
import sys
from collections.abc import Generator

import click

from daemon.problem import ConfigError


@contextlib.contextmanager
def telling_refusals() -> Generator[None]:
    """End the command with all of a ConfigError's problems told."""
    try:
        yield
    except ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(1)
