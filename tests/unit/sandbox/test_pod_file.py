"""Pods from YAML: what is read, and every refusal in the API server's words with its line."""

import contextlib
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.sandbox.pod import (
    ContainerPort,
    RestartPolicy,
    Security,
    Volume,
    VolumeMount,
    expand,
)
from ringbolt.sandbox.pod_file import PodError, load_pods, parse_pods
from ringbolt.sandbox.quantity import QuantityError, parse_quantity
from ringbolt.sandbox.requirements import is_extended

WHOLE = """
apiVersion: v1
kind: Pod
metadata: {name: reader, namespace: lab, uid: abc, labels: {app: x}, annotations: {a.b/c: "1"}}
spec:
  restartPolicy: OnFailure
  hostNetwork: true
  terminationGracePeriodSeconds: 5
  nodeSelector: {a: b}
  securityContext: {runAsUser: 1000, runAsGroup: 20, fsGroup: 30, supplementalGroups: [40]}
  volumes:
    - name: host
      hostPath: {path: /etc, type: Directory}
    - name: scratch
      emptyDir: {}
  initContainers:
    - {name: helper, image: x, restartPolicy: Always}
  containers:
    - name: main
      image: python:3-slim
      command: [sh, -c]
      args: ["echo $(PORT) $(NONE) $$(PORT)"]
      workingDir: /work
      env: [{name: PORT, value: "7"}]
      resources:
        limits: {ringbolt.dev/serial: 2, cpu: 500m, ringbolt.dev/none: 0}
        requests: {ringbolt.dev/serial: "2", cpu: 100m}
      volumeMounts:
        - {name: host, mountPath: /host, readOnly: true}
        - {name: scratch, mountPath: /tmp}
      securityContext: {runAsUser: 7, privileged: true, capabilities: {add: [NET_ADMIN]}}
"""


def pod_with(container: str, spec: str = "") -> str:
    return (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
        f"spec:\n  containers:\n  - {{name: c, {container}}}\n{spec}"
    )


def problems(text: str) -> str:
    with pytest.raises(PodError) as caught:
        parse_pods(text, "pod.yaml")
    return str(caught.value)


def test_every_supported_field_is_read() -> None:
    (pod,) = parse_pods(WHOLE)
    (main,) = pod.containers
    assert (str(pod), pod.uid, pod.host_network, pod.grace_s) == ("lab/reader", "abc", True, 5)
    assert pod.labels == {"app": "x"}
    assert pod.annotations == {"a.b/c": "1"}
    assert pod.restart_policy is RestartPolicy.ON_FAILURE
    assert pod.volumes == (Volume("host", "/etc", "Directory"), Volume("scratch"))
    assert pod.init_containers[0].restart_policy is RestartPolicy.ALWAYS
    assert pod.init_containers[0].security == Security(1000, 20, (40, 30))
    assert main.security == Security(
        7, 20, (40, 30), privileged=True, add_capabilities=("NET_ADMIN",)
    )
    assert main.limits == {"ringbolt.dev/serial": 2}
    assert main.volume_mounts == (
        VolumeMount("host", "/host", readonly=True),
        VolumeMount("scratch", "/tmp"),
    )
    assert main.argv(main.env) == ("sh", "-c", "echo 7 $(NONE) $(PORT)")


def test_ports_and_fields_of_the_pod_are_read() -> None:
    (pod,) = parse_pods(
        pod_with(
            "ports: [{containerPort: 80}, {containerPort: 53, hostPort: 5353, protocol: UDP,"
            ' hostIP: "::1", name: dns}], env: [{name: IP, valueFrom: {fieldRef:'
            " {apiVersion: v1, fieldPath: status.podIP}}}, {name: A, value: b}]"
        )
    )
    (main,) = pod.containers
    assert main.ports == (ContainerPort(80), ContainerPort(53, 5353, "UDP", "::1"))
    assert (main.env, main.env_fields) == ({"A": "b"}, {"IP": "status.podIP"})


def test_a_host_networks_ports_are_the_hosts() -> None:
    text = pod_with("ports: [{containerPort: 80, hostPort: 81}]")
    parse_pods(text)
    found = problems(text.replace("spec:", "spec:\n  hostNetwork: true", 1))
    assert "hostPort: Invalid value: 81: must match `containerPort`" in found


