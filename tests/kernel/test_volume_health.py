"""What goes wrong with mounted volumes is told when it happens, by the kernel's own events."""

import asyncio
import os
import select
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from daemon.volume_health import PERIOD_S, VolumeHealth
from daemon.volume_metrics import VolumeMetrics
from ringbolt.linux import fanotify, loop, mount
from ringbolt.linux.inode_flags import is_immutable, set_immutable
from ringbolt.linux.mount_api import FsContext
from ringbolt.linux.uevent import Uevent, open_uevents, read_uevents
from ringbolt.volumes.spec import Directory, Kind, Loop, Tmpfs
from ringbolt.volumes.volume import Publication
from tests.kernel.volumes_lab import NAMESPACE, TENANT, VolumeLab, soon, volume, volume_lab

pytestmark = [pytest.mark.effects("libc", "socket", "sysfs", "subprocess"), pytest.mark.root]
MIB = 1 << 20
DATA = volume(Loop("data", 16 * MIB))
SCRATCH = volume(Tmpfs(MIB), "0a1b/scratch")
LIMIT_S = 20
"""Far below the time after which everything is looked at anyway."""
assert LIMIT_S < PERIOD_S


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[VolumeLab]:
    made = volume_lab(tmp_path)
    yield made
    for target in {one.target for one in made.mounts() if "/pods/" in one.target}:
        made.room.unpublish(Path(target), soon())
    made.room.reconcile()
    assert made.mounts() == []
    mount.umount(str(made.places.kubelet_dir))


