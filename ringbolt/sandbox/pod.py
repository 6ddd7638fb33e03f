"""The pod as values: the subset of v1.Pod that the embedded kubelet and runtime understand.

Values only. Reading them from YAML, with the API server's checks, is `pod_file`.
"""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NewType

PodUid = NewType("PodUid", str)
"""`metadata.uid`."""

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


class RestartPolicy(enum.Enum):
    """`spec.restartPolicy`; on an init container `Always` makes it a sidecar."""

    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"

    def again(self, exit_code: int) -> bool:
        """Whether a container that ended so is started again."""
        return self is RestartPolicy.ALWAYS or (self is RestartPolicy.ON_FAILURE and exit_code != 0)


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """One of `volumeMounts`; `name` is a volume of the pod."""

    name: str
    path: str
    readonly: bool = False
    sub_path: str = ""


@dataclass(frozen=True, slots=True)
class FlexVolume:
    """A `flexVolume`, the pod's own or a PersistentVolume's.

    `name` is the kubelet's for it: of the PersistentVolume, or of the volume in the pod. `secret`
    is what a Secret holds, decoded.
    """

    driver: str
    name: str
    fs_type: str = ""
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    readonly: bool = False
    secret: Mapping[str, bytes] = field(default_factory=dict[str, bytes], repr=False)


@dataclass(frozen=True, slots=True)
class Volume:
    """One of `spec.volumes`: `flex`, a host path, or with `host_path` None an empty directory.

    `kind` is hostPath's `type` ("", "Directory", "DirectoryOrCreate", "File", "FileOrCreate",
    "Socket", "CharDevice", "BlockDevice"); `memory` says that emptyDir's medium is Memory.
    """

    name: str
    host_path: str | None = None
    kind: str = ""
    memory: bool = False
    flex: FlexVolume | None = None


@dataclass(frozen=True, slots=True)
class Security:
    """`securityContext`, container over pod. None keeps what the image (here: root) says."""

    user: int | None = None
    group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    privileged: bool = False
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    escalation: bool = True


@dataclass(frozen=True, slots=True)
class ContainerPort:
    """One of `ports`; `host_port` 0 is none, `host_ip` "" every address of the node."""

    container_port: int
    host_port: int = 0
    protocol: str = "TCP"
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container. `limits` has the extended resources only, as whole numbers.

    `limits` equals the requests: the API server allows nothing else for extended resources.
    `env_fields` are variables whose value is a field of the pod (`status.podIP`).
    `restart_policy` is set on a container (not the pod) only to make an init container a sidecar.
    """

    name: str
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    env_fields: Mapping[str, str] = field(default_factory=dict[str, str])
    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    volume_mounts: tuple[VolumeMount, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    working_dir: str = "/"
    security: Security = Security()
    restart_policy: RestartPolicy | None = None

    def argv(self, env: Mapping[str, str]) -> tuple[str, ...]:
        """Command and arguments with `$(NAME)` replaced from `env`, as the kubelet does it."""
        return tuple(expand(word, env) for word in (*self.command, *self.args))


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod."""

    name: str
    namespace: str
    uid: PodUid
    containers: tuple[ContainerSpec, ...]
    init_containers: tuple[ContainerSpec, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    restart_policy: RestartPolicy = RestartPolicy.ALWAYS
    volumes: tuple[Volume, ...] = ()
    host_network: bool = False
    grace_s: int = 30
    fs_group: int | None = None
    service_account: str = "default"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def expand(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` replaced, `$$` for one dollar; an unknown name stays as it is written.

    Source: kubernetes third_party/forked/golang/expansion.
    """

    def replacement(match: re.Match[str]) -> str:
        name = match[1]
        return "$" if name is None else env.get(name, match[0])

    return _REFERENCE.sub(replacement, text)
