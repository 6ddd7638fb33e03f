"""What goes away in the middle of a call: namespace, link, caller, the agent's time, its disk."""

import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import pytest

from ringbolt.linux import link
from ringbolt.linux.mount import MNT_DETACH, MS_BIND, mount, umount
from ringbolt.linux.netlink import Socket
from ringbolt.network.attachment import ContainerId, InterfaceName, Key
from ringbolt.network.names import host_name
from ringbolt.network.settings import NetworkName
from tests.kernel.launcher_lab import SHORT, build
from tests.kernel.network_lab import Pod, new_pod, pods, run
from tests.kernel.storm_lab import (
    TRY_AGAIN,
    Runtime,
    Sandbox,
    check_kernel,
    is_free,
    remove_bridge,
    wishes_of,
)
from tests.kernel.test_cni_plugin import agent, launcher, wait_until

__all__ = ["launcher"]

ROUNDS = 80
LONGEST_S = 0.012
"""About as long as attaching takes with everything asked for."""
LONGEST_ALONE_S = 0.4
WISHES = wishes_of(0, 1)


@dataclass(frozen=True)
class Node:
    """An agent that serves, and who calls it."""

    runtime: Runtime
    process: "subprocess.Popen[bytes]"
    folder: Path

    def spooled(self) -> int:
        return len(list((self.folder / "run/spool").iterdir()))


@pytest.fixture
def node(tmp_path: Path, launcher: Path) -> Iterator[Node]:
    with ExitStack() as undo:
        yield _node(tmp_path, launcher, undo)


def _node(folder: Path, program: Path, undo: ExitStack) -> Node:
    undo.callback(remove_bridge)
    process = undo.enter_context(agent(folder))
    wait_until((folder / "run/agent.sock").is_socket)
    return Node(Runtime(program, folder / "run"), process, folder)


def _named(folder: Path, name: str) -> Sandbox:
    """A pod whose namespace has a file, as runtimes have it."""
    folder.mkdir(exist_ok=True)
    pod, path = new_pod(name), folder / name
    path.touch()
    mount(pod.path, str(path), "", MS_BIND)
    return Sandbox(pod, WISHES, netns=str(path))


def _vanish(one: Sandbox) -> None:
    """Take the namespace away as far as that can be done while a call holds it."""
    umount(one.netns, MNT_DETACH)
    Path(one.netns).unlink()
    one.pod.go()


@pytest.mark.timeout(180)
def test_a_namespace_that_goes_while_it_is_attached(node: Node) -> None:
    choose = random.Random(5)
    codes = set[int]()
    for number in range(ROUNDS):
        one = _named(node.folder / "netns", f"p{number}")
        alone = number % 8 == 0  # it takes longer to start than to attach
        call = node.runtime.start("ADD", one, alone=alone)
        sleep(choose.random() * (LONGEST_ALONE_S if alone else LONGEST_S))
        stopped = choose.random() < 0.3
        if stopped:
            node.process.send_signal(signal.SIGSTOP)
        _vanish(one)
        if stopped:
            node.process.send_signal(signal.SIGCONT)
        code, told = call.end()
        codes.add(code)
        assert code == 0 or told["code"], told
        if choose.random() < 0.8:
            assert node.runtime.insist("DEL", one) is None
        else:
            _collect(node.runtime, one)
    assert codes == {0, 1}, "the namespaces went at one point only"
    node.runtime.check_node(())


def _collect(runtime: Runtime, one: Sandbox) -> None:
    code, told = runtime.call("GC", one, more={"cni.dev/valid-attachments": []})
    assert code == 0, told


def test_a_link_that_somebody_deletes_while_it_is_made(node: Node) -> None:
    choose = random.Random(6)
    lost = 0
    with pods(*(f"p{number}" for number in range(ROUNDS))) as made, Socket() as kernel:
        for pod in made:
            one = Sandbox(pod, WISHES)
            call = node.runtime.start("ADD", one)
            sleep(choose.random() * LONGEST_S)
            lost += _delete_link_of(kernel, pod)
            code, told = call.end()
            assert code == 0 or told["code"], told
            one.result = node.runtime.insist("ADD", one)
            node.runtime.insist("CHECK", one)
            node.runtime.insist("DEL", one)
    assert lost
    node.runtime.check_node(())


def _delete_link_of(kernel: Socket, pod: Pod) -> bool:
    key = Key(ContainerId(pod.name), InterfaceName("eth0"))
    found = link.find(kernel, host_name(NetworkName("pods"), key, 0))
    if found:
        kernel.attempt([link.delete_link(found.index)])
    return found is not None


