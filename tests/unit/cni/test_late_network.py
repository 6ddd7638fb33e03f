"""The room is opened when it is needed, and not before."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cni.late_network import LateNetwork
from ringbolt.network.attachment import ContainerId, Detach, InterfaceName
from ringbolt.network.errors import NotAvailableError
from ringbolt.network.settings import NetworkName, Settings
from tests.unit.cni.recording_network import RecordingNetwork

SETTINGS = Settings(NetworkName("pods"))


def test_it_is_opened_once_and_closed_if_it_was_opened() -> None:
    events: list[str] = []

    @contextmanager
    def opening() -> Iterator[RecordingNetwork]:
        events.append("open")
        yield RecordingNetwork()
        events.append("close")

    late = LateNetwork(opening)
    late.close()
    assert events == []
    late.status(SETTINGS)
    late.delete(Detach(ContainerId("a"), InterfaceName("eth0"), SETTINGS))
    late.close()
    assert events == ["open", "close"]


def test_what_keeps_it_from_being_opened_is_said_and_tried_again() -> None:
    refusals = [PermissionError(1, "socket: not permitted")]

    @contextmanager
    def opening() -> Iterator[RecordingNetwork]:
        if refusals:
            raise refusals.pop()
        yield RecordingNetwork()

    late = LateNetwork(opening)
    with pytest.raises(NotAvailableError, match="not permitted"):
        late.status(SETTINGS)
    late.status(SETTINGS)
    late.close()
