"""How containers end: codes, signals, orphans, and a sandbox that is killed."""

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ringbolt.linux import device_cgroup
from ringbolt.sandbox.container_process import StartError
from ringbolt.sandbox.host_devices import CreateError
from ringbolt.sandbox.pod import ContainerSpec
from ringbolt.sandbox.run_options import RunOptions
from tests.kernel.container_lab import DEADLINE_S, Lab, pod


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$$$", 137), ("true", 0)])
async def test_the_exit_code_is_the_program_s(either: Lab, script: str, code: int) -> None:
    assert (await either.run(script)).code == code


async def test_a_program_that_is_not_there_is_told_as_runc_does(either: Lab) -> None:
    with pytest.raises(StartError, match=r'exec: "nope": executable file not found in \$PATH'):
        await either.run("", command=("nope",))
    with pytest.raises(StartError, match='exec: "/etc/passwd": permission denied'):
        await either.run("", command=("/etc/passwd",))
    with pytest.raises(CreateError, match="has no command"):
        await either.run("", command=())


@pytest.mark.parametrize(
    ("script", "grace_s", "code"),
    [
        ("trap 'exit 3' TERM; echo up; while :; do sleep 100 & wait; done", DEADLINE_S, 3),
        ("trap '' TERM; echo up; while :; do sleep 100; done", 0.2, 137),
    ],
)
async def test_stop_asks_and_then_kills(
    either: Lab, script: str, grace_s: float, code: int
) -> None:
    up = asyncio.Event()
    runtime = replace(either.runtime, listener=lambda _: up.set())
    spec = ContainerSpec("c", command=("sh", "-c", script))
    async with runtime.pod(pod(spec)) as sandbox:
        started = await sandbox.start(spec, RunOptions())
        await asyncio.wait_for(up.wait(), DEADLINE_S)
        assert await started.stop(grace_s) == code


async def test_a_line_without_end_blocks_nobody(either: Lab) -> None:
    ended = await either.run("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end")
    assert ended.code == 0
    assert ended.out[-1] == "end"
    assert "(more than 1 MiB without a line's end)" in ended.out


async def test_orphans_are_reaped(either: Lab) -> None:
    script = "(sleep 0.01 &) ; sleep 0.2; grep -l 'State:.Z' /proc/[0-9]*/status | wc -l"
    assert (await either.run(script)).out == ["0"]


DOOMED = """
import asyncio, sys
from pathlib import Path
from ringbolt.sandbox.ability import find_ability
from ringbolt.sandbox.pod import ContainerSpec, Pod, PodUid
from ringbolt.sandbox.run_options import RunOptions
from ringbolt.sandbox.runtime import Runtime

async def main():
    spec = ContainerSpec("c", command=("sleep", "1000"))
    runtime = Runtime(Path(sys.argv[1]), find_ability())
    async with runtime.pod(Pod("p", "n", PodUid("u"), (spec,))) as sandbox:
        print("up", flush=True)
        await sandbox.start(spec, RunOptions())
        print("running", flush=True)
        await asyncio.sleep(1000)

asyncio.run(main())
"""


@pytest.mark.root
def test_a_killed_sandbox_leaves_nothing(tmp_path: Path) -> None:
    group = device_cgroup.own_group()
    with subprocess.Popen(
        [sys.executable, "-c", DOOMED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as sandbox:
        assert sandbox.stdout is not None
        assert [sandbox.stdout.readline() for _ in range(2)] == ["up\n", "running\n"]
        assert group is None or _device_groups(group, sandbox.pid)
        sandbox.send_signal(signal.SIGKILL)
    while group is not None and _device_groups(group, sandbox.pid):
        os.sched_yield()


def _device_groups(parent: str, pid: int) -> list[Path]:
    return list(Path(parent).glob(f"ringbolt-{pid}-*"))
