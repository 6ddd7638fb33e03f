"""File systems that do not answer any more: what stands on others is found all the same."""

import os
from pathlib import Path

import pytest

from daemon.config import parse
from ringbolt.devices import plain_paths
from ringbolt.devices.resource import ResourceName
from ringbolt.linux.mount import MNT_DETACH, mount, umount

pytestmark = pytest.mark.root

NAME = ResourceName("ringbolt.dev/socket")


def test_a_dead_mount_hides_itself_only(tmp_path: Path) -> None:
    for name in ("dead", "well"):
        (tmp_path / name).mkdir()
    (tmp_path / "well" / "sock").touch()
    server = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0"
    mount("none", str(tmp_path / "dead"), "fuse", options=options)
    os.close(server)
    try:
        with pytest.raises(OSError, match="not connected"):
            (tmp_path / "dead").stat()
        text = f"resources: [{{name: {NAME}, select: [{{path: '{tmp_path}/*/sock'}}]}}]"
        resources = parse(text.encode()).resources
        assert tmp_path / "well" in plain_paths.directories(resources)
        assert plain_paths.look(resources) == {NAME: (f"{tmp_path}/well/sock",)}
    finally:
        umount(str(tmp_path / "dead"), MNT_DETACH)
