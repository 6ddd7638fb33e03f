"""The command line `ringbolt`.

Each command's code is imported when it is called, so that none pays for another's imports.
"""

import importlib
import os
import sys
from pathlib import Path

import click

import ringbolt

LAZY = {
    "agent": "daemon.agent_command:agent",
    "config": "daemon.config_check:config",
    "devices": "daemon.devices_command:devices",
    "doctor": "daemon.doctor_command:doctor",
    "explain": "daemon.explain_command:explain",
    "install": "daemon.install_command:install",
    "pods": "daemon.pods_command:pods",
    "sandbox": "ringbolt.sandbox.command:sandbox",
    "uninstall": "daemon.install_command:uninstall",
    "volumes": "daemon.volumes_command:volumes",
}


class Commands(click.Group):
    """Finds a command's module by the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in alphabetical order."""
        return sorted({*super().list_commands(ctx), *LAZY})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now if it is one of the table's."""
        if cmd_name not in LAZY:
            return super().get_command(ctx, cmd_name)
        module, _, name = LAZY[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{LAZY[cmd_name]} is no command")
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Make a node's hardware, storage and network fast to Kubernetes pods."""


@cli.command()
def version() -> None:
    """Print the versions of Ringbolt, Python and the kernel."""
    import platform  # noqa: PLC0415 - only this command needs it

    click.echo(f"ringbolt {ringbolt.__version__}")
    click.echo(f"python {platform.python_version()}")
    click.echo(f"linux {platform.release()} {platform.machine()}")


def main() -> None:
    """Run the command line; exit 0 well, 1 the thing asked for failed, 2 wrong use."""
    try:
        cli(prog_name="ringbolt")
    except OSError as error:  # a full disk behind stdout, a folder that one may not look into
        # What stdout still holds would fail once more, and loudly, as the interpreter ends.
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        sys.exit(f"ringbolt: {error}")
