"""Containers on the real kernel: exactly what was given and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from ringbolt.sandbox.ability import Ability, Means
from ringbolt.sandbox.host_devices import CreateError
from ringbolt.sandbox.pod import ContainerSpec, Security, Volume, VolumeMount
from ringbolt.sandbox.run_options import HostDevice, HostMount, RunOptions
from tests.kernel.container_lab import Lab, lab, pod

FUSE = HostDevice("/dev/fuse", "/dev/fuse", "rw")
OWN_NETWORK = str(Path("/proc/self/ns/net").readlink())
STANDARD_NODES = {
    *("null", "zero", "full", "random", "urandom", "tty"),
    *("ptmx", "fd", "stdin", "stdout", "stderr", "pts", "shm", "mqueue"),
}


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
