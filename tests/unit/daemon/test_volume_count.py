"""Volumes are counted for /metrics without anybody waiting for a disk that does not answer."""

import threading

from daemon.volume_count import Counts, VolumeCount

COUNTS = {("loop", "mounted"): 2}


async def test_what_is_counted_now_is_told() -> None:
    told = iter([COUNTS, {("loop", "unused"): 1}])
    count = VolumeCount(lambda: next(told))
    assert await count.now() == COUNTS
    assert await count.now() == {("loop", "unused"): 1}


async def test_a_disk_that_hangs_costs_one_thread_and_no_answer() -> None:
    hangs = threading.Event()
    started: list[int] = []

    def slow() -> Counts:
        started.append(1)
        if len(started) > 1:
            hangs.wait(60)
        return {("loop", "mounted"): len(started)}

    count = VolumeCount(slow, patience_s=0.01)
    while await count.now() != {("loop", "mounted"): 1}:
        pass
    while len(started) < 2:
        await count.now()
    for _ in range(3):
        assert await count.now() == {("loop", "mounted"): 1}
    assert len(started) == 2
    hangs.set()
    while await count.now() == {("loop", "mounted"): 1}:
        pass


async def test_what_cannot_be_counted_leaves_the_last_number() -> None:
    told = iter([COUNTS])

    def once() -> Counts:
        for found in told:
            return found
        raise OSError(5, "Input/output error")

    count = VolumeCount(once)
    assert await count.now() == COUNTS
    assert await count.now() == COUNTS
