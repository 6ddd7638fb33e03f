"""The kubelet's half of FlexVolume: how drivers are found and called, and when they are not."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ringbolt.sandbox.flex_driver import DriverError, FlexDrivers, NotSupportedError
from ringbolt.sandbox.pod import ContainerSpec, FlexVolume, Pod, PodUid, Volume
from ringbolt.sandbox.volume_manager import VolumeError, VolumeManager

NAME = "example.com/disk"
INIT = '{"status":"Success","capabilities":{"attach":false,"supportsMetrics":true}}'
DATA = FlexVolume(NAME, "data", "ext4", {"kind": "loop"}, secret={"key": b"abc"})


class Drivers:
    """Drivers that are shell scripts; `calls` are the argument lists of every exec."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "exec"
        self.program = self.folder / "example.com~disk" / "disk"
        self.program.parent.mkdir(parents=True)
        self.calls: list[list[str]] = []
        self.found = FlexDrivers(self.folder, self._run)

    def write(self, **answers: str) -> None:
        """A driver with these answers; others are `Success`."""
        cases = "".join(f"{call}) {script};;\n" for call, script in answers.items())
        text = f"#!/bin/sh\ncase $1 in\n{cases}init) echo '{INIT}';;\n"
        text += """*) echo '{"status":"Success"}';;\nesac\n"""
        beside = self.program.with_name(".new")
        beside.write_text(text)
        beside.chmod(0o755)
        beside.rename(self.program)

    def made(self, call: str) -> list[list[str]]:
        return [words[1:] for words in self.calls if words[0] == call]

    async def _run(self, argv: Sequence[str]) -> tuple[int, bytes]:
        self.calls.append(list(argv[1:]))
        process = await asyncio.create_subprocess_exec(
            *argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        printed, _ = await process.communicate()
        return process.returncode or 0, printed


@pytest.fixture
async def drivers(tmp_path: Path) -> AsyncIterator[Drivers]:
    made = Drivers(tmp_path)
    made.write()
    yield made
    made.found.close()


@pytest.fixture
def manager(drivers: Drivers, tmp_path: Path) -> VolumeManager:
    """Its view of mounts is a file that tests write."""
    process = tmp_path / "process"
    process.mkdir()
    (process / "mountinfo").write_text("")
    (process / "root").symlink_to("/")
    return VolumeManager(tmp_path / "kubelet", drivers.found, process)


def pod(*volumes: FlexVolume) -> Pod:
    spec = ContainerSpec("main")
    named = tuple(Volume(f"v{number}", flex=flex) for number, flex in enumerate(volumes))
    return Pod("web", "shop", PodUid("u1"), (spec,), volumes=named, fs_group=2000)


# --- Finding and calling ---------------------------------------------------------------------


async def test_init_is_asked_once_and_again_after_each_change(drivers: Drivers) -> None:
    for _ in range(3):
        await drivers.found.find(NAME)
    assert drivers.found.inits == 1
    (drivers.program.parent / ".log").write_text("names with a dot do not count")
    await drivers.found.find(NAME)
    assert drivers.found.inits == 1
    (drivers.program.parent / "log").write_text("any other does")
    await drivers.found.find(NAME)
    drivers.write()
    await drivers.found.find(NAME)
    assert drivers.found.inits == 3
    drivers.found.forget()
    await drivers.found.find(NAME)
    assert drivers.found.inits == 4


async def test_a_driver_that_comes_later_is_found(tmp_path: Path) -> None:
    later = Drivers(tmp_path)
    with pytest.raises(DriverError, match="no volume plugin matched name: example"):
        await later.found.find(NAME)
    later.write()
    assert (await later.found.find(NAME)).name == NAME
    later.found.close()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("""echo '{"status":"Success"}'; echo oops >&2""", "failed to unmarshal output"),
        ("""echo '{"status":"Success"}{"status":"Success"}'""", "failed to unmarshal output"),
        (":", "failed to unmarshal output"),
        ("echo '[]'", "answered no object"),
        ("""echo '{"status":"Success","capabilities":null}'""", "answered null for capabilities"),
        ("""echo '{"status":"success"}'""", "mount command failed, status: success"),
        ("""echo '{"status":"Failure","message":"no"}'""", "status: Failure, reason: no"),
        ("""echo '{"status":"Success"}'; exit 1""", "driver bug"),
    ],
)
async def test_what_breaks_the_contract_fails(drivers: Drivers, script: str, words: str) -> None:
    drivers.write(mount=script)
    driver = await drivers.found.find(NAME)
    with pytest.raises(DriverError, match=words):
        await driver.call("mount", "/a", "{}")


