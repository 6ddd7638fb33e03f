"""How demo and run look: coloured and live on a terminal, plain lines elsewhere."""

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
from ringbolt.sandbox.pod_worker import Progress, Step
from ringbolt.sandbox.run_options import RunOptions

_MS = 1000.0
_WIDTH_OF_A_FILE = 132


def open_console() -> Console:
    """Standard output; what is no terminal has no width, and tables there need some."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH_OF_A_FILE)


class Report:
    """Prints what happens and keeps every duration for the summary."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._times: dict[str, list[float]] = {}
        self._left_out = False

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
        self._print(f"… {what}", "dim")

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
        """A pod's turn begins; `source` is the file that it is from."""
        wanted = [f"{name}: {n}" for c in pod.containers for name, n in c.limits.items()]
        ports = [port for c in pod.containers for port in c.ports if port.host_port]
        wanted += [f"the node's port {port.host_port}/{port.protocol}" for port in ports]
        asks = f" asks for {', '.join(wanted)}" if wanted else ""
        self._heading(f"Pod {pod} ({source}){asks}")

    def _given(self, admitted: Admitted) -> None:
        """What the kubelet was answered for each container."""
        for name, options in admitted.containers.items():
            for line in options_lines(options):
                self._line(f"{admitted.pod.name}/{name} is given {line}")

    def log_line(self, line: LogLine) -> None:
        """One line that a container wrote."""
        style = "red" if line.stream == "stderr" else "cyan"
        self._print(f"  {line.container} | {line.text}", style)

    def progress(self, progress: Progress) -> None:
        """One step of a pod."""
        name = f"{progress.pod.name}/{progress.container}"
        if progress.admitted is not None:
            self.took("pod: admission with Allocate", progress.took_s)
            self._given(progress.admitted)
        elif progress.step is Step.MOUNTED:
            self.took("pod: its volumes mounted, execs of the driver", progress.took_s)
            self._line(f"{progress.pod.name} has the volumes {progress.detail}")
        elif progress.step is Step.NETWORKED:
            self.took("pod: CNI ADD, the exec of the plugin", progress.took_s)
            self._line(f"{progress.pod.name} has the addresses {progress.detail}")
        elif progress.step is Step.STARTED:
            self.took("container: create and start", progress.took_s)
        elif progress.step is Step.ENDED:
            self._line(f"{name} ended with {progress.detail}")
        elif progress.step is Step.BACKING_OFF:
            self._line(f"{name} is started again in {progress.took_s:.0f} s")

    def replug(self, what: str, rounds: int) -> None:
        """The device's coming and going begins."""
        self._heading(f"Taking away and bringing back {what}, {rounds} times")

    def network(self) -> None:
        """The pods' network begins."""
        self._heading("Two pods' network: each other, a port of the node, the outside")

    def volumes(self) -> None:
        """The pods' volumes begin."""
        self._heading("A pod's volumes: in an image file, and in memory")

    def agent_restart(self) -> None:
        """A pod meets the agent that was started anew."""
        self._heading("Starting another agent: what a pod wrote before is found again")

    def kubelet_restart(self) -> None:
        """The kubelet is about to be restarted."""
        self._heading("Restarting the kubelet, which deletes every plugin's socket")

    def left_out(self, text: str) -> None:
        """Something that is not shown, and why."""
        self._left_out = True
        self._print(f"  left out: {text}", "yellow")

    def note(self, text: str) -> None:
        """Something worth knowing."""
        self._line(text)

    def failed(self, text: str) -> None:
        """Something that should have worked did not."""
        self._print(f"  failed: {text}", "bold red")

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
        elif self._left_out:
            self._print("What was shown worked; what was left out is named above.", "green")
        else:
            self._print("All of it worked.", "green")

    def _heading(self, text: str) -> None:
        self._print("")
        self._print(text, "bold")

    def _line(self, text: str) -> None:
        self._print(f"  {text}")

    def _print(self, text: str, style: str = "") -> None:
        """A line as it is: what pods and devices say is no markup, and may be long."""
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


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
