"""Many pods at once while the agent is killed again and again: nothing twice, nothing left."""

from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ringbolt.network.network import Network
from ringbolt.network.settings import NetworkName
from tests.kernel.network_lab import Pod, links, pods
from tests.kernel.test_cni_plugin import Exec, agent, launcher, remove_bridge, wait_until

__all__ = ["launcher"]

PODS = 60
CALLERS = 12
KILLS = 3  # as often as a launcher repeats a call


def storm(plugin: Exec, command: str, made: list[Pod], folder: Path) -> list[tuple[int, Any]]:
    """One call for each pod, many at a time, by agents that are killed in between."""
    results: list[tuple[int, Any]] = []
    with ExitStack() as undo:
        callers = undo.enter_context(ThreadPoolExecutor(CALLERS))
        serving = undo.enter_context(agent(folder))
        calls = [callers.submit(plugin.call, command, pod) for pod in made]
        for number, call in enumerate(as_completed(calls), 1):
            results.append(call.result())
            if number % (PODS // (KILLS + 1)) == 0 and number < PODS:
                serving.kill()
                serving.wait()
                serving = undo.enter_context(agent(folder))
        wait_until(lambda: not list((folder / "run/spool").iterdir()))
        wait_until(lambda: command == "ADD" or set(links()) <= {"lo", "rb0"})
    return results


@pytest.mark.timeout(240)
def test_a_storm_with_agents_that_are_killed(tmp_path: Path, launcher: Path) -> None:
    plugin = Exec((str(launcher),), tmp_path / "run")
    with ExitStack() as undo:
        undo.callback(remove_bridge)
        made = undo.enter_context(pods(*(f"p{number}" for number in range(PODS))))
        check_all_attached(storm(plugin, "ADD", made, tmp_path))
        assert storm(plugin, "DEL", made, tmp_path) == [(0, None)] * PODS
        assert {one["ifname"] for pod in made for one in pod.ip("link", "show")} == {"lo"}
        with Network(tmp_path / "run") as room:
            assert not room.leases.has_any(NetworkName("pods"))


def check_all_attached(results: list[tuple[int, Any]]) -> None:
    assert [result for code, result in results if code] == []
    found = [one["address"] for _, result in results for one in result["ips"]]
    assert len(found) == 2 * PODS
    assert len(set(found)) == len(found)
