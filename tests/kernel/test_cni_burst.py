"""Five hundred pods at once, as after a reboot: each attached or told to try again, in bounds."""

import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from daemon.exec_server import CALLS_MAX
from tests.kernel.network_lab import pods
from tests.kernel.storm_lab import TRY_AGAIN, Runtime, Sandbox, is_free, remove_bridge, wishes_of
from tests.kernel.test_cni_plugin import agent, launcher, wait_until

__all__ = ["launcher"]

PODS = 500
TIMES = 3
"""An impatient runtime; and so there are more calls than the agent takes at a time."""
MIB = 1 << 20
GROWTH_MAX = 24 * MIB
THREADS_MAX = 24
DESCRIPTORS_MORE = 8
"""What is opened when it is first needed; a lost one for each call would be hundreds."""


@dataclass(frozen=True)
class Weight:
    """What a process holds."""

    memory: int
    peak: int
    threads: int
    descriptors: int

    @classmethod
    def of(cls, process: psutil.Process) -> "Weight":
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
        memory = process.memory_info().rss
        return cls(memory, int(peak) * 1024, process.num_threads(), process.num_fds())


def burst(
    runtime: Runtime,
    process: psutil.Process,
    command: str,
    sandboxes: Sequence[Sandbox],
    times: int = 1,
) -> list[int]:
    """Every call at once, to an agent that cannot answer until all have been made. The codes."""
    process.send_signal(signal.SIGSTOP)
    try:
        calls = [(one, runtime.start(command, one)) for _ in range(times) for one in sandboxes]
    finally:
        process.send_signal(signal.SIGCONT)
    codes: list[int] = []
    for one, call in calls:
        code, told = call.end()
        codes.append(told["code"] if code else 0)
        if command == "ADD" and code == 0:
            assert one.result in (None, told), "the same call was answered otherwise"
            one.result = told
    return codes


@pytest.mark.timeout(300)
def test_five_hundred_pods_at_once_stay_within_bounds(tmp_path: Path, launcher: Path) -> None:
    assert PODS * TIMES > CALLS_MAX
    runtime = Runtime(launcher, tmp_path / "run")
    with ExitStack() as undo:
        undo.callback(remove_bridge)
        made = undo.enter_context(pods(*(f"p{number}" for number in range(PODS))))
        sandboxes = [Sandbox(pod, wishes_of(number, 5)) for number, pod in enumerate(made)]
        process = psutil.Process(undo.enter_context(agent(tmp_path)).pid)
        wait_until((tmp_path / "run/agent.sock").is_socket)
        assert runtime.insist("ADD", sandboxes[0])
        before = Weight.of(process)
        codes = burst(runtime, process, "ADD", sandboxes, TIMES)
        assert set(codes) <= {0, TRY_AGAIN}
        for one in sandboxes:
            one.result = one.result or runtime.insist("ADD", one)
        runtime.check_node(sandboxes)
        assert set(burst(runtime, process, "DEL", sandboxes)) == {0}
        for one in sandboxes:
            one.result = None
        wait_until(lambda: not os.listdir(tmp_path / "run/spool"))  # noqa: PTH208
        runtime.check_node(())
        assert all(is_free(pod) for pod in made)
        wait_until(lambda: Weight.of(process).descriptors <= before.descriptors + DESCRIPTORS_MORE)
        after = Weight.of(process)
        assert after.peak - before.memory < GROWTH_MAX
        assert after.threads <= THREADS_MAX