def test_callers_that_are_killed_in_their_calls(node: Node) -> None:
    choose = random.Random(7)
    with pods(*(f"p{number}" for number in range(ROUNDS))) as made:
        for pod in made:
            one = Sandbox(pod, WISHES)
            for command in ("ADD", "DEL"):
                call = node.runtime.start(command, one)
                sleep(choose.random() * LONGEST_S)
                call.process.kill()
                call.end()
            if choose.random() < 0.5:
                one.result = node.runtime.insist("ADD", one)
                node.runtime.insist("CHECK", one)
            node.runtime.insist("DEL", one)
            assert is_free(pod)
    wait_until(lambda: node.spooled() == 0)
    node.runtime.check_node(())


def test_an_agent_that_is_stopped_is_not_waited_for_and_then_nothing_is_lost(
    tmp_path: Path, need_program: Callable[[str, str], str]
) -> None:
    need_program("cc", "gcc")
    with ExitStack() as undo:
        node = _node(tmp_path, build(tmp_path / "hasty", SHORT), undo)
        kept, going, coming = (
            Sandbox(pod) for pod in undo.enter_context(pods("kept", "going", "coming"))
        )
        for one in (kept, going):
            one.result = node.runtime.insist("ADD", one)
        node.process.send_signal(signal.SIGSTOP)
        calls = [("ADD", coming), ("CHECK", kept), ("STATUS", kept), ("DEL", going), ("GC", kept)]
        try:
            running = [node.runtime.start(*call) for call in calls]
            told = [call.end() for call in running]
        finally:
            node.process.send_signal(signal.SIGCONT)
        codes = [wire["code"] if code else 0 for code, wire in told]
        assert codes == [TRY_AGAIN, TRY_AGAIN, 50, 0, TRY_AGAIN]
        going.result = None
        wait_until(lambda: node.spooled() == 0)
        node.runtime.check_node([kept])
        assert is_free(coming.pod)
        coming.result = node.runtime.insist("ADD", coming)
        node.runtime.check_node([kept, coming])
        for one in (kept, coming):
            node.runtime.insist("DEL", one)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A run directory of 600 KiB."""
    folder = tmp_path / "run"
    folder.mkdir()
    mount("tmpfs", str(folder), "tmpfs", 0, "size=600k")
    yield folder
    umount(str(folder))


def _fill(folder: Path) -> Path:
    path = folder / "filling"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return path


def test_an_agent_on_a_full_disk_refuses_and_goes_on_when_there_is_room(
    small: Path, tmp_path: Path, launcher: Path
) -> None:
    with ExitStack() as undo:
        node = _node(tmp_path, launcher, undo)
        sandboxes = [Sandbox(pod) for pod in undo.enter_context(pods("a", "b", "c"))]
        for one in sandboxes[:2]:
            one.result = node.runtime.insist("ADD", one)
        filling = _fill(small)
        assert _is_refused(node.runtime, sandboxes[2])
        assert node.runtime.call("CHECK", sandboxes[0]) == (0, None)
        code, told = node.runtime.call("DEL", sandboxes[1])
        assert code == 0 or told["code"] == TRY_AGAIN, told
        filling.unlink()
        for one in sandboxes[1:]:
            node.runtime.insist("DEL", one)
            one.result = None
        node.runtime.check_node(sandboxes)
        for one in sandboxes[1:]:
            one.result = node.runtime.insist("ADD", one)
        node.runtime.check_node(sandboxes)
        for one in sandboxes:
            node.runtime.insist("DEL", one)
            one.result = None
        node.runtime.check_node(())


@pytest.fixture
def failing(
    tmp_path: Path, need_program: Callable[[str, str], str]
) -> Iterator[Callable[[], None]]:
    """A run directory on a disk of its own; the call makes the disk fail as broken ones do."""
    image, folder = tmp_path / "disk", tmp_path / "run"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(8 << 20)
    run(need_program("mkfs.ext4", "e2fsprogs"), "-q", "-O", "^has_journal", str(image))
    run("mount", "-o", "loop", str(image), str(folder))
    yield lambda: _abort(folder)
    run("umount", str(folder))


def _abort(folder: Path) -> None:
    run("mount", "-o", "remount,abort", str(folder))


@pytest.mark.root
def test_an_agent_whose_disk_became_read_only_refuses_and_keeps_what_is_attached(
    failing: Callable[[], None], tmp_path: Path, launcher: Path
) -> None:
    with ExitStack() as undo:
        node = _node(tmp_path, launcher, undo)
        a, b = (Sandbox(pod) for pod in undo.enter_context(pods("a", "b")))
        a.result = node.runtime.insist("ADD", a)
        failing()
        assert _is_refused(node.runtime, b)
        assert node.runtime.call("CHECK", a) == (0, None)
        assert node.runtime.insist("ADD", a) == a.result
        check_kernel([a])
        assert is_free(b.pod)
    assert node.process.returncode == 0


def _is_refused(runtime: Runtime, one: Sandbox) -> bool:
    """Attach it and detach it until that is refused."""
    for _ in range(200):
        for command in ("ADD", "DEL"):
            code, told = runtime.call(command, one)
            if code:
                assert told["code"] == TRY_AGAIN, told
                return True
    return False
