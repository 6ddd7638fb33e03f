"""Mounts whose daemon is gone or hangs: replaced or taken off, and in nobody else's way."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ringbolt.linux import mount
from ringbolt.volumes import hanging
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import DeadlineError, TryAgainError
from ringbolt.volumes.outcome import State
from ringbolt.volumes.spec import Tmpfs
from tests.kernel.volumes_lab import VolumeLab, soon, volume, volume_lab

pytestmark = pytest.mark.root
MEMORY = volume(Tmpfs(size=1 << 20), "0a1b/scratch")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VolumeLab]:
    monkeypatch.setattr(hanging, "PATIENCE_S", 1.0)
    made = volume_lab(tmp_path)
    yield made
    assert made.mounts() == []
    mount.umount(str(made.places.kubelet_dir))


@contextmanager
def unserved(target: Path) -> Iterator[None]:
    """A FUSE mount whose daemon does not answer in the block, and is dead after it."""
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        options = f"fd={fd},rootmode=40000,user_id=0,group_id=0"
        mount.mount("hung", str(target), "fuse", mount.MS_NOSUID | mount.MS_NODEV, options)
        yield
    finally:
        os.close(fd)


def test_a_dead_mount_is_replaced(lab: VolumeLab) -> None:
    target = lab.target("scratch")
    with unserved(target):
        pass
    with pytest.raises(OSError, match="not connected"):
        os.stat(target)  # noqa: PTH116
    done = lab.publish(MEMORY, target)
    assert done.fresh
    assert "dead" in done.remarks[0]
    assert [one.fstype for one in lab.mounts()] == ["tmpfs"]
    lab.unpublish(target)
    target.rmdir()


def test_a_dead_mount_is_taken_off(lab: VolumeLab) -> None:
    target = lab.target("scratch")
    with unserved(target):
        pass
    assert lab.unpublish(target).unmounted == 1
    target.rmdir()


def test_a_dead_publication_is_listed_as_such(lab: VolumeLab) -> None:
    target = lab.target("scratch")
    lab.publish(MEMORY, target)
    (before,) = lab.room.list(probe=True)
    assert before.publications[0].state is State.MOUNTED
    mount.umount(str(target))
    with unserved(target):
        pass
    (after,) = lab.room.list(probe=True)
    assert after.publications[0].state is State.CORRUPT
    lab.unpublish(target)


def test_a_hung_mount_is_told_of_and_taken_off_when_asked(lab: VolumeLab) -> None:
    target, other = lab.target("scratch"), lab.target("other")
    with unserved(target):
        with pytest.raises(DeadlineError, match="does not answer"):
            lab.publish(MEMORY, target)
        lab.publish(volume(Tmpfs(size=1 << 20), "0a1b/other"), other)
        lab.unpublish(other)
        assert lab.unpublish(target).unmounted == 1
    (told,) = lab.room.list()
    assert "does not answer" in told.quarantined
    lab.publish(MEMORY, target)
    (told,) = lab.room.list()
    assert told.quarantined == ""
    lab.unpublish(target)
    target.rmdir()


def test_a_call_under_way_is_told_to_those_who_wait(lab: VolumeLab) -> None:
    target = lab.target("scratch")
    lab.publish(MEMORY, target)
    locks = lab.room._ground.locks
    with locks.hold(MEMORY.id, "fsck", soon()):
        with pytest.raises(TryAgainError, match="fsck"):
            lab.room.unpublish(target, Deadline.after(0))
        (status,) = lab.room.list()
        assert status.lock
        assert status.lock.call == "fsck"
    lab.unpublish(target)
