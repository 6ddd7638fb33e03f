"""Containers on the real kernel: exactly what was given, nothing else, and nothing left behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ringbolt.linux import device_cgroup
from ringbolt.sandbox.ability import Ability, Means, find_ability
from ringbolt.sandbox.container_process import StartError
from ringbolt.sandbox.host_devices import CreateError
from ringbolt.sandbox.pod import ContainerSpec, Pod, PodUid, Security, Volume, VolumeMount
from ringbolt.sandbox.run_options import HostDevice, HostMount, RunOptions
from ringbolt.sandbox.runtime import Runtime

FUSE = HostDevice("/dev/fuse", "/dev/fuse", "rw")
DEADLINE_S = 30
OWN_NETWORK = str(Path("/proc/self/ns/net").readlink())
NAMESPACED = Ability(Means.USER_NAMESPACE, None, ())
STANDARD_NODES = {
    *("null", "zero", "full", "random", "urandom", "tty"),
    *("ptmx", "fd", "stdin", "stdout", "stderr", "pts", "shm", "mqueue"),
}


@dataclass(frozen=True)
class Ended:
    """How a container ended and what it wrote."""

    code: int
    out: list[str]
    err: list[str]


@dataclass(frozen=True)
class Lab:
    """Runs one shell script as the only container of a pod."""

    runtime: Runtime

    async def run(self, script: str, options: RunOptions | None = None, **changes: object) -> Ended:
        spec = ContainerSpec("c", command=("sh", "-c", script), working_dir="/")
        spec = replace(spec, **changes)  # type: ignore[arg-type]  # a test's own keywords
        async with self.runtime.pod(pod(spec)) as sandbox:
            started = await sandbox.start(spec, options or RunOptions())
            code = await asyncio.wait_for(started.wait(), DEADLINE_S)
            lines = started.log
            return Ended(
                code,
                [line.text for line in lines if line.stream == "stdout"],
                [line.text for line in lines if line.stream == "stderr"],
            )


def pod(*specs: ContainerSpec, volumes: tuple[Volume, ...] = ()) -> Pod:
    return Pod("lab.example", "default", PodUid("u-1"), specs, volumes=volumes)


def lab(tmp_path: Path, ability: Ability) -> Lab:
    cdi = tmp_path / "cdi"
    cdi.mkdir()
    return Lab(Runtime(tmp_path / "run", ability, (cdi,)))


@pytest.fixture
def root(tmp_path: Path) -> Lab:
    found = find_ability()
    assert found.means is Means.ROOT, "tests marked `root` need all of root's capabilities"
    return lab(tmp_path, found)


@pytest.fixture(params=["root", "user namespace"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    found = find_ability()
    if request.param == "root" and found.means is not Means.ROOT:
        pytest.skip("needs real root: run as root")
    return lab(tmp_path, found if request.param == "root" else NAMESPACED)


def write_cdi(lab: Lab, node: Mapping[str, object], **more: object) -> RunOptions:
    spec = {
        "cdiVersion": "0.7.0",
        "kind": "ringbolt.dev/test",
        "devices": [{"name": "one", "containerEdits": {"deviceNodes": [node], **more}}],
    }
    (lab.runtime.cdi_directories[0] / "ringbolt.json").write_text(json.dumps(spec))
    return RunOptions(cdi_devices=("ringbolt.dev/test=one",))


# --- What is there ---------------------------------------------------------------------------


async def test_a_container_sees_exactly_the_nodes_it_was_given(either: Lab) -> None:
    devices = (FUSE, HostDevice("/dev/zero", "/dev/given/zero", "r"))
    ended = await either.run("ls /dev; ls /dev/given; exec 3<>/dev/fuse", RunOptions(devices))
    assert ended.err == []
    assert ended.code == 0
    assert ended.out[-1] == "zero"
    assert set(ended.out[:-1]) == STANDARD_NODES | {"fuse", "given"}


async def test_env_is_what_was_answered_and_then_the_pod_s_own(either: Lab) -> None:
    options = RunOptions(env={"PORT": "/dev/tty0", "BAUD": "9600"})
    ended = await either.run("env", options, env={"BAUD": "300", "ALL": "$(PORT)-$(BAUD)"})
    found = dict(line.split("=", 1) for line in ended.out)
    assert found.pop("PATH").startswith("/usr/local/sbin:")
    assert found == {
        "PORT": "/dev/tty0",
        "BAUD": "300",
        "ALL": "/dev/tty0-300",
        "HOME": "/root",
        "HOSTNAME": "lab.example",
        "PWD": "/",
    }


async def test_mounts_are_there_and_only_writable_where_they_may_be(
    either: Lab, tmp_path: Path
) -> None:
    for name in ("open", "shut"):
        (tmp_path / name).mkdir()
    mounts = (
        HostMount(str(tmp_path / "open"), "/data"),
        HostMount(str(tmp_path / "shut"), "/data/shut", readonly=True),
    )
    # The lower path comes first: it must not end up below the upper one.
    options = RunOptions(mounts=tuple(reversed(mounts)))
    (tmp_path / "open" / "shut").mkdir()
    ended = await either.run("echo x >/data/new; echo x >/data/shut/new", options)
    assert (tmp_path / "open" / "new").read_text() == "x\n"
    assert not (tmp_path / "shut" / "new").exists()
    assert "Read-only file system" in ended.err[0]


async def test_a_missing_mount_source_becomes_a_directory(either: Lab, tmp_path: Path) -> None:
    missing = tmp_path / "gone" / "ttyUSB0"
    ended = await either.run("ls -d /dev/port", RunOptions(mounts=(HostMount(str(missing), "/p"),)))
    assert ended.code == 2
    assert missing.is_dir()


async def test_the_host_s_programs_cannot_be_written(either: Lab) -> None:
    ended = await either.run("echo x >/usr/x; echo x >/etc/x; echo x >/proc/sys/kernel/hostname")
    assert len([line for line in ended.err if "Read-only file system" in line]) == 3


async def test_a_pod_s_containers_share_network_and_name_but_not_processes(either: Lab) -> None:
    script = "hostname; readlink /proc/self/ns/net; ls -d /proc/[0-9]*; ip -o link"
    first = ContainerSpec("a", command=("sh", "-c", script))
    async with either.runtime.pod(pod(first)) as sandbox:
        runs = [await sandbox.start(replace(first, name=name), RunOptions()) for name in "ab"]
        assert [await run.wait() for run in runs] == [0, 0]
        one, two = ([line.text for line in run.log] for run in runs)
    assert one == two
    assert one[0] == "lab"
    assert one[1] != OWN_NETWORK
    assert one[2:4] == ["/proc/1", "/proc/2"]
    assert [line for line in one if "LOOPBACK,UP" in line]


async def test_empty_volumes_are_the_pod_s_and_go_with_it(either: Lab) -> None:
    writer = ContainerSpec(
        "w", command=("sh", "-c", "echo x >/v/f"), volume_mounts=(VolumeMount("v", "/v"),)
    )
    reader = replace(writer, name="r", command=("cat", "/v/f"))
    async with either.runtime.pod(pod(writer, reader, volumes=(Volume("v"),))) as sandbox:
        await (await sandbox.start(writer, RunOptions())).wait()
        started = await sandbox.start(reader, RunOptions())
        await started.wait()
        assert [line.text for line in started.log] == ["x"]
    assert list(either.runtime.directory.iterdir()) == []


async def test_a_host_path_of_the_wrong_type_is_refused(either: Lab, tmp_path: Path) -> None:
    spec = ContainerSpec("c", command=("true",), volume_mounts=(VolumeMount("v", "/v"),))
    volume = Volume("v", str(tmp_path), "CharDevice")
    async with either.runtime.pod(pod(spec, volumes=(volume,))) as sandbox:
        with pytest.raises(CreateError, match="is not a character device"):
            await sandbox.start(spec, RunOptions())


# --- What is not there -----------------------------------------------------------------------


@pytest.mark.root
async def test_a_node_made_by_the_container_itself_cannot_be_opened(root: Lab) -> None:
    ended = await root.run("mknod /tmp/x c 10 229 && exec 3<>/tmp/x")
    assert ended.code != 0
    assert "Operation not permitted" in ended.err[-1]


@pytest.mark.root
async def test_without_a_device_group_no_node_can_be_made(tmp_path: Path) -> None:
    ended = await lab(tmp_path, Ability(Means.ROOT, None, ())).run("mknod /tmp/x c 10 229")
    assert "Operation not permitted" in ended.err[0]


@pytest.mark.root
async def test_permissions_are_enforced(root: Lab) -> None:
    if root.runtime.ability.device_group is None:
        pytest.skip("needs the device controller of cgroup v1")
    options = RunOptions((HostDevice("/dev/fuse", "/dev/fuse", "r"),))
    ended = await root.run("exec 3</dev/fuse && echo read; exec 3>/dev/fuse", options)
    assert ended.out == ["read"]
    assert "Operation not permitted" in ended.err[0]


@pytest.mark.root
async def test_capabilities_are_the_default_set_and_what_the_pod_changes(root: Lab) -> None:
    show = "sed -n s/CapEff:.//p /proc/self/status"
    plain = await root.run(show)
    less = await root.run(show, security=Security(drop_capabilities=("ALL",)))
    more = await root.run(show, security=Security(add_capabilities=("NET_ADMIN",)))
    assert int(plain.out[0], 16) & ~(1 << 27) == 0xA00425FB
    assert int(less.out[0], 16) == 0
    assert int(more.out[0], 16) == int(plain.out[0], 16) | 1 << 12
    with pytest.raises(CreateError, match="unknown capability"):
        await root.run(show, security=Security(add_capabilities=("FLY",)))


# --- Owners and CDI --------------------------------------------------------------------------


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


# --- Host paths ------------------------------------------------------------------------------


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


# --- Life and death --------------------------------------------------------------------------


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$$$", 137), ("true", 0)])
async def test_the_exit_code_is_the_program_s(either: Lab, script: str, code: int) -> None:
    assert (await either.run(script)).code == code


async def test_a_program_that_is_not_there_is_told_as_runc_does(either: Lab) -> None:
    with pytest.raises(StartError, match=r'exec: "nope": executable file not found in \$PATH'):
        await either.run("", command=("nope",))
    with pytest.raises(StartError, match='exec: "/etc/passwd": permission denied'):
        await either.run("", command=("/etc/passwd",))
    with pytest.raises(CreateError, match="has no command"):
        await either.run("", command=())


@pytest.mark.parametrize(
    ("script", "grace_s", "code"),
    [
        ("trap 'exit 3' TERM; echo up; while :; do sleep 100 & wait; done", DEADLINE_S, 3),
        ("trap '' TERM; echo up; while :; do sleep 100; done", 0.2, 137),
    ],
)
async def test_stop_asks_and_then_kills(
    either: Lab, script: str, grace_s: float, code: int
) -> None:
    up = asyncio.Event()
    runtime = replace(either.runtime, listener=lambda _: up.set())
    spec = ContainerSpec("c", command=("sh", "-c", script))
    async with runtime.pod(pod(spec)) as sandbox:
        started = await sandbox.start(spec, RunOptions())
        await asyncio.wait_for(up.wait(), DEADLINE_S)
        assert await started.stop(grace_s) == code


async def test_orphans_are_reaped(either: Lab) -> None:
    script = "(sleep 0.01 &) ; sleep 0.2; grep -l 'State:.Z' /proc/[0-9]*/status | wc -l"
    assert (await either.run(script)).out == ["0"]


DOOMED = """
import asyncio, sys
from pathlib import Path
from ringbolt.sandbox.ability import find_ability
from ringbolt.sandbox.pod import ContainerSpec, Pod, PodUid
from ringbolt.sandbox.run_options import RunOptions
from ringbolt.sandbox.runtime import Runtime

async def main():
    spec = ContainerSpec("c", command=("sleep", "1000"))
    runtime = Runtime(Path(sys.argv[1]), find_ability())
    async with runtime.pod(Pod("p", "n", PodUid("u"), (spec,))) as sandbox:
        print("up", flush=True)
        await sandbox.start(spec, RunOptions())
        print("running", flush=True)
        await asyncio.sleep(1000)

asyncio.run(main())
"""


@pytest.mark.root
def test_a_killed_sandbox_leaves_nothing(tmp_path: Path) -> None:
    group = device_cgroup.own_group()
    with subprocess.Popen(
        [sys.executable, "-c", DOOMED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as sandbox:
        assert sandbox.stdout is not None
        assert [sandbox.stdout.readline() for _ in range(2)] == ["up\n", "running\n"]
        assert group is None or _device_groups(group, sandbox.pid)
        sandbox.send_signal(signal.SIGKILL)
    while group is not None and _device_groups(group, sandbox.pid):
        os.sched_yield()


def _device_groups(parent: str, pid: int) -> list[Path]:
    return list(Path(parent).glob(f"ringbolt-{pid}-*"))
