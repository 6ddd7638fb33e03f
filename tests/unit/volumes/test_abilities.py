"""What a node can is told before anybody asks for it: programs, modules, devices, by name."""

import os
from pathlib import Path

import pytest

from ringbolt.volumes.abilities import KindAbility, find_abilities
from ringbolt.volumes.ability import Ability
from ringbolt.volumes.cifs import CifsBackend
from ringbolt.volumes.fuse import FuseBackend
from ringbolt.volumes.helper import Helper
from ringbolt.volumes.iscsi import IscsiBackend
from ringbolt.volumes.nfs import NfsBackend
from ringbolt.volumes.paths import Places
from ringbolt.volumes.spec import Kind

HELPER = Helper("sshfs", ("sshfs", "{source}", "{target}"), ("*",))


@pytest.fixture
def node(tmp_path: Path) -> Ability:
    folder = tmp_path / "modules" / os.uname().release
    for one in (folder, tmp_path / "proc", tmp_path / "bin", tmp_path / "dev"):
        one.mkdir(parents=True)
    (tmp_path / "proc" / "filesystems").write_text("nodev\ttmpfs\n\text4\n")
    return Ability(
        tmp_path / "proc",
        tmp_path / "modules",
        tmp_path / "sys",
        tmp_path / "dev",
        str(tmp_path / "bin"),
    )


def install(node: Ability, *names: str) -> None:
    for name in names:
        program = Path(node.path, name)
        program.touch(mode=0o755)


def abilities(node: Ability, folder: Path) -> dict[Kind, KindAbility]:
    places = Places(folder / "run", folder / "state", folder / "kubelet")
    backends = (
        NfsBackend(places, node),
        CifsBackend(places, node),
        IscsiBackend(places, node, folder / "iscsi"),
        FuseBackend(places, (HELPER,), node),
    )
    return {one.kind: one for one in find_abilities(backends)}


def test_a_bare_node_says_for_each_kind_what_to_install(node: Ability, tmp_path: Path) -> None:
    found = abilities(node, tmp_path)
    assert "install nfs-common" in found[Kind.NFS].lack
    assert "install cifs-utils" in found[Kind.CIFS].lack
    assert "install open-iscsi" in found[Kind.ISCSI].lack
    assert "`modprobe fuse`" in found[Kind.FUSE].lack
    install(node, "mount.nfs", "mount.cifs", "iscsiadm")
    found = abilities(node, tmp_path)
    assert "`modprobe nfs`" in found[Kind.NFS].lack
    assert "`modprobe cifs`" in found[Kind.CIFS].lack
    assert "`modprobe iscsi_tcp`" in found[Kind.ISCSI].lack


@pytest.mark.parametrize("index", ["modules.builtin", "modules.dep"])
def test_what_the_kernel_can_load_is_there(node: Ability, tmp_path: Path, index: str) -> None:
    install(node, "mount.nfs")
    lines = "kernel/fs/nfs/nfs.ko.zst: kernel/net/sunrpc/sunrpc.ko.zst\nkernel/fs/cifsx.ko:\n"
    (node.modules / os.uname().release / index).write_text(lines)
    assert abilities(node, tmp_path)[Kind.NFS] == KindAbility(Kind.NFS)
    assert node.lacks_filesystem("cifs")
    assert node.lacks_filesystem("sunrpc")
    (node.modules / os.uname().release / index).write_text("kernel/drivers/md/dm-crypt.ko:\n")
    assert not node.lacks_module("dm_crypt")


def test_a_helper_that_is_missing_takes_no_other_with_it(node: Ability, tmp_path: Path) -> None:
    (node.proc / "filesystems").write_text("nodev\tfuse\n")
    (node.dev / "fuse").touch()
    found = abilities(node, tmp_path)[Kind.FUSE]
    assert found.lack == ""
    assert found.partly == ("helper sshfs: the program sshfs is missing: install sshfs",)
    install(node, "sshfs")
    assert abilities(node, tmp_path)[Kind.FUSE].partly == ()
