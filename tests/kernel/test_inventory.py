"""The inventory hears of changes from the kernel, and makes true what answers refer to."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from daemon.departures import Departures
from daemon.directory_watch import DirectoryWatch
from daemon.holders import Holders
from daemon.inventory import Inventory
from daemon.metrics import Metrics
from ringbolt.devices.device import Snapshot
from ringbolt.devices.grammar import parse_term
from ringbolt.devices.resource import Container, Resource, ResourceName
from ringbolt.devices.scan import Scanner

WAIT_S = 20.0


class Answers:
    """What was made true last: where each path led then."""

    def __init__(self) -> None:
        self.lead: dict[str, str] = {}
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def prepare(self, snapshot: Snapshot, *, whole: bool) -> None:
        assert whole or snapshot.version
        nodes = [m.dev_node for some in snapshot.devices.values() for d in some for m in d.members]
        self.lead = {node: str(Path(node).resolve()) for node in nodes}
        self._loop.call_soon_threadsafe(self._news.set)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not holds():
                await self._news.wait()
                self._news.clear()


@asynccontextmanager
async def running(answers: Answers, folder: Path, resource: Resource) -> AsyncGenerator[Inventory]:
    for name in ("bus", "class"):
        (folder / "sys" / name).mkdir(parents=True)
    watch = DirectoryWatch()
    inventory = Inventory(
        scanner=Scanner(folder / "sys", folder / "udev"),
        departures=Departures(Holders(folder / "kubelet.sock")),
        watch=watch,
        state_dir=folder,
        prepare=answers.prepare,
        metrics=Metrics(),
    )
    inventory.adopt([resource])
    tasks = [asyncio.create_task(watch.run()), asyncio.create_task(inventory.run())]
    try:
        yield inventory
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def point(link: Path, target: Path) -> None:
    """Let the link lead elsewhere at once, as udev does."""
    beside = link.with_name(".new")
    beside.symlink_to(target)
    beside.rename(link)


async def test_a_link_that_leads_elsewhere_is_followed(tmp_path: Path) -> None:
    term, _ = parse_term({"path": f"{tmp_path}/dev/gps"})
    resource = replace(Resource(ResourceName("x/gps"), (term,)), container=Container(gid=20))
    (tmp_path / "dev").mkdir()
    link, one, other = (tmp_path / "dev" / name for name in ("gps", "one", "other"))
    one.touch()
    other.touch()
    point(link, one)
    answers = Answers()
    async with running(answers, tmp_path, resource) as inventory:
        first = await inventory.newer_than(0)
        assert answers.lead == {str(link): str(one)}
        point(link, other)
        await answers.until(lambda: answers.lead == {str(link): str(other)})
        assert inventory.snapshot.version == first.version, "the kubelet need not know"
