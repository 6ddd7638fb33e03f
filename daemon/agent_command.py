"""`ringbolt agent`: options to values, errors to a plain sentence and exit code 1."""

import asyncio
import sys
from typing import Any

import click

from daemon import logs
from daemon.agent import Agent, Options
from daemon.command_options import CONFIG, KUBELET_DIR, RUN_DIR, SOCKET, STATE_DIR, path_option
from daemon.refusal import telling_refusals
from ringbolt.linux import libc

PORT_MAX = 65535
_ARENAS = 2
"""Heaps of the C library: Python lets one thread run at a time, and gRPC has its own."""


def _address(_context: click.Context, _option: click.Parameter, value: str) -> str:
    host, colon, port = value.rpartition(":")
    if value and not (host and colon and port.isdecimal() and int(port) <= PORT_MAX):
        raise click.BadParameter(f"{value!r} is not HOST:PORT, such as 127.0.0.1:9808")
    return value


@click.command()
@CONFIG
@KUBELET_DIR
@RUN_DIR
@STATE_DIR
@path_option("--cdi-dir", "/var/run/cdi", "Where CDI files for owner and mode are written.")
@SOCKET
@click.option(
    "--http",
    default="127.0.0.1:9808",
    callback=_address,
    show_default=True,
    metavar="HOST:PORT",
    help="Where /healthz, /metrics and /devices are served; empty: nowhere.",
)
@click.option(
    "--log-format", type=click.Choice(["json", "text"]), default="json", show_default=True
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
def agent(*, log_format: str, log_level: str, **options: Any) -> None:
    """Serve this node's hardware and networks, until SIGTERM."""
    libc.limit_arenas(_ARENAS)
    logs.configure(log_format, log_level)
    options["socket"] = options["socket"] or options["run_dir"] / "agent.sock"
    try:
        with telling_refusals():
            asyncio.run(_serve(Options(**options)))
    except OSError as error:
        click.echo(f"ringbolt agent: {error}", err=True)
        sys.exit(1)


async def _serve(options: Options) -> None:
    for directory in (options.run_dir, options.state_dir):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    await Agent(options).run()
