"""The parts of the sandbox that run as a process of their own: `python -m ringbolt.sandbox`."""

import click

from ringbolt.sandbox.kubelet_command import kubelet


@click.group()
def processes() -> None:
    """Run a part of the sandbox by itself."""


processes.add_command(kubelet)

if __name__ == "__main__":
    processes(prog_name="python -m ringbolt.sandbox")
