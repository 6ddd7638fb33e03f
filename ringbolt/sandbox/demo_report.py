"""How the demo looks: coloured and live on a terminal, plain lines elsewhere."""

import platform
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from ringbolt.sandbox.ability import Ability
from ringbolt.sandbox.container_process import LogLine
from ringbolt.sandbox.kubelet import Admitted
from ringbolt.sandbox.pod import Pod
from ringbolt.sandbox.run_options import RunOptions

_MS = 1000.0


class DemoReport:
    """Prints what happens and keeps every duration for the summary."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._times: dict[str, list[float]] = {}

    def took(self, what: str, seconds: float) -> None:
        """Note how long a step took."""
        self._times.setdefault(what, []).append(seconds * _MS)

    def machine(self, ability: Ability, stage_lacks: str) -> None:
        """Where this runs, by which means, and what that leaves out."""
        self._heading("This machine")
        self._line(
            f"Linux {platform.release()} {platform.machine()}; pods by {ability.means.value}"
        )
        for lack in (*ability.lacks, stage_lacks):
            if lack:
                self.left_out(lack)

    def doing(self, what: str) -> None:
        """Say what is waited for."""
        self._console.print(f"… {what}", style="dim", highlight=False)

    def devices(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """What was found and which resource serves it."""
        self._heading("Found, and which resource serves it")
        table = Table(box=None, pad_edge=False)
        for column in ("RESOURCE", "DEVICE", "SHARED BY", "STATE", "NODES", "WHAT"):
            table.add_column(column, overflow="fold")
        for row in rows:
            what = " ".join(str(row[key]) for key in ("vendor", "model", "serial") if row.get(key))
            nodes = "\n".join(str(node["path"]) for node in row["nodes"])
            share = str(row["share"])
            table.add_row(row["resource"], row["id"], share, row["state"], nodes, what)
        self._console.print(table)

    def pod(self, source: str, pod: Pod) -> None:
        """A pod's turn begins."""
        wanted = {name: n for c in pod.containers for name, n in c.limits.items()}
        asks = ", ".join(f"{name}: {number}" for name, number in wanted.items())
        self._heading(f"Pod {pod} (examples/{source}) asks for {asks}")

    def given(self, admitted: Admitted) -> None:
        """What the kubelet was answered for each container."""
        for name, options in admitted.containers.items():
            for line in options_lines(options):
                self._line(f"{name} is given {line}")

    def log_line(self, line: LogLine) -> None:
        """One line that a container wrote."""
        style = "red" if line.stream == "stderr" else "cyan"
        self._console.print(
            f"  {line.container} | {line.text}", style=style, markup=False, highlight=False
        )

    def ended(self, container: str, detail: str) -> None:
        """A container ended."""
        self._line(f"{container} ended with {detail}")

    def replug(self, what: str, rounds: int) -> None:
        """The device's coming and going begins."""
        self._heading(f"Taking away and bringing back {what}, {rounds} times")

    def kubelet_restart(self) -> None:
        """The kubelet is about to be restarted."""
        self._heading("Restarting the kubelet, which deletes every plugin's socket")

    def left_out(self, text: str) -> None:
        """Something that is not shown, and why."""
        self._console.print(f"  left out: {text}", style="yellow", markup=False, highlight=False)

    def failed(self, text: str) -> None:
        """Something that should have worked did not."""
        self._console.print(f"  failed: {text}", style="bold red", markup=False, highlight=False)

    def summary(self, failed: int) -> None:
        """What each step took."""
        self._heading("What each step took")
        table = Table(box=None, pad_edge=False)
        table.add_column("STEP")
        for column in ("ROUNDS", "MEDIAN ms", "MIN ms", "MAX ms"):
            table.add_column(column, justify="right")
        for what, times in self._times.items():
            figures = (statistics.median(times), min(times), max(times))
            table.add_row(what, str(len(times)), *(f"{figure:.1f}" for figure in figures))
        self._console.print(table)
        if failed:
            self.failed(f"{failed} of the pods; what they wrote stands above")
        else:
            self._console.print("All of it worked.", style="green", highlight=False)

    def _heading(self, text: str) -> None:
        self._console.print()
        self._console.print(text, style="bold", markup=False, highlight=False)

    def _line(self, text: str) -> None:
        self._console.print(f"  {text}", markup=False, highlight=False)


def options_lines(options: RunOptions) -> Iterable[str]:
    """A container's options, a line for each."""
    for device in options.devices:
        yield f"device {device.container_path} ({device.permissions}) from {device.host_path}"
    for name in options.cdi_devices:
        yield f"CDI device {name}"
    for mount in options.mounts:
        mode = "read-only" if mount.readonly else "writable"
        yield f"mount {mount.container_path} ({mode}) from {mount.host_path}"
    for name, value in options.env.items():
        yield f"env {name}={value}"
