"""Each test of this layer is alone: fresh namespaces, and the look-out sees what is left."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.conftest import Remains


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


@contextmanager
def _link(_folder: Path) -> Iterator[None]:
    _run("ip", "link", "add", "left0", "type", "bridge")
    yield
    _run("ip", "link", "del", "left0")


@contextmanager
def _mount(folder: Path) -> Iterator[None]:
    _run("mount", "-t", "tmpfs", "left", str(folder))
    yield
    _run("umount", str(folder))


@contextmanager
def _descriptor(folder: Path) -> Iterator[None]:
    held = os.open(folder, os.O_RDONLY)
    yield
    os.close(held)


@contextmanager
def _process(_folder: Path) -> Iterator[None]:
    waiter = [sys.executable, "-c", "input()"]
    with subprocess.Popen(waiter, stdin=subprocess.PIPE) as process:
        yield
        process.communicate(b"\n")


@contextmanager
def _orphan(folder: Path) -> Iterator[None]:
    """Start a process whose parent ends before it; it lives while the fifo has a writer."""
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    _run("sh", "-c", f"cat '{fifo}' & exit 0")
    with fifo.open("w"):
        yield


@pytest.fixture(autouse=True)
def _programs(need_program: Callable[[str, str], str]) -> None:
    need_program("ip", "iproute2")
    need_program("losetup", "mount")


@pytest.mark.parametrize("turn", [1, 2])
def test_the_namespaces_are_fresh_for_each_test(turn: int, remains: Remains) -> None:
    assert remains.look("links") == {"link lo"}, turn
    _run("ip", "link", "add", "kept0", "type", "bridge")
    _run("ip", "link", "del", "kept0")


@pytest.mark.parametrize(
    ("kind", "leave"),
    [
        ("links", _link),
        ("mounts", _mount),
        ("descriptors", _descriptor),
        ("processes", _process),
        ("processes", _orphan),
    ],
)
def test_the_lookout_names_what_is_left(
    kind: str,
    leave: Callable[[Path], AbstractContextManager[None]],
    remains: Remains,
    tmp_path: Path,
) -> None:
    quick = Remains(remains.base, timeout_s=0)
    before = remains.look(kind)
    with leave(tmp_path), pytest.raises(AssertionError, match=f"left behind: {kind[:-2]}"):
        quick.assert_none_since(before, kind)
    remains.assert_none_since(before, kind)


@pytest.mark.root
def test_the_lookout_names_a_loop_device_of_ours(remains: Remains, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(65536))
    before = remains.look("loops")
    made = subprocess.run(
        ["losetup", "--find", "--show", str(image)], check=True, capture_output=True, text=True
    )
    device = made.stdout.strip()
    try:
        assert remains.look("loops") - before == {f"loop device {Path(device).name}: {image}"}
    finally:
        _run("losetup", "--detach", device)


async def test_an_event_loop_is_no_leak() -> None:
    assert asyncio.get_running_loop().is_running()