class Told:
    """What the health of a lab's volumes logged and counted."""

    def __init__(self, logs: list[dict[str, object]], registry: CollectorRegistry) -> None:
        self.logs = logs
        self.registry = registry

    async def until(self, event: str, count: int = 1) -> dict[str, object]:
        """The line, once it is there."""
        end = monotonic() + LIMIT_S
        while monotonic() < end:
            found = [one for one in self.logs if one["event"] == event]
            if len(found) >= count:
                return found[count - 1]
            await asyncio.sleep(0.005)  # the kernel tells, a thread looks
        raise AssertionError(f"no {event}: {self.logs}")

    def count(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@asynccontextmanager
async def looked_after(lab: VolumeLab) -> AsyncGenerator[Told]:
    registry = CollectorRegistry()
    first = asyncio.Event()
    loop_ = asyncio.get_running_loop()
    metrics = VolumeMetrics(registry)
    examined = metrics.examined

    def note(*arguments: object) -> None:
        examined(*arguments)  # type: ignore[arg-type]
        loop_.call_soon_threadsafe(first.set)

    metrics.examined = note  # type: ignore[method-assign, assignment]
    with capture_logs() as logs:
        task = asyncio.create_task(VolumeHealth(lambda: lab.room, metrics).run())
        await asyncio.wait_for(first.wait(), LIMIT_S)
        try:
            yield Told(logs, registry)  # type: ignore[arg-type]
        finally:
            task.cancel()
            await asyncio.wait([task])


def backing(lab: VolumeLab) -> str:
    image = (lab.places.state_dir / "volumes/loop/default/data.img").stat()
    (found,) = loop.find_by_backing(image.st_dev, image.st_ino)
    return f"loop{found.number}"


def trigger_error(lab: VolumeLab) -> None:
    Path(f"/sys/fs/ext4/{backing(lab)}/trigger_fs_error").write_text("test")


async def test_an_error_of_a_file_system_is_told_at_once(lab: VolumeLab) -> None:
    async with looked_after(lab) as told:
        lab.publish(DATA, lab.target("data"))
        await asyncio.sleep(0.5)  # a storm of mounts is looked at together
        trigger_error(lab)
        line = await told.until("volume ails")
        assert (line["volume_id"], line["fault"]) == (DATA.id, "read-only")
        assert line["pods"] == ["default/web-0"]
        assert "after 1 error" in str(line["reason"])
        assert "stop its pods" in str(line["to_do"])
        assert told.count("ringbolt_volume_ailments", kind="loop", fault="read-only") == 1
        lab.unpublish(lab.target("data"))
        await told.until("volume ails no more")
        assert told.count("ringbolt_volume_ailments", kind="loop", fault="read-only") is None
        assert told.count("ringbolt_volume_faults_total", kind="loop", fault="read-only") == 1


async def test_an_error_that_stops_no_writing_is_told_too(lab: VolumeLab) -> None:
    lab.publish(DATA, lab.target("data"))
    with FsContext.pick(str(lab.places.stagings / DATA.id / "mount")) as context:
        context.set_string("errors", "continue")
        context.reconfigure()
    async with looked_after(lab) as told:
        trigger_error(lab)
        line = await told.until("volume ails")
        assert line["fault"] == "errors"
        assert "damaged after 1 error" in lab.room.stats(lab.target("data")).abnormal


async def test_what_was_wrong_before_is_told_at_the_start(lab: VolumeLab) -> None:
    lab.publish(DATA, lab.target("data"))
    trigger_error(lab)
    async with looked_after(lab) as told:
        await told.until("volume ails")


async def test_publishing_and_unpublishing_are_nothing_to_tell(lab: VolumeLab) -> None:
    async with looked_after(lab) as told:
        for _ in range(3):
            for name in ("a", "b"):
                lab.publish(DATA, lab.target(name))
                lab.publish(SCRATCH, lab.target(f"{name}s"))
            for name in ("a", "b", "as", "bs"):
                lab.unpublish(lab.target(name))
        lab.publish(DATA, lab.target("data"))
        mount.umount(str(lab.places.stagings / DATA.id / "mount"))
        line = await told.until("volume ails")
        assert str(line["reason"]).startswith("somebody unmounted")
        assert [one["event"] for one in told.logs].count("volume ails") == 1


@pytest.mark.parametrize("kind", [Kind.LOOP, Kind.DIRECTORY])
async def test_what_somebody_unmounted_is_told_and_mounted_again(
    lab: VolumeLab, kind: Kind
) -> None:
    shared = volume(Directory(f"{lab.root}/shared", create=True))
    asked = {Kind.LOOP: DATA, Kind.DIRECTORY: shared}[kind]
    target = lab.target("data")
    async with looked_after(lab) as told:
        lab.publish(asked, target, readonly=True)
        before = [one for one in lab.mounts() if one.target == str(target)]
        mount.umount(str(target))
        line = await told.until("volume ails")
        assert (line["fault"], line["target"]) == ("unmounted", str(target))
        await told.until("volume mounted again")
        (after,) = (one for one in lab.mounts() if one.target == str(target))
        assert (after.device, after.root, after.options) == (
            before[0].device,
            before[0].root,
            before[0].options,
        )
        await told.until("volume ails no more")
        mount.umount(str(target))
        line = await told.until("volume stays unmounted")
        assert line["reason"] == "it was unmounted again"
        assert [one for one in lab.mounts() if one.target == str(target)] == []


def take_guard_off(lab: VolumeLab, target: Path) -> None:
    del lab
    mount.umount(str(target))
    set_free(target)


def set_free(target: Path) -> None:
    fd = os.open(target, os.O_RDONLY)
    assert is_immutable(fd)
    set_immutable(fd, on=False)
    os.close(fd)


def lose_staging(lab: VolumeLab, target: Path) -> None:
    mount.umount(str(lab.places.stagings / DATA.id / "mount"))
    mount.umount(str(target))


def break_it(lab: VolumeLab, target: Path) -> None:
    trigger_error(lab)
    mount.umount(str(target))


@pytest.mark.parametrize("harm", [take_guard_off, lose_staging, break_it])
async def test_what_is_not_safe_to_mount_again_is_left_alone(
    lab: VolumeLab, harm: Callable[[VolumeLab, Path], None]
) -> None:
    target = lab.target("data")
    async with looked_after(lab) as told:
        lab.publish(DATA, target)
        harm(lab, target)
        await told.until("volume stays unmounted")
    assert [one for one in lab.mounts() if one.target == str(target)] == []


async def test_memory_that_was_unmounted_is_not_replaced_by_an_empty_one(lab: VolumeLab) -> None:
    target = lab.target("scratch")
    async with looked_after(lab) as told:
        lab.publish(SCRATCH, target)
        mount.umount(str(target))
        line = await told.until("volume stays unmounted")
        assert line["reason"] == "what was in it went with the mount"


async def test_a_pod_that_is_gone_gets_nothing_again(lab: VolumeLab) -> None:
    target = lab.target("data", "beef")
    tenant = replace(TENANT, uid="dead", namespace=NAMESPACE)
    async with looked_after(lab) as told:
        lab.room.create(DATA, tenant, soon())
        lab.room.publish(DATA, Publication(target, tenant), soon())
        mount.umount(str(target))
        line = await told.until("volume stays unmounted")
        assert "its pod is gone" in str(line["reason"])


def test_mountinfo_tells_where_fanotify_cannot(
    lab: VolumeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def old_kernel() -> int:
        raise OSError(22, "fanotify_init")

    def no_uevents() -> None:  # those of the whole machine
        raise OSError(1, "socket")

    monkeypatch.setattr(fanotify, "open_mount_watch", old_kernel)
    monkeypatch.setattr("ringbolt.volumes.watch.open_uevents", no_uevents)
    with lab.room.watch() as watch:
        assert len(watch.lacks) == 1
        watch.hear()
        assert not select.select([watch], [], [], 0)[0]
        lab.publish(SCRATCH, lab.target("scratch"))
        assert select.select([watch], [], [], LIMIT_S)[0]
        assert watch.hear()
        assert not select.select([watch], [], [], 0)[0]
        mount.umount(str(lab.target("scratch")))
        assert select.select([watch], [], [], LIMIT_S)[0]
        assert watch.hear()


def test_a_disk_that_goes_is_heard(lab: VolumeLab) -> None:
    number = loop.free()
    loop.remove(number)
    loop.add(number)
    with lab.room.watch() as watch, open_uevents() as heard:
        watch.hear()
        loop.remove(number)
        assert select.select([heard], [], [], LIMIT_S)[0]
        assert Uevent("remove", f"/devices/virtual/block/loop{number}") in (
            read_uevents(heard) or ()
        )
        assert select.select([watch], [], [], LIMIT_S)[0]
        assert watch.hear()
