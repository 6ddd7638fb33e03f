"""Pods from YAML, checked as strictly as the API server checks them, all mistakes at once.

A field the sandbox would have to honour but does not is an error; a field that can have no effect
here (scheduling, probes of the cluster's own, service accounts) is read over.
"""

import ipaddress
import re
import uuid
from collections.abc import Collection, Iterable
from pathlib import Path

import yaml

from ringbolt.sandbox.fields import Field, Problem, documents
from ringbolt.sandbox.pod import (
    ContainerPort,
    ContainerSpec,
    Pod,
    PodUid,
    RestartPolicy,
    Security,
    VolumeMount,
)
from ringbolt.sandbox.requirements import read_requirements
from ringbolt.sandbox.volume_file import Objects, is_object, read_objects, read_volume

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_POLICIES = tuple(policy.value for policy in RestartPolicy)
_POD_FIELDS = {
    *("containers", "initContainers", "restartPolicy", "volumes", "hostNetwork"),
    *("securityContext", "terminationGracePeriodSeconds"),
}
_POD_IGNORED = {
    *("nodeSelector", "nodeName", "tolerations", "affinity", "topologySpreadConstraints"),
    *("serviceAccountName", "automountServiceAccountToken", "enableServiceLinks", "dnsPolicy"),
    *("priorityClassName", "schedulerName", "runtimeClassName", "imagePullSecrets"),
}
_CONTAINER_FIELDS = {
    *("name", "image", "command", "args", "env", "resources", "volumeMounts", "workingDir"),
    *("securityContext", "restartPolicy", "ports"),
}
_CONTAINER_IGNORED = {"imagePullPolicy", "terminationMessagePolicy", "stdin", "tty"}
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_LAST_PORT = 65535
_POD_FIELD_PATHS = (
    *("metadata.name", "metadata.namespace", "metadata.uid"),
    *("status.podIP", "status.podIPs", "status.hostIP", "status.hostIPs"),
)


class PodError(ValueError):
    """A pod that the API server would refuse, or that the sandbox cannot run; all its problems."""

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(f"{source}: {problem}" for problem in self.problems))


def load_pods(path: Path) -> tuple[Pod, ...]:
    """The pods of a YAML file. Raises PodError, and OSError where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PodError(str(path), [Problem(1, "YAML", f"this is no text: {error}")]) from error
    return parse_pods(text, str(path))


def parse_pods(text: str, source: str = "<pod>") -> tuple[Pod, ...]:
    """The pods of a YAML text of one or more documents. Raises PodError."""
    try:
        found = [document for document in documents(text) if document]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PodError(source, [Problem(line, "YAML", str(error.problem or error))]) from error
    except yaml.YAMLError as error:
        raise PodError(source, [Problem(1, "YAML", " ".join(str(error).split()))]) from error
    objects = read_objects(found)
    pods = tuple(_pod(document, objects) for document in found if not is_object(document))
    problems = [problem for document in found for problem in document.problems]
    if not pods:
        problems = [Problem(1, "YAML", "there is no pod in this file")]
    if problems:
        raise PodError(source, problems)
    return pods


def _pod(top: Field, objects: Objects) -> Pod:
    top.only({"apiVersion", "kind", "metadata", "spec"}, {"status"})
    _expect(top.at("apiVersion"), "v1")
    _expect(top.at("kind"), "Pod")
    metadata, spec = top.at("metadata"), top.at("spec")
    name = _name(metadata.at("name"), _SUBDOMAIN, 253)
    namespace = metadata.at("namespace").text("default")
    spec.only(_POD_FIELDS, _POD_IGNORED)
    volumes = tuple(
        read_volume(item, _name(item.at("name"), _LABEL, 63), namespace, objects)
        for item in spec.at("volumes").items()
    )
    security = _security(spec.at("securityContext"), Security(), of_pod=True)
    known = {volume.name for volume in volumes}
    read = [
        tuple(_container(item, known, security) for item in spec.at(key).items())
        for key in ("initContainers", "containers")
    ]
    if not read[1]:
        spec.at("containers").wrong("Required value")
    _unique(spec, ("initContainers", "containers"))
    _unique(spec, ("volumes",))
    host_network = spec.at("hostNetwork").flag()
    if not top.problems:
        _check_host_ports(spec, read[1], host_network=host_network)
    fallback = uuid.uuid5(uuid.NAMESPACE_URL, f"pod:{namespace}/{name}")
    grace = spec.at("terminationGracePeriodSeconds").integer()
    return Pod(
        name=name,
        namespace=namespace,
        uid=PodUid(metadata.at("uid").text(str(fallback))),
        containers=read[1],
        init_containers=read[0],
        labels=metadata.at("labels").mapping_of_texts(),
        annotations=metadata.at("annotations").mapping_of_texts(),
        restart_policy=RestartPolicy(spec.at("restartPolicy").choice(_POLICIES, "Always")),
        volumes=volumes,
        host_network=host_network,
        grace_s=30 if grace is None else grace,
        fs_group=spec.at("securityContext").at("fsGroup").integer(),
        service_account=spec.at("serviceAccountName").text("default"),
    )


def _container(item: Field, volumes: Collection[str], pod: Security) -> ContainerSpec:
    item.only(_CONTAINER_FIELDS, _CONTAINER_IGNORED)
    policy = item.at("restartPolicy")
    if policy and ".containers[" in f".{item.path.removeprefix('spec')}":
        policy.wrong("Forbidden: may not be set for non-init containers")
    variables = [_variable(entry) for entry in item.at("env").items()]
    return ContainerSpec(
        name=_name(item.at("name"), _LABEL, 63),
        image=item.at("image").text(),
        command=item.at("command").texts(),
        args=item.at("args").texts(),
        env={name: value for name, value, path in variables if not path},
        env_fields={name: path for name, _, path in variables if path},
        limits=read_requirements(item.at("resources")),
        volume_mounts=tuple(_mount(entry, volumes) for entry in item.at("volumeMounts").items()),
        ports=tuple(_port(entry) for entry in item.at("ports").items()),
        working_dir=item.at("workingDir").text("/"),
        security=_security(item.at("securityContext"), pod),
        restart_policy=RestartPolicy(policy.choice(["Always"], "Always")) if policy else None,
    )


def _variable(entry: Field) -> tuple[str, str, str]:
    """Name, value, and in its place the path of a field of the pod."""
    entry.only({"name", "value", "valueFrom"})
    name, source = entry.at("name"), entry.at("valueFrom")
    if not name.text():
        name.wrong("Required value")
    source.only({"fieldRef"})
    reference = source.at("fieldRef")
    reference.only({"fieldPath"}, {"apiVersion"})
    if source and not reference:
        source.wrong("Required value: the sandbox understands fieldRef")
    path = reference.at("fieldPath").choice(_POD_FIELD_PATHS, "") if reference else ""
    return name.text(), entry.at("value").text(), path


def _port(entry: Field) -> ContainerPort:
    entry.only({"containerPort", "hostPort", "protocol", "hostIP"}, {"name"})
    own, host = entry.at("containerPort"), entry.at("hostPort")
    if not own:
        own.wrong("Required value")
    address = entry.at("hostIP")
    try:
        ipaddress.ip_address(address.text() or "0.0.0.0")  # noqa: S104 - none is every one
    except ValueError:
        address.wrong(f'Invalid value: "{address.text()}": must be a valid IP address')
    return ContainerPort(
        _port_number(own),
        _port_number(host),
        entry.at("protocol").choice(_PROTOCOLS, "TCP"),
        address.text(),
    )


def _check_host_ports(
    spec: Field, containers: Iterable[ContainerSpec], *, host_network: bool
) -> None:
    """What the API server asks of a pod's host ports; what stands there was read without fault."""
    taken: set[tuple[str, str, int]] = set()
    for item, container in zip(spec.at("containers").items(), containers, strict=True):
        for entry, port in zip(item.at("ports").items(), container.ports, strict=True):
            place = (port.protocol, port.host_ip, port.host_port)
            if port.host_port and place in taken:
                entry.at("hostPort").wrong(f"Duplicate value: {port.host_port}")
            taken.add(place)
            if host_network and port.host_port not in {0, port.container_port}:
                entry.at("hostPort").wrong(
                    f"Invalid value: {port.host_port}: must match `containerPort` when "
                    "`hostNetwork` is true"
                )


