"""`ringbolt sandbox`: try the agent on this machine without a cluster.

Options to values and errors to a plain sentence and an exit code; nothing is done here.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import click

# gRPC reads it once, when it is imported: a peer that hangs up is no news here.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from ringbolt.sandbox.agent_process import AgentError
from ringbolt.sandbox.container_process import StartError
from ringbolt.sandbox.demo import run_demo
from ringbolt.sandbox.generation import V1_20, V1_36
from ringbolt.sandbox.own_pods import Choice, open_shell, run_pods
from ringbolt.sandbox.pod_file import PodError
from ringbolt.sandbox.pod_worker import PodFailedError
from ringbolt.sandbox.report import Report, open_console
from ringbolt.sandbox.requirements import is_extended

_INTERRUPTED = 130
_FAILURES = (AgentError, PodError, PodFailedError, StartError, OSError, TimeoutError)
_GENERATIONS = {"1.20": V1_20, "1.36": V1_36}
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_config = click.option(
    "--config",
    type=_FILE,
    help="The agent's configuration; without it the one of the examples.",
)
_kubelet = click.option(
    "--kubelet",
    type=click.Choice(sorted(_GENERATIONS)),
    default="1.36",
    show_default=True,
    help="Which kubelet's behaviour to embed.",
)


@click.group()
def sandbox() -> None:
    """Run pods on this machine's hardware, without a cluster.

    An embedded kubelet and the agent are started for it and end with it.
    """


@sandbox.command()
def demo() -> None:
    """Show the main job on this machine.

    Devices are found, pods open them, one is taken away and comes back. Ends by itself.
    """
    sys.exit(_finish(run_demo(Report(open_console()))))


@sandbox.command()
@click.argument("pods", nargs=-1, required=True, type=_FILE, metavar="POD.yaml...")
@_config
@_kubelet
def run(pods: Sequence[Path], config: Path | None, kubelet: str) -> None:
    """Run one's own pods until they end.

    The exit code is the first of theirs that is not 0; 1 if one could not be run.
    """
    choice = Choice(config, _GENERATIONS[kubelet])
    sys.exit(_finish(run_pods(pods, choice, Report(open_console()))))


@sandbox.command()
@click.argument("resources", nargs=-1, metavar="[RESOURCE[=NUMBER]...]")
@_config
@_kubelet
def shell(resources: Sequence[str], config: Path | None, kubelet: str) -> None:
    """Open a shell in a pod that asks for RESOURCEs.

    Without any, open one on this machine, beside the kubelet and the agent.
    """
    limits = dict(_limit(word) for word in resources)
    choice = Choice(config, _GENERATIONS[kubelet])
    sys.exit(_finish(open_shell(limits, choice, Report(open_console()))))


def _limit(word: str) -> tuple[str, int]:
    name, _, number = word.partition("=")
    if not is_extended(name) or not (number or "1").isdigit():
        raise click.UsageError(
            f"{word!r} is no resource: write PREFIX/NAME or PREFIX/NAME=NUMBER, as in "
            "ringbolt.dev/fuse=1"
        )
    return name, int(number or "1")


def _finish(work: Coroutine[Any, Any, int]) -> int:
    """Run to the end; Ctrl-C and SIGTERM cancel, so that everything is cleaned up first."""
    try:
        return asyncio.run(_interruptible(work))
    except asyncio.CancelledError:
        click.echo("ringbolt sandbox: interrupted; everything was stopped", err=True)
        return _INTERRUPTED
    except _FAILURES as error:
        click.echo(f"ringbolt sandbox: {error}", err=True)
        return 1


async def _interruptible(work: Coroutine[Any, Any, int]) -> int:
    task = asyncio.ensure_future(work)
    cancel: Callable[[], object] = task.cancel
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, cancel)
    return await task
