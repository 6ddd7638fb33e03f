"""A pod's volumes as host paths to mount: hostPath with its `type`, emptyDir, flexVolume.

Source of the checks and words: kubernetes pkg/volume/hostpath.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ringbolt.sandbox.host_devices import CreateError
from ringbolt.sandbox.pod import ContainerSpec, Pod, Volume
from ringbolt.sandbox.run_options import HostMount

_CHECKS: Mapping[str, tuple[Callable[[Path], bool], str]] = {
    "Directory": (Path.is_dir, "a directory"),
    "DirectoryOrCreate": (Path.is_dir, "a directory"),
    "File": (Path.is_file, "a file"),
    "FileOrCreate": (Path.is_file, "a file"),
    "Socket": (Path.is_socket, "a socket file"),
    "CharDevice": (Path.is_char_device, "a character device"),
    "BlockDevice": (Path.is_block_device, "a block device"),
}


@dataclass(frozen=True, slots=True)
class OwnVolumes:
    """Empty volumes live below `directory`; `mounted` are what the kubelet has mounted."""

    directory: Path
    mounted: Mapping[str, Path]


def volume_mounts(pod: Pod, spec: ContainerSpec, own: OwnVolumes) -> tuple[HostMount, ...]:
    """The mounts of a container's `volumeMounts`.

    Raises CreateError where a host path is not of its declared type.
    """
    volumes = {volume.name: volume for volume in pod.volumes}
    return tuple(
        HostMount(
            str(_source(volumes[mount.name], own, mount.sub_path)),
            mount.path,
            readonly=mount.readonly,
        )
        for mount in spec.volume_mounts
    )


def _source(volume: Volume, own: OwnVolumes, sub_path: str) -> Path:
    if volume.flex:
        if sub_path:  # a kubelet makes it on the node, where this process is not
            raise CreateError(f"the sandbox mounts the flexVolume {volume.name} as a whole")
        return own.mounted[volume.name]
    if ".." in Path(sub_path).parts or sub_path.startswith("/"):
        raise CreateError(f'subPath "{sub_path}" must stay inside the volume {volume.name}')
    if volume.host_path is None:
        root = own.directory / volume.name
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o777)
    else:
        root = _checked(Path(volume.host_path), volume.kind)
    path = root / sub_path
    if sub_path:
        path.mkdir(parents=True, exist_ok=True)
    return path


def _checked(path: Path, kind: str) -> Path:
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    if kind == "FileOrCreate":
        path.touch()
    if kind:
        holds, words = _CHECKS[kind]
        if not holds(path):
            raise CreateError(f"hostPath type check failed: {path} is not {words}")
    return path
