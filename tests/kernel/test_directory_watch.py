"""Real inotify: entries that come, go and move, and directories that are not there yet."""

import asyncio
import contextlib
import errno
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asyncinotify import Inotify

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


async def test_a_directory_that_went_unheard_can_be_unsubscribed(tmp_path: Path) -> None:
    wanted = tmp_path / "wanted"
    wanted.mkdir()
    async with running() as watch:
        unsubscribe = watch.subscribe(wanted, Heard())
        wanted.rmdir()  # the kernel has ended the watch, and nobody has read that it did
        unsubscribe()


async def test_unsubscribing_after_the_end_is_as_good_as_before(tmp_path: Path) -> None:
    async with running() as watch:
        unsubscribe = watch.subscribe(tmp_path, Heard())
        await asyncio.sleep(0)
    unsubscribe()
    watch.subscribe(tmp_path, Heard())


async def test_without_a_descriptor_nobody_is_told_and_nothing_fails(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as undo:
        undo.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        watch = DirectoryWatch()
    task = asyncio.ensure_future(watch.run())
    unsubscribe = watch.subscribe(tmp_path, Heard())
    await asyncio.sleep(0)
    assert not task.done()
    unsubscribe()
    task.cancel()


async def test_beyond_the_limit_of_watches_nobody_is_told_and_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The limit itself is the whole machine's.
    def refuse(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with running() as watch:
        monkeypatch.setattr(Inotify, "add_watch", refuse)
        watch.subscribe(tmp_path / "missing", Heard())()
        unsubscribe = watch.subscribe(tmp_path, Heard())
        monkeypatch.undo()
        unsubscribe()
        heard = Heard()
        watch.subscribe(tmp_path, heard)
        (tmp_path / "a").touch()
        await heard.until(tmp_path / "a")
