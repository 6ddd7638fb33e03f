"""The container runtime's own interface, called as a kubelet calls it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc

from protos import cri_v1_pb2 as cri
from protos.cri_v1_pb2_grpc import ImageServiceStub, RuntimeServiceStub

CALL_S = 60.0


@dataclass(frozen=True)
class PodWish:
    """A pod to be run: `ports` as (node's, container's)."""

    name: str
    ports: Sequence[tuple[int, int]] = ()
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    on_node_network: bool = False
    uid: str = field(default_factory=lambda: str(uuid4()))

    def config(self, cgroup_parent: str) -> cri.PodSandboxConfig:
        """As the runtime takes it."""
        network = cri.NODE if self.on_node_network else cri.POD
        options = cri.NamespaceOption(network=network, pid=cri.CONTAINER)
        return cri.PodSandboxConfig(
            metadata=cri.PodSandboxMetadata(name=self.name, uid=self.uid, namespace="default"),
            hostname="" if self.on_node_network else self.name,
            port_mappings=[
                cri.PortMapping(host_port=node, container_port=container)
                for node, container in self.ports
            ],
            annotations=self.annotations,
            linux=cri.LinuxPodSandboxConfig(
                cgroup_parent=cgroup_parent,
                security_context=cri.LinuxSandboxSecurityContext(namespace_options=options),
            ),
        )


class Runtime:
    """The runtime at `socket`; it may go away and come back in between."""

    def __init__(self, socket: Path, image: str, cgroup_parent: str) -> None:
        again = [
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
        ]
        options = [("grpc.default_authority", "localhost"), *again]
        self._channel = grpc.insecure_channel(f"unix:{socket}", options=options)
        self._runtime = RuntimeServiceStub(self._channel)
        self._images = ImageServiceStub(self._channel)
        self._image = cri.ImageSpec(image=image)
        self._cgroup_parent = cgroup_parent

    def close(self) -> None:
        self._channel.close()

    def has_image(self) -> bool:
        asked = cri.ImageStatusRequest(image=self._image)
        return self._images.ImageStatus(asked, timeout=CALL_S).HasField("image")

    def version(self) -> str:
        asked = cri.VersionRequest(version="v1")
        return self._runtime.Version(asked, timeout=CALL_S).runtime_version

    def serves(self) -> bool:
        """Whether it is there; it answers before it is."""
        asked = cri.VersionRequest(version="v1")
        try:
            self._runtime.Version(asked, timeout=CALL_S, wait_for_ready=True)
        except grpc.RpcError as error:
            if "not initialized yet" in str(error):
                return False
            raise
        return True

    def network(self) -> cri.RuntimeCondition:
        """Whether pods can get a network, and why not."""
        status = self._runtime.Status(cri.StatusRequest(), timeout=CALL_S).status
        (found,) = [one for one in status.conditions if one.type == "NetworkReady"]
        return found

    def run(self, wish: PodWish) -> str:
        """The id of the pod, which runs. Raises grpc.RpcError."""
        asked = cri.RunPodSandboxRequest(config=wish.config(self._cgroup_parent))
        return self._runtime.RunPodSandbox(asked, timeout=CALL_S).pod_sandbox_id

    def stop(self, pod: str) -> None:
        self._runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=pod), timeout=CALL_S)

    def remove(self, pod: str) -> None:
        asked = cri.RemovePodSandboxRequest(pod_sandbox_id=pod)
        self._runtime.RemovePodSandbox(asked, timeout=CALL_S)

    def end(self, pod: str) -> None:
        """As a kubelet ends a pod."""
        self.stop(pod)
        self.remove(pod)

    def pods(self) -> dict[str, cri.PodSandbox]:
        """What pods there are, by id."""
        found = self._runtime.ListPodSandbox(cri.ListPodSandboxRequest(), timeout=CALL_S).items
        return {one.id: one for one in found}

    def addresses(self, pod: str) -> list[str]:
        """What the runtime says the pod's addresses are."""
        asked = cri.PodSandboxStatusRequest(pod_sandbox_id=pod)
        network = self._runtime.PodSandboxStatus(asked, timeout=CALL_S).status.network
        return [one for one in (network.ip, *(more.ip for more in network.additional_ips)) if one]

    def details(self, pod: str) -> dict[str, Any]:
        """What the runtime itself knows of the pod: its pid, its specification."""
        asked = cri.PodSandboxStatusRequest(pod_sandbox_id=pod, verbose=True)
        answer = self._runtime.PodSandboxStatus(asked, timeout=CALL_S)
        return dict(json.loads(answer.info["info"]))

    def start_container(self, pod: str, wish: PodWish, *command: str) -> None:
        """Run a program in the pod; it goes with the pod."""
        config = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name="main"), image=self._image, command=command
        )
        asked = cri.CreateContainerRequest(
            pod_sandbox_id=pod, config=config, sandbox_config=wish.config(self._cgroup_parent)
        )
        made = self._runtime.CreateContainer(asked, timeout=CALL_S)
        started = cri.StartContainerRequest(container_id=made.container_id)
        self._runtime.StartContainer(started, timeout=CALL_S)
