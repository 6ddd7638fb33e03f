"""What a runtime tells plugins of a pod: CNI_ARGS and the arguments of their capabilities. Pure.

As containerd has it: its structs carry no JSON names, so keys begin with capitals. Source:
containerd internal/cri/server/sandbox_run.go (cniNamespaceOpts, toCNIBandWidth), go-cni types.go.
"""

from collections.abc import Mapping
from typing import Any

from ringbolt.sandbox.pod import Pod
from ringbolt.sandbox.quantity import QuantityError, parse_quantity

_ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
_INGRESS = "kubernetes.io/ingress-bandwidth"
_EGRESS = "kubernetes.io/egress-bandwidth"
_BURST_BITS = (1 << 32) - 1
"""MaxUint32: annotations say nothing of bursts."""
_SLOWEST, _FASTEST = 1_000, 10**15


class BandwidthError(ValueError):
    """An annotation's bandwidth is none, or not one that a pod can have."""


def cni_args(pod: Pod, container_id: str) -> str:
    """CNI_ARGS for a pod."""
    pairs = {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": pod.namespace,
        "K8S_POD_NAME": pod.name,
        "K8S_POD_INFRA_CONTAINER_ID": container_id,
        "K8S_POD_UID": pod.uid,
    }
    return ";".join(f"{key}={value}" for key, value in pairs.items())


def capability_args(pod: Pod) -> Mapping[str, Any]:
    """Capability to its argument, before the plugin's own capabilities are looked at.

    Raises BandwidthError.
    """
    found: dict[str, Any] = {_ANNOTATIONS: dict(pod.annotations)}
    if mappings := _port_mappings(pod):
        found["portMappings"] = mappings
    if limits := _bandwidth(pod.annotations):
        found["bandwidth"] = limits
    return found


def _port_mappings(pod: Pod) -> list[Mapping[str, Any]]:
    """Those of all containers that have a host port; init containers' count for nothing."""
    return [
        {
            "HostPort": port.host_port,
            "ContainerPort": port.container_port,
            "Protocol": port.protocol.lower(),
            "HostIP": port.host_ip,
        }
        for container in pod.containers
        for port in container.ports
        if port.host_port
    ]


def _bandwidth(annotations: Mapping[str, str]) -> Mapping[str, int]:
    ingress, egress = _rate(annotations, _INGRESS), _rate(annotations, _EGRESS)
    if ingress is None and egress is None:
        return {}
    return {
        "IngressRate": ingress or 0,
        "IngressBurst": _BURST_BITS if ingress is not None else 0,
        "EgressRate": egress or 0,
        "EgressBurst": _BURST_BITS if egress is not None else 0,
    }


def _rate(annotations: Mapping[str, str], key: str) -> int | None:
    """Bits per second; kubernetes pkg/util/bandwidth has the bounds."""
    if key not in annotations:
        return None
    try:
        rate = int(parse_quantity(annotations[key]))
    except QuantityError as error:
        raise BandwidthError(f"{key}: {annotations[key]!r}: {error}") from error
    if not _SLOWEST <= rate <= _FASTEST:
        raise BandwidthError(f"{key}: {annotations[key]} is not between 1k and 1P bits a second")
    return rate