def test_several_documents_are_several_pods_with_uids_that_stay() -> None:
    text = pod_with("image: x") + "---\n" + pod_with("image: x").replace("name: p", "name: q")
    first, second = parse_pods(text), parse_pods(text)
    assert [pod.name for pod in first] == ["p", "q"]
    assert first == second
    assert first[0].uid != first[1].uid


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (
            "resources: {requests: {a.b/c: 1}}",
            "resources.limits: Required value: Limit must be set for non overcommitable resources",
        ),
        (
            "resources: {limits: {a.b/c: 2}, requests: {a.b/c: 1}}",
            'resources.requests: Invalid value: "1": must be equal to a.b/c limit of 2',
        ),
        (
            "resources: {limits: {a.b/c: 500m}}",
            'limits[a.b/c]: Invalid value: "500m": must be an i',
        ),
        ("resources: {limits: {a.b/c: -1}}", "must be greater than or equal to 0"),
        ("resources: {limits: {a.b/c: many}}", "quantities must match the regular expression"),
        ("resources: {limits: {serial: 1}}", "must be a standard resource type or fully qualified"),
        ("resources: {limits: {kubernetes.io/x: 1}}", "must be a standard resource for containers"),
        (
            "resources: {limits: {cpu: 1}, requests: {cpu: 2}}",
            'requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        ("livenessProbe: {}", "spec.containers[0].livenessProbe: the sandbox does not support"),
        ("env: [{name: A, value: 1}]", "env[0].value: must be a string, found int '1'"),
        ("env: [{value: a}]", "env[0].name: Required value"),
        ("command: sh", "spec.containers[0].command: must be a list, found str 'sh'"),
        ("resources: [1]", "resources: must be a mapping, found a list"),
        ("restartPolicy: Always", "Forbidden: may not be set for non-init containers"),
        ("volumeMounts: [{name: v, mountPath: /x}]", 'volumeMounts[0].name: Not found: "v"'),
        ("securityContext: {runAsUser: root}", "runAsUser: must be a whole number, found str"),
        ("ports: [{hostPort: 80}]", "ports[0].containerPort: Required value"),
        ("ports: [{containerPort: 65536}]", "must be between 1 and 65535, inclusive"),
        (
            "ports: [{containerPort: 80, protocol: udp}]",
            'ports[0].protocol: Unsupported value: "udp"',
        ),
        ("ports: [{containerPort: 80, hostIP: me}]", "hostIP: Invalid value"),
        (
            "ports: [{containerPort: 1, hostPort: 9}, {containerPort: 2, hostPort: 9}]",
            "ports[1].hostPort: Duplicate value: 9",
        ),
        (
            "env: [{name: A, valueFrom: {secretKeyRef: {}}}]",
            "valueFrom.secretKeyRef: the sandbox does not support",
        ),
        (
            "env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.phase}}}]",
            'fieldPath: Unsupported value: "status.phase"',
        ),
        ("securityContext: {privileged: 3}", "privileged: must be true or false, found int '3'"),
    ],
)
def test_a_wrong_container_is_refused_with_field_and_line(container: str, expected: str) -> None:
    found = problems(pod_with(container))
    assert expected in found
    assert found.startswith("pod.yaml: line 6: spec.containers[0].")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1: YAML: there is no pod in this file"),
        ("a: [", "line 1: YAML:"),
        ("\x00", "line 1: YAML: unacceptable character"),
        ("- a", "must be a mapping, found a list"),
        ("apiVersion: apps/v1\nkind: Deployment\n", 'line 2: kind: must be "Pod", found "Deploy'),
        (pod_with("image: x").replace("name: p", "name: P_"), "metadata.name: Invalid value"),
        (pod_with("image: x", "  restartPolicy: Often\n"), 'Unsupported value: "Often": supported'),
        (pod_with("image: x", "  volumes: [{name: v}]\n"), "must specify exactly one of hostPath"),
        (pod_with("image: x", "  volumes: [{name: v, nfs: {}}]\n"), "volumes[0].nfs: the sandbox"),
        (pod_with("image: x", "  - {name: c}\n"), 'spec.containers[1].name: Duplicate value: "c"'),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {}", "spec.containers: Required"),
    ],
)
def test_a_wrong_document_is_refused(text: str, expected: str) -> None:
    assert expected in problems(text)


def test_all_mistakes_are_told_at_once() -> None:
    found = problems(pod_with("image: 1, args: 2, env: 3", "  restartPolicy: no\n"))
    assert len(found.splitlines()) == 4


@given(st.text())
def test_no_text_makes_it_fall_over(text: str) -> None:
    with contextlib.suppress(PodError):
        parse_pods(text)


@given(st.fractions(min_value=-1000, max_value=1000, max_denominator=1))
def test_whole_quantities_survive_any_suffix(value: Fraction) -> None:
    assert parse_quantity(f"{value * 1000}m") == value
    assert parse_quantity(f"{value}Ki") == value * 1024
    assert parse_quantity(f"{value}e3") == value * 1000


@pytest.mark.parametrize("text", ["", "1 ", "--1", "1mi", "0x1", "1e", "Ki"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(QuantityError):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("name", "extended"),
    [
        ("ringbolt.dev/serial", True),
        ("cpu", False),
        ("requests.a.b/c", False),
        ("my-kubernetes.io/x", False),
        ("A.b/c", False),
        ("a.b/" + "c" * 63, True),
        ("a.b/" + "c" * 64, False),
        ("a" * 244 + "/c", True),
        ("a" * 245 + "/c", False),
    ],
)
def test_extended_resource_names(name: str, *, extended: bool) -> None:
    assert is_extended(name) is extended


def test_expansion_follows_the_kubelet() -> None:
    assert expand("$(A)-$(B)-$$(A)-$A-$(", {"A": "1"}) == "1-$(B)-$(A)-$A-$("


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pod.yaml"
    path.write_bytes(b"kind: \xff\n")
    with pytest.raises(PodError, match=r"pod\.yaml: line 1: YAML: this is no text"):
        load_pods(path)
