"""Hints are gathered, put off and taken."""

from daemon.hints import Hints
from ringbolt.devices.tree import SysPath

ONE, OTHER = SysPath("/devices/one"), SysPath("/devices/other")


async def test_what_is_put_off_is_looked_at_in_its_time() -> None:
    hints = Hints()
    hints.take()
    hints.defer([ONE], 0.01)
    hints.defer([ONE, OTHER], 1.0)
    await hints.settled(10)
    assert hints.take().paths == {ONE}
    await hints.settled(10)
    assert hints.take().paths == {OTHER}


async def test_what_is_heard_of_meanwhile_is_put_off_no_more() -> None:
    hints = Hints()
    hints.defer([ONE], 0.001)
    hints.defer([OTHER], 0.01)
    hints.add([ONE])
    assert hints.take().paths == {ONE}
    await hints.settled(10)
    assert hints.take().paths == {OTHER}
