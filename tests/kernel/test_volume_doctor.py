"""What a node lacks for volumes, found on the real kernel; each lack has a cure."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from daemon import doctor_volumes
from daemon.config import load
from daemon.doctor import Finding, Node, Places, Verdict, examine
from ringbolt.linux import mount

pytestmark = [pytest.mark.effects("libc", "sysfs", "subprocess"), pytest.mark.root]
ALLOW = "volumes: {roots: [ROOT], allow: [{kinds: [KIND], namespaces: ['*']}]}\n"
ANSWER = '{"status": "Success", "capabilities": {"attach": false}}'


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """Nothing is wrong with it; its kubelet's directory is a shared mount, its driver a script."""
    names = ("config.yaml", "kubelet", "run", "state", "bin", "conf", "socket")
    places = Places(*(tmp_path / name for name in names))
    places.kubelet_dir.mkdir()
    (tmp_path / "srv").mkdir()
    mount.bind(str(places.kubelet_dir), str(places.kubelet_dir))
    mount.set_propagation(str(places.kubelet_dir), mount.MS_SHARED)
    monkeypatch.setattr("daemon.volume_install.find_folder", lambda: tmp_path / "plugins")
    made = configured(Node(places), "tmpfs")
    driver(made, f"echo '{ANSWER}'")
    yield made
    mount.umount(str(places.kubelet_dir))


def configured(node: Node, kind: str, text: str = ALLOW) -> Node:
    root = node.places.config.with_name("srv")
    node.places.config.write_text(text.replace("KIND", kind).replace("ROOT", str(root)))
    return replace(node, config=load(node.places.config))


def driver(node: Node, script: str) -> None:
    path = node.places.config.parent / "plugins" / "ringbolt.dev~volume" / "volume"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def found(node: Node) -> dict[str, Finding]:
    return {one.name: one.finding for one in examine(node, doctor_volumes.CHECKS)}


def test_a_node_that_has_all_of_it_is_well(node: Node) -> None:
    told = found(node)
    assert told.keys() == {name for name, _ in doctor_volumes.CHECKS}
    wrong = {name: one for name, one in told.items() if one.verdict is Verdict.FAIL}
    assert not wrong
    assert told["kubelet's directory"].verdict is Verdict.OK
    assert not node.places.run_dir.exists()
    assert not node.places.state_dir.exists()


def test_a_node_without_volumes_is_asked_for_nothing(node: Node) -> None:
    assert found(replace(node, config=None)).keys() == {"volumes"}
    empty = found(configured(node, "", "volumes: {allow: []}\n"))
    assert empty.keys() == {"volumes"}
    assert (empty["volumes"].verdict, empty["volumes"].todo) == (
        Verdict.WARN,
        "write rules below volumes.allow",
    )


@pytest.mark.parametrize(
    ("script", "words"),
    [("echo nonsense", "not that of a driver"), ("exit 3", "does not answer"), (None, "not there")],
)
def test_a_driver_that_does_not_answer_stops_pods(
    node: Node, script: str | None, words: str
) -> None:
    if script is None:
        (node.places.config.parent / "plugins/ringbolt.dev~volume/volume").unlink()
    else:
        driver(node, script)
    told = found(node)["volume driver"]
    assert (told.verdict, told.todo) == (Verdict.FAIL, "ringbolt install")
    assert words in told.what


def test_mounts_that_reach_nobody_are_told(node: Node) -> None:
    mount.set_propagation(str(node.places.kubelet_dir), mount.MS_PRIVATE)
    told = found(node)["kubelet's directory"]
    assert told.verdict is Verdict.WARN
    assert told.todo == f"mount --make-rshared {node.places.kubelet_dir}"


def test_a_file_system_without_guards_is_told(node: Node) -> None:
    mount.mount("none", str(node.places.kubelet_dir), "ramfs")
    told = found(node)["mount guards"]
    mount.umount(str(node.places.kubelet_dir))
    assert told.verdict is Verdict.WARN
    assert "chattr +i" in told.what


def test_a_root_that_is_not_there_is_told(node: Node) -> None:
    node.places.config.with_name("srv").rmdir()
    told = found(node)["volumes' roots"]
    assert told.verdict is Verdict.WARN
    assert "srv" in told.what


def test_little_room_is_told(node: Node) -> None:
    node.places.state_dir.mkdir()
    mount.mount("none", str(node.places.state_dir), "tmpfs", options="size=16m")
    (node.places.state_dir / "file").write_bytes(bytes((16 << 20) - (256 << 10)))
    told = found(node)["room for volumes"]
    mount.umount(str(node.places.state_dir))
    assert told.verdict is Verdict.WARN
    assert "0 MiB" in told.what


def test_a_kind_that_the_node_cannot_is_told_with_its_cure(node: Node) -> None:
    told = found(configured(node, "iscsi"))["kinds of volumes"]
    if told.verdict is Verdict.OK:
        pytest.skip("this machine can iSCSI: nothing lacks")
    assert "iscsi" in told.what
    assert told.todo
