"""Real inotify: entries that come, go and move, and directories that are not there yet."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.directory_watch import DirectoryWatch


class Heard:
    def __init__(self) -> None:
        self.paths: asyncio.Queue[Path] = asyncio.Queue()

    def __call__(self, path: Path) -> None:
        self.paths.put_nowait(path)

    async def until(self, path: Path) -> None:
        async with asyncio.timeout(10):
            while await self.paths.get() != path:
                pass

    def nothing_more(self) -> bool:
        return self.paths.empty()


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[DirectoryWatch]:
    watch = DirectoryWatch()
    task = asyncio.ensure_future(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_creation_removal_and_rename_are_told(tmp_path: Path) -> None:
    async with running() as watch:
        heard = Heard()
        watch.subscribe(tmp_path, heard)
        (tmp_path / "a").touch()
        await heard.until(tmp_path / "a")
        (tmp_path / "a").rename(tmp_path / "b")
        await heard.until(tmp_path / "b")
        (tmp_path / "b").unlink()
        await heard.until(tmp_path / "b")


async def test_a_directory_that_appears_later_is_told_with_its_entries(tmp_path: Path) -> None:
    wanted = tmp_path / "deep" / "er"
    async with running() as watch:
        heard = Heard()
        watch.subscribe(wanted, heard)
        wanted.mkdir(parents=True)
        await heard.until(wanted)
        (wanted / "x").touch()
        await heard.until(wanted / "x")


async def test_a_directory_that_goes_and_comes_back_is_watched_again(tmp_path: Path) -> None:
    wanted = tmp_path / "plugins"
    wanted.mkdir()
    async with running() as watch:
        heard = Heard()
        watch.subscribe(wanted, heard)
        wanted.rmdir()
        await asyncio.sleep(0)
        wanted.mkdir()
        await heard.until(wanted)
        (wanted / "x").touch()
        await heard.until(wanted / "x")


async def test_who_unsubscribed_hears_nothing_and_others_still_do(tmp_path: Path) -> None:
    async with running() as watch:
        left, stayed = Heard(), Heard()
        unsubscribe = watch.subscribe(tmp_path, left)
        watch.subscribe(tmp_path, stayed)
        unsubscribe()
        (tmp_path / "a").touch()
        await stayed.until(tmp_path / "a")
        assert left.nothing_more()


@pytest.mark.parametrize("order", [("outer", "inner"), ("inner", "outer")])
async def test_nested_directories_are_watched_whichever_comes_first(
    tmp_path: Path, order: tuple[str, str]
) -> None:
    places = {"outer": tmp_path, "inner": tmp_path / "inner"}
    async with running() as watch:
        heard = {name: Heard() for name in order}
        for name in order:
            watch.subscribe(places[name], heard[name])
        places["inner"].mkdir()
        await heard["inner"].until(places["inner"])
        (places["inner"] / "x").touch()
        await heard["inner"].until(places["inner"] / "x")
        (places["outer"] / "y").touch()
        await heard["outer"].until(places["outer"] / "y")
