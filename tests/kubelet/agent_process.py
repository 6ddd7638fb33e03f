"""The real agent as a process, its configuration and the device nodes that it serves."""

import asyncio
import json
import os
import stat
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

RESOURCE = "ringbolt.dev/port"
SECOND = "ringbolt.dev/other"
LOG_LINE_LIMIT = 1 << 20


class Nodes:
    """Character devices in a folder of the test's own (all of them /dev/null by number)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, *names: str) -> None:
        for name in names:
            os.mknod(self.folder / name, stat.S_IFCHR | 0o666, os.makedev(1, 3))

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()

    def resource(self, pattern: str, name: str = RESOURCE, **more: Any) -> dict[str, Any]:
        """An entry of `resources:` that takes the nodes that `pattern` matches."""
        return {"name": name, "select": [{"path": f"{self.folder}/{pattern}"}], **more}


def is_node(path: str) -> bool:
    """Whether a container that is given `path` now would find a device there."""
    return Path(path).is_char_device() or Path(path).is_block_device()


def leads_to(path: str) -> str:
    """Where the links of `path` end."""
    return os.path.realpath(path)


class Agent:
    """One agent at a time; `logged` has what it has said, as its JSON lines."""

    def __init__(self, folder: Path, kubelet_dir: Path) -> None:
        self.folder = folder
        self.kubelet_dir = kubelet_dir
        self.config = folder / "ringbolt.yaml"
        self.logged: list[Mapping[str, Any]] = []
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def configure(self, *resources: Mapping[str, Any], registration: str = "kubelet.sock") -> None:
        """Replace the configuration file at once, as an editor does."""
        document = {"kubelet": {"registration": registration}, "resources": list(resources)}
        self.write(yaml.safe_dump(document))

    def write(self, text: str) -> None:
        temporary = self.config.with_suffix(".new")
        temporary.write_text(text, encoding="utf-8")
        temporary.rename(self.config)

    async def start(self) -> None:
        arguments = {
            "--config": self.config,
            "--kubelet-dir": self.kubelet_dir,
            "--run-dir": self.folder / "run",
            "--state-dir": self.folder / "state",
            "--cdi-dir": self.folder / "cdi",
            "--http": "127.0.0.1:0",
        }
        self.logged = []
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "daemon", "agent"),
            *(str(word) for pair in arguments.items() for word in pair),
            stdout=asyncio.subprocess.PIPE,
            limit=LOG_LINE_LIMIT,
        )
        self._reader = asyncio.create_task(self._read(self._process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self.logged.append(json.loads(line))
            self._news.set()
            self._news = asyncio.Event()

    async def says(self, event: str, timeout_s: float, **fields: Any) -> Mapping[str, Any]:
        """The first line with that event and those fields."""
        async with asyncio.timeout(timeout_s):
            while True:
                for line in self.logged:
                    if line["event"] == event and fields.items() <= line.items():
                        return line
                await self._news.wait()

    async def terminate(self) -> int:
        """SIGTERM; the exit code."""
        return await self._end(lambda process: process.terminate())

    async def kill(self) -> None:
        """SIGKILL."""
        await self._end(lambda process: process.kill())

    async def _end(self, how: Callable[[asyncio.subprocess.Process], None]) -> int:
        process, self._process = self._process, None
        if process is None or self._reader is None:
            return 0
        with suppress(ProcessLookupError):
            how(process)
        await self._reader
        return await process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.terminate()
        if error is not None:
            sys.stderr.writelines(f"agent: {json.dumps(line)}\n" for line in self.logged)
