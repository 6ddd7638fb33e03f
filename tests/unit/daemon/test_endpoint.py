"""The end of a generation, whatever has become of its socket."""

import asyncio
from pathlib import Path
from typing import cast

import grpc
import pytest

from daemon.endpoint import Generation
from daemon.registration import Plugin
from daemon.streams import Ending, Streams
from protos import deviceplugin_v1beta1_pb2 as v1beta1
from ringbolt.devices.resource import ResourceName


class Server:
    """A grpc server as far as a generation's end knows one."""

    def __init__(self) -> None:
        self.stopped = False

    async def stop(self, grace: float) -> None:
        assert grace >= 0
        self.stopped = True


@pytest.fixture
def server() -> Server:
    return Server()


def generation(socket: Path, server: Server) -> Generation:
    plugin = Plugin(ResourceName("ringbolt.dev/port"), socket, v1beta1.DevicePluginOptions())
    return Generation(plugin, cast("grpc.aio.Server", server), Streams())


def test_the_socket_goes_with_its_generation(tmp_path: Path, server: Server) -> None:
    (tmp_path / "sock").touch()
    asyncio.run(generation(tmp_path / "sock", server).end(Ending.FAREWELL))
    assert server.stopped
    assert list(tmp_path.iterdir()) == []


def test_what_replaced_the_socket_stays(tmp_path: Path, server: Server) -> None:
    (tmp_path / "sock").touch()
    one = generation(tmp_path / "sock", server)
    (tmp_path / "sock").rename(tmp_path / "old")
    (tmp_path / "sock").mkdir()
    asyncio.run(one.end(Ending.DRAIN))
    assert server.stopped
    assert (tmp_path / "sock").is_dir()


def test_a_socket_that_cannot_be_removed_stops_nobody(tmp_path: Path, server: Server) -> None:
    (tmp_path / "sock").mkdir()  # unlink fails as it does in a read-only directory
    asyncio.run(generation(tmp_path / "sock", server).end(Ending.FAREWELL))
    assert server.stopped