async def test_what_is_not_supported_is_never_asked_again(drivers: Drivers) -> None:
    drivers.write(expandfs="""echo '{"status":"Not supported"}'""")
    driver = await drivers.found.find(NAME)
    for _ in range(2):
        with pytest.raises(NotSupportedError):
            await driver.call("expandfs")
    assert len(drivers.made("expandfs")) == 1


async def test_a_driver_that_attaches_is_refused(drivers: Drivers) -> None:
    drivers.write(init="""echo '{"status":"Success"}'""")
    with pytest.raises(DriverError, match="wants to attach"):
        await drivers.found.find(NAME)


# --- A pod's volumes -------------------------------------------------------------------------


async def test_mount_is_called_as_kubelets_call_it(
    drivers: Drivers, manager: VolumeManager
) -> None:
    mounted = await manager.mount(pod(DATA), 1)
    target = manager.root / "pods/u1/volumes/example.com~disk/data"
    assert mounted.paths == {"v0": target}
    assert target.stat().st_mode & 0o777 == 0o750
    ((path, options),) = drivers.made("mount")
    assert path == str(target)
    assert json.loads(options) == {
        "kubernetes.io/fsType": "ext4",
        "kubernetes.io/readwrite": "rw",
        "kubernetes.io/pvOrVolumeName": "data",
        "kubernetes.io/pod.name": "web",
        "kubernetes.io/pod.namespace": "shop",
        "kubernetes.io/pod.uid": "u1",
        "kubernetes.io/serviceAccount.name": "default",
        "kubernetes.io/secret/key": "YWJj",
        "kubernetes.io/mounterArgs.FsGroup": "2000",
        "kind": "loop",
    }


async def test_what_is_mounted_already_is_not_mounted_again(
    drivers: Drivers, manager: VolumeManager
) -> None:
    target = manager.root / "pods/u1/volumes/example.com~disk/data"
    line = f"1 2 0:3 / {target} rw - tmpfs none rw\n"
    (manager.process / "mountinfo").write_text(line)
    await manager.mount(pod(DATA), 1)
    assert drivers.made("mount") == []


async def test_a_mount_that_fails_leaves_no_directory_and_is_tried_again(
    drivers: Drivers, manager: VolumeManager, tmp_path: Path
) -> None:
    flag = tmp_path / "second"
    drivers.write(
        mount=f"""[ -e {flag} ] && echo '{{"status":"Success"}}' """
        f"""|| {{ touch {flag}; echo '{{"status":"Failure","message":"not yet"}}'; }}"""
    )
    target = manager.root / "pods/u1/volumes/example.com~disk/data"
    with pytest.raises(VolumeError, match=r'SetUp failed for volume "data": .* reason: not yet'):
        await manager.mount(pod(DATA), 0)
    assert not target.exists()
    flag.unlink()
    await manager.mount(pod(DATA), 30)
    assert len(drivers.made("mount")) == 3


async def test_unmount_knows_the_path_alone_and_removes_it(
    drivers: Drivers, manager: VolumeManager
) -> None:
    await manager.mount(pod(DATA), 1)
    (target,) = drivers.made("mount")[0][:1]
    await manager.unmount(PodUid("u1"))
    assert drivers.made("unmount") == [[target]]
    assert not (manager.root / "pods/u1").exists()


async def test_what_is_left_in_the_directory_keeps_it(
    drivers: Drivers, manager: VolumeManager
) -> None:
    """A driver that did not unmount would have a kubelet delete what is in the volume."""
    mounted = await manager.mount(pod(DATA), 1)
    (mounted.paths["v0"] / "precious").touch()
    with pytest.raises(VolumeError, match="not empty"):
        await manager.unmount(PodUid("u1"))
    assert (mounted.paths["v0"] / "precious").exists()
    assert len(drivers.made("unmount")) == 1


async def test_a_kubelet_that_starts_takes_off_what_pods_that_are_gone_had(
    drivers: Drivers, manager: VolumeManager
) -> None:
    await manager.mount(pod(DATA), 1)
    assert await manager.clean_up([PodUid("u1")]) == ()
    assert await manager.clean_up([]) == (PodUid("u1"),)
    assert len(drivers.made("unmount")) == 1


async def test_expandfs_and_usage(drivers: Drivers, manager: VolumeManager) -> None:
    drivers.write(expandfs="""echo '{"status":"Success","volumeNewSize":4608}'""")
    mounted = await manager.mount(pod(DATA), 1)
    assert await manager.expand(pod(DATA), "v0", 4096, 1024) == 4608
    ((options, device, path, size, old),) = drivers.made("expandfs")
    assert (device, path, size, old) == ("", str(mounted.paths["v0"]), "4096", "1024")
    said: Mapping[str, Any] = json.loads(options)
    assert not [key for key in said if "secret" in key or "pod." in key]
    usage = await manager.usage(pod(DATA))
    assert usage["v0"].capacity > usage["v0"].available > 0
