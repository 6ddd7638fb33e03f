"""Sockets that earlier agents left: dead ones of ours go, all else stays."""

import socket
from pathlib import Path

from daemon.endpoint import unlink_leftovers


def test_dead_sockets_of_ours_go_whatever_resource_they_were_for(tmp_path: Path) -> None:
    def bound(name: str) -> socket.socket:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.bind(str(tmp_path / name))
        return one

    for name in ("rb-0123456789-dead00.sock", "rb-9876543210-dead00.sock", "other.sock"):
        bound(name).close()
    with bound("rb-0123456789-living.sock") as living:
        living.listen()
        unlink_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "other.sock",
        "rb-0123456789-living.sock",
    ]


def test_a_directory_that_is_not_there_is_no_matter(tmp_path: Path) -> None:
    unlink_leftovers(tmp_path / "plugins_registry")
