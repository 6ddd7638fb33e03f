"""The kubelet's volume manager, for flexVolumes: mounted before a pod's containers, then taken off.

Nothing is kept in memory: what to take off is found by the directories alone, as after a restart,
when a kubelet knows the driver's name and the path and no options any more. Source: kubernetes
pkg/volume/flexvolume (mounter.go, unmounter.go, expander.go), pkg/kubelet/volumemanager.
"""

import asyncio
import base64
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ringbolt.linux.mount import parse_mountinfo
from ringbolt.sandbox.flex_driver import DriverError, FlexDrivers
from ringbolt.sandbox.pod import FlexVolume, Pod, PodUid

_OURS = "kubernetes.io/"
_FIRST_BACK_OFF_S = 0.5
_MODE = 0o750


class VolumeError(Exception):
    """A volume could not be mounted or taken off; the message is an event's."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """A pod's flexVolumes: their directories by the volumes' names, and what mounting took."""

    paths: Mapping[str, Path]
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a kubelet's metrics say of a volume, in bytes."""

    capacity: int
    available: int


@dataclass(frozen=True, slots=True)
class VolumeManager:
    """Of the kubelet whose directory is `root`.

    `process` is that of somebody on the node (/proc/PID): where mounts are seen.
    """

    root: Path
    drivers: FlexDrivers
    process: Path = Path("/proc/self")

    async def mount(self, pod: Pod, patience_s: float) -> Mounted:
        """Mount all of a pod's flexVolumes. Raises VolumeError once the patience is over."""
        wanted = [(one.name, one.flex) for one in pod.volumes if one.flex]
        began = time.monotonic()
        paths = {
            name: await self._mount_patiently(pod, flex, began + patience_s)
            for name, flex in wanted
        }
        return Mounted(paths, time.monotonic() - began)

    async def unmount(self, uid: PodUid) -> None:
        """Take off what a pod has, whatever is remembered of it. Raises VolumeError."""
        failed: list[str] = []
        for path in sorted((self.root / "pods" / uid / "volumes").glob("*/*")):
            try:
                await self._unmount(path)
            except (DriverError, OSError) as error:
                failed.append(f'UnmountVolume.TearDown failed for volume "{path.name}": {error}')
        if failed:
            raise VolumeError("; ".join(failed))
        self._remove_empty(self.root / "pods" / uid)

    async def clean_up(self, living: Iterable[PodUid]) -> tuple[PodUid, ...]:
        """Take off the volumes of pods that are gone, as a started kubelet does."""
        pods = self.root / "pods"
        found = [PodUid(one.name) for one in pods.iterdir()] if pods.is_dir() else []
        orphaned = tuple(uid for uid in sorted(found) if uid not in set(living))
        for uid in orphaned:
            await self.unmount(uid)
        return orphaned

    async def expand(self, pod: Pod, volume: str, size: int, old: int) -> int:
        """Grow a mounted volume; how large the driver says that it is. Raises DriverError."""
        flex = next(one.flex for one in pod.volumes if one.name == volume and one.flex)
        driver = await self.drivers.find(flex.driver)
        path = str(self._path(pod.uid, flex))
        options = json.dumps(_options(flex))
        answer = await driver.call("expandfs", options, "", path, str(size), str(old))
        return int(answer.get("volumeNewSize", size))

    async def usage(self, pod: Pod) -> Mapping[str, Usage]:
        """By statfs, of the drivers that say that they support it."""
        found: dict[str, Usage] = {}
        for volume in pod.volumes:
            if volume.flex is None:
                continue
            driver = await self.drivers.find(volume.flex.driver)
            if driver.capabilities.get("supportsMetrics"):
                told = os.statvfs(f"{self.process}/root{self._path(pod.uid, volume.flex)}")
                unit = told.f_frsize
                found[volume.name] = Usage(told.f_blocks * unit, told.f_bavail * unit)
        return found

    async def _mount_patiently(self, pod: Pod, flex: FlexVolume, until: float) -> Path:
        back_off_s = _FIRST_BACK_OFF_S
        while True:
            try:
                return await self._mount(pod, flex)
            except (DriverError, OSError) as error:
                if time.monotonic() + back_off_s > until:
                    raise VolumeError(
                        f'MountVolume.SetUp failed for volume "{flex.name}": {error}'
                    ) from error
            await asyncio.sleep(back_off_s)
            back_off_s *= 2

    async def _mount(self, pod: Pod, flex: FlexVolume) -> Path:
        driver = await self.drivers.find(flex.driver)
        path = self._path(pod.uid, flex)
        if self._is_mount_point(path):
            return path
        path.mkdir(mode=_MODE, parents=True, exist_ok=True)
        try:
            options = json.dumps(_options(flex, pod))
            await driver.call("mount", str(path), options)
        except DriverError:
            self._remove_empty(path)
            raise
        return path

    async def _unmount(self, path: Path) -> None:
        vendor, _, name = path.parent.name.rpartition("~")
        driver = await self.drivers.find(f"{vendor}/{name}" if vendor else name)
        await driver.call("unmount", str(path))
        os.rmdir(path)  # noqa: PTH106  # at once: nothing is mounted there

    def _path(self, uid: PodUid, flex: FlexVolume) -> Path:
        folder = flex.driver.replace("/", "~")
        return self.root / "pods" / uid / "volumes" / folder / flex.name

    def _is_mount_point(self, path: Path) -> bool:
        text = (self.process / "mountinfo").read_text(errors="surrogateescape")
        return any(one.target == str(path) for one in parse_mountinfo(text))

    def _remove_empty(self, path: Path) -> None:
        """Remove the directories of a pod's volumes that are empty now, from below."""
        for folder, _, _ in os.walk(path, topdown=False):
            try:
                Path(folder).rmdir()
            except OSError:
                return


def _options(flex: FlexVolume, pod: Pod | None = None) -> Mapping[str, str]:
    """As NewOptionsForDriver: the user's own come last. With a pod they are `mount`'s."""
    said = {
        f"{_OURS}fsType": flex.fs_type,
        f"{_OURS}readwrite": "ro" if flex.readonly else "rw",
        f"{_OURS}pvOrVolumeName": flex.name,
    }
    if pod is not None:
        said |= {
            f"{_OURS}pod.name": pod.name,
            f"{_OURS}pod.namespace": pod.namespace,
            f"{_OURS}pod.uid": pod.uid,
            f"{_OURS}serviceAccount.name": pod.service_account,
        }
        said |= {
            f"{_OURS}secret/{key}": base64.b64encode(value).decode()
            for key, value in flex.secret.items()
        }
        if pod.fs_group is not None:
            said[f"{_OURS}mounterArgs.FsGroup"] = str(pod.fs_group)
    return {**said, **flex.options}
