"""What plugins are told of a pod, as containerd tells it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.sandbox.cni_args import BandwidthError, capability_args, cni_args
from ringbolt.sandbox.pod import ContainerPort, ContainerSpec, Pod, PodUid

ANNOTATIONS = "io.kubernetes.cri.pod-annotations"


def pod(*ports: ContainerPort, **annotations: str) -> Pod:
    known = {f"kubernetes.io/{key}-bandwidth": value for key, value in annotations.items()}
    spec = ContainerSpec("c", ports=ports)
    return Pod("web", "prod", PodUid("u-1"), (spec,), (spec,), annotations=known)


def test_cni_args_name_the_pod() -> None:
    assert cni_args(pod(), "abc").split(";") == [
        "IgnoreUnknown=1",
        "K8S_POD_NAMESPACE=prod",
        "K8S_POD_NAME=web",
        "K8S_POD_INFRA_CONTAINER_ID=abc",
        "K8S_POD_UID=u-1",
    ]


def test_host_ports_have_capital_keys_and_those_without_one_are_left_out() -> None:
    given_ = capability_args(pod(ContainerPort(80, 8080, "UDP", "127.0.0.1"), ContainerPort(81)))
    assert given_["portMappings"] == [
        {"HostPort": 8080, "ContainerPort": 80, "Protocol": "udp", "HostIP": "127.0.0.1"}
    ]
    assert given_[ANNOTATIONS] == {}
    assert capability_args(pod(ContainerPort(81))).keys() == {ANNOTATIONS}


@pytest.mark.parametrize(
    ("annotations", "limits"),
    [
        ({"ingress": "10M"}, (10_000_000, 2**32 - 1, 0, 0)),
        ({"egress": "1Gi"}, (0, 0, 2**30, 2**32 - 1)),
        ({"ingress": "1k", "egress": "1P"}, (1000, 2**32 - 1, 10**15, 2**32 - 1)),
    ],
)
def test_bandwidth_comes_from_annotations_with_the_largest_burst(
    annotations: dict[str, str], limits: tuple[int, ...]
) -> None:
    found: dict[str, Any] = dict(capability_args(pod(**annotations)))
    keys = ("IngressRate", "IngressBurst", "EgressRate", "EgressBurst")
    assert found["bandwidth"] == dict(zip(keys, limits, strict=True))
    assert len(found[ANNOTATIONS]) == len(annotations)


@pytest.mark.parametrize("rate", ["999", "2P", "fast", "-1M"])
def test_a_rate_that_no_pod_can_have_is_refused(rate: str) -> None:
    with pytest.raises(BandwidthError, match="egress-bandwidth"):
        capability_args(pod(egress=rate))


@given(st.integers(1000, 10**15))
def test_a_rate_is_bits_a_second(rate: int) -> None:
    assert capability_args(pod(ingress=str(rate)))["bandwidth"]["IngressRate"] == rate
