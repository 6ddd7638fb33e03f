"""`ringbolt sandbox`: try the agent on this machine without a cluster.

Options to values and errors to a plain sentence and an exit code; nothing is done here.
"""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import click
from rich.console import Console

from ringbolt.sandbox.agent_process import AgentError
from ringbolt.sandbox.container_process import StartError
from ringbolt.sandbox.demo import run_demo
from ringbolt.sandbox.demo_report import DemoReport
from ringbolt.sandbox.pod_file import PodError

_INTERRUPTED = 130
_FAILURES = (AgentError, PodError, StartError, OSError, TimeoutError)


@click.group()
def sandbox() -> None:
    """Run pods against this machine's hardware with an embedded kubelet, without a cluster."""


@sandbox.command()
def demo() -> None:
    """Show the main job on this machine: devices found, pods that open them, one replugged."""
    sys.exit(_run(run_demo(DemoReport(Console()))))


def _run(work: Coroutine[Any, Any, int]) -> int:
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
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    return await task
