"""The kernel's uevents as values."""

import pytest

from ringbolt.linux.uevent import Uevent, parse_uevent


@pytest.mark.parametrize(
    ("data", "event"),
    [
        (
            b"remove@/devices/virtual/block/loop3\0ACTION=remove\0DEVPATH=/x\0",
            Uevent("remove", "/devices/virtual/block/loop3"),
        ),
        (b"libudev\0\xfe\xed\xca\xfe", None),
        (b"add@nowhere\0", None),
        (b"", None),
    ],
)
def test_messages_are_told_apart(data: bytes, event: Uevent | None) -> None:
    assert parse_uevent(data) == event