def _port_number(field: Field) -> int:
    number = field.integer()
    if number is not None and not 1 <= number <= _LAST_PORT:
        field.wrong(f"Invalid value: {number}: must be between 1 and {_LAST_PORT}, inclusive")
    return number or 0


def _mount(entry: Field, volumes: Collection[str]) -> VolumeMount:
    entry.only({"name", "mountPath", "readOnly", "subPath"})
    name, path = entry.at("name"), entry.at("mountPath")
    if name.text() not in volumes:
        name.wrong(f'Not found: "{name.text()}"')
    if not path.text():
        path.wrong("Required value")
    return VolumeMount(
        name.text(), path.text(), entry.at("readOnly").flag(), entry.at("subPath").text()
    )


def _security(field: Field, outer: Security, *, of_pod: bool = False) -> Security:
    """A container's security over its pod's `outer`; the pod's own has a few other fields."""
    own = {"fsGroup", "supplementalGroups"} if of_pod else {"privileged", "capabilities"}
    own |= set() if of_pod else {"allowPrivilegeEscalation"}
    ignored = {"readOnlyRootFilesystem", "runAsNonRoot", "seccompProfile", "appArmorProfile"}
    field.only({"runAsUser", "runAsGroup", *own}, ignored)
    user, group = field.at("runAsUser").integer(), field.at("runAsGroup").integer()
    extra = [item.integer() for item in field.at("supplementalGroups").items()]
    extra.append(field.at("fsGroup").integer())
    capabilities = field.at("capabilities")
    capabilities.only({"add", "drop"})
    groups = tuple(gid for gid in extra if gid is not None)
    return Security(
        user=outer.user if user is None else user,
        group=outer.group if group is None else group,
        supplemental_groups=outer.supplemental_groups + groups,
        privileged=field.at("privileged").flag(),
        add_capabilities=capabilities.at("add").texts(),
        drop_capabilities=capabilities.at("drop").texts(),
        escalation=field.at("allowPrivilegeEscalation").flag(default=True),
    )


def _expect(field: Field, wanted: str) -> None:
    if field.text() != wanted:
        field.wrong(f'must be "{wanted}", found "{field.text()}"; the sandbox runs pods only')


def _name(field: Field, syntax: re.Pattern[str], limit: int) -> str:
    name = field.text()
    if not name:
        field.wrong("Required value")
    elif len(name) > limit or not syntax.fullmatch(name):
        field.wrong(
            f'Invalid value: "{name}": a lowercase RFC 1123 name of at most {limit} characters: '
            "lower case letters, digits and '-', with a letter or digit at both ends"
        )
    return name


def _unique(spec: Field, keys: Iterable[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        for item in spec.at(key).items():
            name = item.at("name")
            if name and name.text() in seen:
                name.wrong(f'Duplicate value: "{name.text()}"')
            seen.add(name.text())
