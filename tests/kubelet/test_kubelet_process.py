"""The embedded kubelet as a process of its own."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.kubelet.fake_plugin import FakePlugin
from tests.kubelet.pods import THING


async def documents(stream: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    while line := await stream.readline():
        yield json.loads(line)


async def until(kind: str, lines: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    async for document in lines:
        if document["kind"] == kind:
            return document
    raise AssertionError(f"the process ended without {kind}")


async def test_prints_events_and_ends_on_sigterm(root: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "ringbolt.sandbox", "kubelet", "--root", root, "--generation", "1.20"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    lines = documents(process.stdout)
    await until("started", lines)
    async with FakePlugin(root / "device-plugins" / "fake.sock") as plugin:
        await plugin.register(root / "device-plugins" / "kubelet.sock")
        listed = await until("list", lines)
        assert listed["node"] == {THING: {"capacity": 3, "allocatable": 3}}
        assert listed["devices"] == dict.fromkeys("abc", "Healthy")
        process.send_signal(signal.SIGHUP)
        await until("started", lines)
        assert not plugin.socket.exists()
    process.terminate()
    await until("stopped", lines)
    assert await process.wait() == 0
