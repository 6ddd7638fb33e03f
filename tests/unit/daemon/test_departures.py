"""A unit that leaves stays listed for the grace, then as long as a pod holds it."""

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from daemon import holders as holders_module
from daemon.departures import AGAIN_S, GRACE_S, RELEASE_S, SILENCE_S, Departures
from daemon.holders import RECENT_S, YOUNG_S, Holders
from daemon.pod_resources import Holder, Holdings, PodResourcesError
from ringbolt.devices.device import Device, DeviceId, UnitId
from ringbolt.devices.resource import ResourceName

SERIAL = ResourceName("ringbolt.dev/serial")
ONE = Device(DeviceId("one"), SERIAL, ())
TWO = Device(DeviceId("two"), SERIAL, ())


@dataclass
class Kubelet:
    """What PodResources answers; None: it cannot be asked."""

    holdings: Holdings | None = field(default_factory=dict)
    asked: int = 0

    async def read(self, socket: Path, **_options: float) -> Holdings:
        self.asked += 1
        if self.holdings is None:
            raise PodResourcesError(f"{socket}: no such socket")
        return self.holdings

    def hold(self, *units: str) -> None:
        holder = Holder("default", "modem", "main")
        self.holdings = {SERIAL: dict.fromkeys(map(UnitId, units), holder)}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def kubelet(monkeypatch: pytest.MonkeyPatch) -> Kubelet:
    made = Kubelet()
    monkeypatch.setattr(holders_module, "read_holdings", made.read)
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def holders(kubelet: Kubelet, clock: Clock) -> Holders:
    assert kubelet.asked == 0
    return Holders(Path("/nowhere/kubelet.sock"), clock)


@pytest.fixture
def departures(holders: Holders, clock: Clock) -> Departures:
    return Departures(holders, clock)


def gone(departures: Departures, *present: Device) -> list[str]:
    return [gone.unit for gone in departures.gone({SERIAL: present})[SERIAL]]


async def test_an_unplugged_unit_nobody_holds_leaves_after_the_grace(
    departures: Departures, clock: Clock
) -> None:
    departures.note({SERIAL: [ONE, TWO]}, {SERIAL: [TWO]})
    assert gone(departures, TWO) == ["one"]
    await departures.ask()
    assert gone(departures, TWO) == ["one"], "its grace is not over"
    clock.now += departures.wait_s() or 0
    assert departures.wait_s() == 0
    assert gone(departures, TWO) == ["one"], "the kubelet has not been asked"
    await departures.ask()
    assert gone(departures, TWO) == []
    assert departures.wait_s() is None


async def test_a_unit_waits_for_a_kubelet_that_is_away_when_it_leaves(
    departures: Departures, clock: Clock, kubelet: Kubelet
) -> None:
    departures.note({SERIAL: [ONE]}, {SERIAL: []})
    kubelet.holdings = None
    clock.now += GRACE_S
    await departures.ask()
    assert gone(departures) == ["one"]
    kubelet.hold("one")
    departures.kubelet_came()
    await departures.ask()
    clock.now += SILENCE_S
    assert gone(departures) == ["one"], "the kubelet said that a pod holds it"


async def test_without_a_kubelet_a_unit_nobody_holds_leaves_at_last(
    departures: Departures, clock: Clock, kubelet: Kubelet
) -> None:
    kubelet.holdings = None
    departures.note({SERIAL: [ONE]}, {SERIAL: []})
    await departures.ask()
    clock.now += GRACE_S
    await departures.ask()
    assert gone(departures) == ["one"]
    assert departures.wait_s() == RELEASE_S, "not asked again and again meanwhile"
    clock.now += SILENCE_S
    await departures.ask()
    assert gone(departures) == []


async def test_a_kubelet_that_has_just_started_only_adds_holders(
    kubelet: Kubelet, clock: Clock, tmp_path: Path
) -> None:
    socket = tmp_path / "kubelet.sock"
    departures = Departures(Holders(socket, clock), clock)
    kubelet.hold("one")
    await departures.ask()
    assert departures.settled
    socket.touch()
    kubelet.hold()
    departures.kubelet_came()
    await departures.ask()
    assert not departures.settled
    assert departures.wait_s() == AGAIN_S
    assert gone(departures) == ["one"], "it has not admitted its pods yet"
    kubelet.hold("two")
    clock.now += AGAIN_S
    await departures.ask()
    assert gone(departures) == ["one", "two"]
    made = socket.stat().st_mtime - YOUNG_S
    os.utime(socket, (made, made))
    clock.now += AGAIN_S
    await departures.ask()
    assert departures.settled
    assert gone(departures) == ["two"]


async def test_a_held_unit_stays_until_it_is_released(
    departures: Departures, clock: Clock, kubelet: Kubelet
) -> None:
    kubelet.hold("one")
    departures.note({SERIAL: [ONE]}, {SERIAL: []})
    clock.now += GRACE_S
    await departures.ask()
    assert gone(departures) == ["one"]
    assert departures.wait_s() == RELEASE_S
    kubelet.hold()
    await departures.ask()
    assert gone(departures) == []


async def test_the_kubelet_is_asked_when_a_grace_is_over_and_not_before(
    departures: Departures, clock: Clock, kubelet: Kubelet
) -> None:
    answers: asyncio.Queue[float] = asyncio.Queue()
    running = asyncio.ensure_future(departures.run(lambda: answers.put_nowait(clock.now)))
    await answers.get()
    assert kubelet.asked == 1, "who held what before the start"
    clock.now += 100
    departures.note({SERIAL: [ONE]}, {SERIAL: []})
    clock.now += GRACE_S
    assert gone(departures) == ["one"]
    await asyncio.wait_for(answers.get(), 10)
    assert kubelet.asked == 2
    assert gone(departures) == []
    running.cancel()


async def test_what_a_pod_held_before_the_agent_started_is_listed(
    departures: Departures, kubelet: Kubelet
) -> None:
    kubelet.hold("lost", "two")
    await departures.ask()
    assert gone(departures, TWO) == ["lost"]


async def test_a_unit_that_comes_back_is_not_gone(departures: Departures) -> None:
    departures.note({SERIAL: [ONE]}, {SERIAL: []})
    departures.note({SERIAL: []}, {SERIAL: [ONE]})
    assert gone(departures, ONE) == []
    assert gone(departures) == []


async def test_an_allocated_unit_is_held_until_the_kubelet_lists_or_the_time_passes(
    holders: Holders, clock: Clock
) -> None:
    with holders.allocating(SERIAL, [UnitId("one")]):
        assert set(holders.held()[SERIAL]) == {"one"}
    await holders.refresh()
    assert set(holders.held()[SERIAL]) == {"one"}
    clock.now += RECENT_S + 1
    await holders.refresh()
    assert holders.held() == {}


async def test_a_failed_allocation_holds_nothing(holders: Holders) -> None:
    with pytest.raises(ValueError, match="no"), holders.allocating(SERIAL, [UnitId("one")]):
        raise ValueError("no")
    assert holders.held() == {}


async def test_without_pod_resources_what_was_allocated_stays_held(
    holders: Holders, clock: Clock, kubelet: Kubelet
) -> None:
    kubelet.holdings = None
    with holders.allocating(SERIAL, [UnitId("one")]):
        pass
    clock.now += RECENT_S * 10
    await holders.refresh()
    assert set(holders.held()[SERIAL]) == {"one"}
