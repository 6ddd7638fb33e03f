"""Options that several commands share, with the one default of each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def path_option(name: str, default: str, text: str) -> Callable[[F], F]:
    """An option that takes a path, used as given."""
    return click.option(
        name,
        type=click.Path(path_type=Path),
        default=default,
        show_default=True,
        help=text,
    )


CONFIG = path_option(
    "--config", "/etc/ringbolt/config.yaml", "Configuration file, or a directory of *.yaml files."
)
KUBELET_DIR = path_option("--kubelet-dir", "/var/lib/kubelet", "The kubelet's directory.")
RUN_DIR = path_option("--run-dir", "/run/ringbolt", "State that ends with a reboot.")
STATE_DIR = path_option("--state-dir", "/var/lib/ringbolt", "State that outlives a reboot.")
CNI_BIN_DIR = path_option("--cni-bin-dir", "/opt/cni/bin", "Where runtimes seek CNI plugins.")
CNI_CONF_DIR = path_option("--cni-conf-dir", "/etc/cni/net.d", "Where runtimes seek networks.")


def _output(for_people: str) -> Callable[[F], F]:
    return click.option(
        "-o",
        "--output",
        type=click.Choice([for_people, "json", "yaml"]),
        default=for_people,
        show_default=True,
        help=f"json and yaml are stable; the {for_people} is for people.",
    )


OUTPUT = _output("table")
OUTPUT_TEXT = _output("text")
_PATH: Any = click.Path(path_type=Path)
SOCKET = click.option(
    "--socket",
    type=_PATH,
    envvar="RINGBOLT_SOCKET",
    show_envvar=True,
    help="Where launchers call; default: agent.sock in the run directory.",
)
