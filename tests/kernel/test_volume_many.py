"""Many calls at once and many volumes: one device each, nothing lost, nothing left."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ringbolt.linux import loop, mount
from ringbolt.volumes.errors import NotAvailableError
from ringbolt.volumes.spec import Encryption, Loop, Tmpfs
from ringbolt.volumes.volume import Volume
from tests.kernel.volumes_lab import NAMESPACE, TENANT, VolumeLab, volume, volume_lab

pytestmark = pytest.mark.root
DATA = volume(Loop("data", 8 << 20))
PODS = [f"pod-{number}" for number in range(6)]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[VolumeLab]:
    made = volume_lab(tmp_path)
    yield made
    assert made.mounts() == []
    mount.umount(str(made.places.kubelet_dir))
    assert [path for path in (made.places.run_dir / "volumes").rglob("*") if path.is_file()] == []


def test_pods_come_and_go_at_once_and_share_one_mount(lab: VolumeLab) -> None:
    image = lab.places.state_dir / "volumes" / "loop" / "default" / "data.img"

    def live(pod: str) -> None:
        choose = random.Random(pod)
        for turn in range(8):
            target = lab.target("data", pod)
            lab.publish(DATA, target)
            if choose.random() < 0.5:
                assert not lab.publish(DATA, target).fresh
            (target / f"{pod}-{turn}").write_text("x")
            found = image.stat()
            assert len(loop.find_by_backing(found.st_dev, found.st_ino)) == 1
            lab.unpublish(target)
            target.rmdir()

    with ThreadPoolExecutor(len(PODS)) as threads:
        list(threads.map(live, PODS))
    last = lab.target("data", "last")
    lab.publish(DATA, last)
    assert {path.name for path in last.iterdir() if path.is_file()} == {
        f"{pod}-{turn}" for pod in PODS for turn in range(8)
    }
    lab.unpublish(last)


def test_the_same_call_twice_at_once_mounts_once(lab: VolumeLab) -> None:
    target = lab.target("data")
    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(lambda _: lab.publish(DATA, target), range(8)))
    assert sum(one.fresh for one in done) == 1
    assert len(lab.mounts()) == 2
    lab.unpublish(target)


def test_a_hundred_volumes_are_told_apart(lab: VolumeLab) -> None:
    for number in range(110):
        lab.publish(volume(Tmpfs(size=1 << 20), f"pod/{number}"), lab.target(f"v{number}"))
    assert len({one.volume_id for one in lab.room.list()}) == 110
    for number in range(110):
        assert lab.unpublish(lab.target(f"v{number}")).unmounted == 1


def test_nobody_who_asks_for_encryption_gets_a_plain_volume(lab: VolumeLab) -> None:
    wanted = Volume(Tmpfs(), NAMESPACE, encryption=Encryption.LUKS, instance="x")
    with pytest.raises(NotAvailableError, match="cannot encrypt tmpfs"):
        lab.room.validate(wanted, TENANT)
