"""A pod with one container that runs a shell script: what the tests need of it."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

from ringbolt.sandbox.ability import Ability, Means
from ringbolt.sandbox.pod import ContainerSpec, Pod, PodUid, Volume
from ringbolt.sandbox.run_options import RunOptions
from ringbolt.sandbox.runtime import Runtime

DEADLINE_S = 30
NAMESPACED = Ability(Means.USER_NAMESPACE, None, ())


@dataclass(frozen=True)
class Ended:
    """How a container ended and what it wrote."""

    code: int
    out: list[str]
    err: list[str]


@dataclass(frozen=True)
class Lab:
    """Runs one shell script as the only container of a pod."""

    runtime: Runtime

    async def run(self, script: str, options: RunOptions | None = None, **changes: object) -> Ended:
        spec = ContainerSpec("c", command=("sh", "-c", script), working_dir="/")
        spec = replace(spec, **changes)  # type: ignore[arg-type]  # a test's own keywords
        async with self.runtime.pod(pod(spec)) as sandbox:
            started = await sandbox.start(spec, options or RunOptions())
            code = await asyncio.wait_for(started.wait(), DEADLINE_S)
            lines = started.log
            return Ended(
                code,
                [line.text for line in lines if line.stream == "stdout"],
                [line.text for line in lines if line.stream == "stderr"],
            )


def pod(*specs: ContainerSpec, volumes: tuple[Volume, ...] = ()) -> Pod:
    return Pod("lab.example", "default", PodUid("u-1"), specs, volumes=volumes)


def lab(tmp_path: Path, ability: Ability) -> Lab:
    cdi = tmp_path / "cdi"
    cdi.mkdir()
    return Lab(Runtime(tmp_path / "run", ability, (cdi,)))
