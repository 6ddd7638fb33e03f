"""Runtimes that attach, check, detach and collect at once, while agents are killed in between."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernel.network_lab import pods
from tests.kernel.storm_lab import Runtime, Sandbox, is_free, remove_bridge, wishes_of
from tests.kernel.test_cni_plugin import agent, launcher, wait_until

__all__ = ["launcher"]

PODS = 60
CALLERS = 12
CALLS = 6
KILLS = 6


@dataclass
class Progress:
    """How many calls were answered."""

    calls: int = 0


def live(runtime: Runtime, one: Sandbox, seed: int, progress: Progress) -> None:
    """A pod's calls, one after another as the contract has it, some without the agent."""
    choose = random.Random(seed)
    for _ in range(CALLS):
        alone = choose.random() < 0.05
        if one.result is None:
            one.result = runtime.insist("ADD", one, alone=alone)
        elif choose.random() < 0.3:
            assert runtime.insist("ADD", one, alone=alone) == one.result
        elif choose.random() < 0.4:
            assert runtime.insist("CHECK", one, alone=alone) is None
        else:
            assert runtime.insist("DEL", one, alone=alone) is None
            one.result = None
        progress.calls += 1


@contextmanager
def felled(folder: Path, progress: Progress, total: int) -> Iterator[None]:
    """Agents in turn: each is killed after its share of the calls, the last one goes on."""
    over = threading.Event()

    def wait_for(calls: int) -> None:
        wait_until(lambda: over.is_set() or progress.calls > calls)

    def take_turns() -> None:
        for turn in range(1, KILLS + 1):
            with agent(folder) as process:
                wait_for(turn * total // (KILLS + 1))
                process.kill()
        with agent(folder):
            assert over.wait(120)

    with ThreadPoolExecutor(1) as one:
        turns = one.submit(take_turns)
        try:
            yield
        finally:
            over.set()
            turns.result()


def disturb(runtime: Runtime, sandboxes: list[Sandbox], over: threading.Event) -> int:
    """STATUS, and GC with and without what is valid, beside everything else."""
    valid = [{"containerID": one.pod.name, "ifname": "eth0"} for one in sandboxes]
    turns = 0
    while not over.wait(0.05):
        told = runtime.call("STATUS", Sandbox(sandboxes[0].pod))[1]
        assert told is None or told["code"] == 50, told
        for more in ({}, {"cni.dev/valid-attachments": valid}):
            code, told = runtime.call("GC", Sandbox(sandboxes[0].pod), more=more)
            assert code == 0 or told["code"] == 11, told
        turns += 1
    return turns


@pytest.mark.timeout(300)
def test_a_storm_with_agents_that_are_killed(tmp_path: Path, launcher: Path) -> None:
    runtime = Runtime(launcher, tmp_path / "run")
    progress, over = Progress(), threading.Event()
    with ExitStack() as undo:
        undo.callback(remove_bridge)
        made = undo.enter_context(pods(*(f"p{number}" for number in range(PODS))))
        sandboxes = [Sandbox(pod, wishes_of(number, 3)) for number, pod in enumerate(made)]
        undo.enter_context(felled(tmp_path, progress, PODS * CALLS))
        with ThreadPoolExecutor(CALLERS + 1) as callers:
            disturbance = callers.submit(disturb, runtime, sandboxes, over)
            lives = [
                callers.submit(live, runtime, one, seed, progress)
                for seed, one in enumerate(sandboxes)
            ]
            try:
                for future in lives:
                    future.result()
            finally:
                over.set()
            assert disturbance.result() > 0
        wait_until(lambda: not list((tmp_path / "run/spool").iterdir()))
        runtime.check_node(sandboxes)
        left = [one.pod for one in sandboxes if one.result is None]
        assert 0 < len(left) < PODS
        assert all(is_free(pod) for pod in left)
        for one in sandboxes:
            runtime.insist("DEL", one)
            one.result = None
        runtime.check_node(())
