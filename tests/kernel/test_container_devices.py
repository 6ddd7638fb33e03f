"""Answers to nodes: owners, CDI files, links, directories, and what is missing."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from ringbolt.sandbox.host_devices import CreateError
from ringbolt.sandbox.pod import Security
from ringbolt.sandbox.run_options import HostDevice, RunOptions
from tests.kernel.container_lab import NAMESPACED, Lab, lab


def write_cdi(lab: Lab, node: Mapping[str, object], **more: object) -> RunOptions:
    spec = {
        "cdiVersion": "0.7.0",
        "kind": "ringbolt.dev/test",
        "devices": [{"name": "one", "containerEdits": {"deviceNodes": [node], **more}}],
    }
    (lab.runtime.cdi_directories[0] / "ringbolt.json").write_text(json.dumps(spec))
    return RunOptions(cdi_devices=("ringbolt.dev/test=one",))


@pytest.fixture
def private_node(tmp_path: Path) -> Path:
    """A node that only root may open, numbered as /dev/null."""
    path = tmp_path / "private"
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
    return path


@pytest.mark.root
async def test_a_plain_answer_keeps_the_host_s_owner_and_mode(
    root: Lab, private_node: Path
) -> None:
    options = RunOptions((HostDevice(str(private_node), "/dev/p", "rw"),))
    ended = await root.run("exec 3<>/dev/p", options, security=Security(user=1000, group=1000))
    assert "Permission denied" in ended.err[0]


@pytest.mark.root
async def test_a_cdi_group_and_mode_let_another_user_in(root: Lab, private_node: Path) -> None:
    node = {"path": "/dev/p", "hostPath": str(private_node), "gid": 20, "fileMode": 0o660}
    options = write_cdi(root, node, additionalGids=[20], env=["A=1"])
    user = Security(user=1000, group=1000)
    ended = await root.run("stat -c %g.%a /dev/p; echo $A; exec 3<>/dev/p", options, security=user)
    assert (ended.code, ended.out, ended.err) == (0, ["20.660", "1"], [])


@pytest.mark.root
async def test_a_cdi_node_without_an_owner_is_the_container_s_user_s(
    root: Lab, private_node: Path
) -> None:
    options = write_cdi(root, {"path": "/dev/p", "hostPath": str(private_node)})
    user = Security(user=1000, group=1001, supplemental_groups=(7,))
    ended = await root.run("stat -c %u.%g.%a /dev/p; id -G", options, security=user)
    assert ended.out == ["1000.1001.600", "1001 7"]


async def test_cdi_looks_with_lstat(either: Lab, tmp_path: Path) -> None:
    link = tmp_path / "by-id"
    link.symlink_to("/dev/null")
    with pytest.raises(CreateError, match=f'failed to stat CDI host device "{link}": not a device'):
        await either.run("true", write_cdi(either, {"path": "/dev/p", "hostPath": str(link)}))
    options = write_cdi(either, {"path": "/dev/p", "hostPath": "/dev/none"})
    with pytest.raises(CreateError, match='"/dev/none": no such file or directory'):
        await either.run("true", options)
    with pytest.raises(CreateError, match=r"unresolvable CDI devices a\.b/c=d"):
        await either.run("true", RunOptions(cdi_devices=("a.b/c=d",)))


async def test_another_user_without_root_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(CreateError, match="without root a container has one user"):
        await lab(tmp_path, NAMESPACED).run("true", security=Security(user=1000))


async def test_a_link_is_followed_when_the_container_is_made(either: Lab, tmp_path: Path) -> None:
    link = tmp_path / "stable"
    options = RunOptions((HostDevice(str(link), "/dev/p", "rw"),))
    seen: list[str] = []
    for target in ("/dev/null", "/dev/zero"):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        seen += (await either.run("stat -c %t:%T /dev/p", options)).out
    assert seen == ["1:3", "1:5"]


@pytest.mark.root
async def test_a_directory_gives_the_devices_in_it(root: Lab, tmp_path: Path) -> None:
    snd = tmp_path / "snd"
    (snd / "by-path").mkdir(parents=True)
    (snd / "pts").mkdir()
    for name in ("seq", "by-path/card", "pts/0", "console"):
        os.mknod(snd / name, 0o666 | 0o020000, os.makedev(1, 3))
    (snd / "link").symlink_to("seq")
    (snd / "file").touch()
    os.mkfifo(snd / "fifo")
    options = RunOptions((HostDevice(str(snd), "/dev/snd", "rw"),))
    ended = await root.run(
        "cd /dev/snd; find . -type c | sort; find . ! -type c ! -type d", options
    )
    assert ended.out == ["./by-path/card", "./seq"]


async def test_a_missing_device_fails_in_containerd_s_words(either: Lab, tmp_path: Path) -> None:
    missing, dangling = tmp_path / "none", tmp_path / "dangling"
    dangling.symlink_to("/dev/none")
    with pytest.raises(CreateError, match=f"lstat {missing}: no such file or directory"):
        await either.run("true", RunOptions((HostDevice(str(missing), "/dev/p", "rw"),)))
    with pytest.raises(CreateError, match="no such file or directory"):
        await either.run("true", RunOptions((HostDevice(str(dangling), "/dev/p", "rw"),)))
    with pytest.raises(CreateError, match="not a device node"):
        await either.run("true", RunOptions((HostDevice("/etc/passwd", "/dev/p", "rw"),)))
