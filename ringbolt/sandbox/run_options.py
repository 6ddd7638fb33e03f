"""What the plugins' answers for one container come to when they are put together.

Pure. The first answer to name an environment variable, a container path or an annotation wins.
Source: kubelet pkg/kubelet/cm/devicemanager/pod_devices.go, deviceRunContainerOptions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from protos import deviceplugin_v1beta1_pb2 as v1beta1


@dataclass(frozen=True, slots=True)
class HostDevice:
    """A device node for a container; `permissions` is a subset of "rwm"."""

    host_path: str
    container_path: str
    permissions: str


@dataclass(frozen=True, slots=True)
class HostMount:
    """A bind mount for a container."""

    host_path: str
    container_path: str
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the runtime is told beyond the pod's own specification."""

    devices: tuple[HostDevice, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    mounts: tuple[HostMount, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    cdi_devices: tuple[str, ...] = ()


@dataclass(slots=True)
class _Merge:
    devices: dict[str, HostDevice] = field(default_factory=dict[str, HostDevice])
    mounts: dict[str, HostMount] = field(default_factory=dict[str, HostMount])
    env: dict[str, str] = field(default_factory=dict[str, str])
    annotations: dict[str, str] = field(default_factory=dict[str, str])
    cdi_devices: dict[str, None] = field(default_factory=dict[str, None])
    conflicts: list[str] = field(default_factory=list[str])

    def words(self, what: str, into: dict[str, str], more: Mapping[str, str]) -> None:
        for key, value in sorted(more.items()):
            first = into.setdefault(key, value)
            if first != value:
                self.conflicts.append(f"{what} {key}: {first!r} stays, {value!r} is left out")

    def device(self, spec: v1beta1.DeviceSpec) -> None:
        new = HostDevice(spec.host_path, spec.container_path, spec.permissions)
        first = self.devices.setdefault(new.container_path, new)
        if first.host_path != new.host_path:
            self._path("device", new.container_path, first.host_path, new.host_path)

    def mount(self, mount: v1beta1.Mount) -> None:
        new = HostMount(mount.host_path, mount.container_path, mount.read_only)
        first = self.mounts.setdefault(new.container_path, new)
        if first.host_path != new.host_path:
            self._path("mount", new.container_path, first.host_path, new.host_path)

    def _path(self, what: str, path: str, first: str, other: str) -> None:
        self.conflicts.append(f"{what} {path}: {first} stays, {other} is left out")


def merge_answers(
    answers: Iterable[v1beta1.ContainerAllocateResponse], *, cdi: bool
) -> tuple[RunOptions, tuple[str, ...]]:
    """The options, and a sentence for each thing that lost against an earlier answer."""
    merge = _Merge()
    for answer in answers:
        merge.words("env", merge.env, answer.envs)
        merge.words("annotation", merge.annotations, answer.annotations)
        for spec in answer.devices:
            merge.device(spec)
        for mount in answer.mounts:
            merge.mount(mount)
        if cdi:
            merge.cdi_devices.update((device.name, None) for device in answer.cdi_devices)
    options = RunOptions(
        tuple(merge.devices.values()),
        merge.env,
        tuple(merge.mounts.values()),
        merge.annotations,
        tuple(merge.cdi_devices),
    )
    return options, tuple(merge.conflicts)
