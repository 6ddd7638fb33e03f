"""What tests of the volume room share: its directories, a kubelet's shared mount, asks."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ringbolt.linux import mount
from ringbolt.volumes.backend import Backend
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.directory import DirectoryBackend
from ringbolt.volumes.loop_image import LoopBackend
from ringbolt.volumes.mounts import Mounts
from ringbolt.volumes.outcome import Published, Unpublished
from ringbolt.volumes.paths import Places
from ringbolt.volumes.policy import Policy, Rule
from ringbolt.volumes.spec import Kind, Spec
from ringbolt.volumes.tmpfs import TmpfsBackend
from ringbolt.volumes.volume import Namespace, Publication, Tenant, Volume
from ringbolt.volumes.volumes import Volumes

NAMESPACE = Namespace("default")
TENANT = Tenant(NAMESPACE, "web-0", "0a1b", "default")


@dataclass(frozen=True, slots=True)
class VolumeLab:
    """A room over directories of its own; the kubelet's is a shared mount, as on a node."""

    places: Places
    root: Path
    room: Volumes
    policy: Policy = field(default_factory=Policy)

    def target(self, name: str, pod: str = "0a1b") -> Path:
        """Where a kubelet wants a pod's volume, made as it makes it."""
        pods = self.places.kubelet_dir / "pods" / pod / "volumes" / "ringbolt.dev~volume"
        pods.mkdir(parents=True, exist_ok=True)
        (pods / name).mkdir(mode=0o750, exist_ok=True)
        return pods / name

    def publish(
        self, volume: Volume, target: Path, *, readonly: bool = False, fs_group: int | None = None
    ) -> Published:
        """As a door does it."""
        place = Publication(target, TENANT, readonly, fs_group)
        self.room.create(volume, TENANT, soon())
        return self.room.publish(volume, place, soon())

    def unpublish(self, target: Path) -> Unpublished:
        """From the path alone."""
        return self.room.unpublish(target, soon())

    def mounts(self) -> list[mount.MountPoint]:
        """Everything mounted below the kubelet's directory."""
        inside = f"{self.places.kubelet_dir}/"
        return [one for one in mount.read_mountinfo() if one.target.startswith(inside)]


def soon() -> Deadline:
    """Time enough on a busy machine."""
    return Deadline.after(60)


def volume(spec: Spec, instance: str = "", *options: str, subdir: str = "") -> Volume:
    """Of the namespace `default`."""
    return Volume(spec, NAMESPACE, subdir, tuple(options), instance=instance)


def backends(root: Path, state: Path) -> tuple[Backend, ...]:
    """The kinds, with `root` as the only root of host paths."""
    return (TmpfsBackend(), DirectoryBackend((str(root),)), LoopBackend(state))


def volume_lab(
    folder: Path,
    kinds: Iterable[Backend] | None = None,
    kubelet: str = "kubelet",
    state: Path | None = None,
) -> VolumeLab:
    """A room below `folder`; `state` lies elsewhere."""
    places = Places(folder / "run", state or folder / "state", folder / kubelet)
    root = folder / "srv"
    for one in (places.run_dir, places.state_dir, places.kubelet_dir, root):
        one.mkdir(exist_ok=True)
    shown = places.kubelet_root
    if not Mounts.look().at(shown):  # os.path.ismount cannot tell a bind  # as text
        mount.bind(shown, shown)
        mount.set_propagation(shown, mount.MS_SHARED)
    policy = Policy((str(root),), (Rule(frozenset(Kind), options=("data=*",), trusted=True),))
    room = Volumes(places, policy, backends(root, places.state_dir) if kinds is None else kinds)
    return VolumeLab(places, root, room, policy)


@contextmanager
def flipping(path: Path, elsewhere: Path) -> Iterator[None]:
    """Make `path` a directory and a symbolic link in turn, as fast as it goes."""
    ended = threading.Event()
    link, folder = path.with_name("link"), path.with_name("folder")
    link.symlink_to(elsewhere)
    path.mkdir()

    def flip() -> None:
        while not ended.is_set():
            path.rename(folder)
            link.rename(path)
            path.rename(link)
            folder.rename(path)

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
