"""Streams are counted, told to end, and waited for."""

import asyncio

from daemon.streams import Ending, Streams


async def test_drained_waits_for_the_last_stream() -> None:
    streams = Streams()
    release = asyncio.Event()

    async def stream() -> None:
        with streams.open():
            await release.wait()

    both = [asyncio.ensure_future(stream()) for _ in range(2)]
    await asyncio.sleep(0)
    assert (streams.live, streams.opened) == (2, 2)
    assert not await streams.drained(timeout_s=0.001)
    release.set()
    assert await streams.drained(timeout_s=10)
    assert (streams.live, streams.opened) == (0, 2)
    await asyncio.gather(*both)


async def test_a_change_between_the_look_and_the_wait_is_not_missed() -> None:
    streams = Streams()
    change = streams.changed()
    with streams.open():
        await asyncio.wait_for(change, 10)


async def test_ending_reaches_who_waits() -> None:
    streams = Streams()
    waiting = asyncio.ensure_future(streams.ended())
    streams.end(Ending.FAREWELL)
    await asyncio.wait_for(waiting, 10)
    assert streams.ending is Ending.FAREWELL
