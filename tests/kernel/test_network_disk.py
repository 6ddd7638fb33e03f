"""A run directory that is full or cannot be written: told so, nothing half done, well later."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ringbolt.linux.mount import MS_RDONLY, MS_REMOUNT, mount, umount
from ringbolt.network.errors import NotAvailableError
from ringbolt.network.network import Network
from tests.kernel.network_lab import Pod, addresses, attach, detach, links, network, pods


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KiB."""
    mount("tmpfs", str(tmp_path), "tmpfs", 0, "size=300k")
    yield tmp_path
    umount(str(tmp_path))


def _fill(folder: Path) -> Path:
    path = folder / "filling"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return path


def _until_full(room: Network, pod: Pod) -> None:
    for _ in range(200):
        room.add(attach(pod))
        room.delete(detach(pod))


def test_a_full_disk_fails_calls_as_a_whole_and_passes(small: Path) -> None:
    with network(small) as room, pods("a", "b") as (a, b):
        first = room.add(attach(a))
        filling = _fill(small)
        with pytest.raises(NotAvailableError, match="free space"):
            _until_full(room, b)
        assert room.add(attach(a)) == first
        filling.unlink()
        room.delete(detach(b))
        room.add(attach(b))
        given = [str(one) for lease in room.leases.all() for one in lease.addresses]
        assert len(given) == len(set(given)) == 4
        for one in (a, b):
            room.delete(detach(one))
        assert set(links()) == {"lo", "rb0"}


def test_a_disk_that_cannot_be_written_is_told(small: Path) -> None:
    mount("tmpfs", str(small), "tmpfs", MS_REMOUNT | MS_RDONLY, "size=300k")
    with pytest.raises(NotAvailableError, match="write permission"):
        Network(small)


def test_what_one_room_gave_another_knows(tmp_path: Path) -> None:
    with network(tmp_path) as room, network(tmp_path) as other, pods("a", "b") as (a, b):
        first = room.add(attach(a))
        assert set(addresses(first)).isdisjoint(addresses(other.add(attach(b))))
        assert other.add(attach(a)) == first
        other.delete(detach(a))
        room.delete(detach(b))
        assert room.leases.all() == ()
