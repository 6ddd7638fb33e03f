"""A pod's volumes from YAML, with the objects of the cluster that they name: Secret, PV and claim.

What the API server and the volume controllers do before a kubelet sees a pod: names are resolved,
claims are bound (by `volumeName` alone), Secrets are those of the pod's own namespace.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ringbolt.sandbox.fields import Field
from ringbolt.sandbox.pod import FlexVolume, Volume

_HOST_PATH_KINDS = (
    *("", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"),
    *("CharDevice", "BlockDevice"),
)
_SOURCES = ("hostPath", "emptyDir", "flexVolume", "persistentVolumeClaim")
_KINDS = ("Secret", "PersistentVolume", "PersistentVolumeClaim")
_KUBERNETES = ("kubernetes.io", "k8s.io")


@dataclass(frozen=True, slots=True)
class _Secret:
    kind: str
    data: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Objects:
    """What pods may name, by namespace and name; volumes by their name alone."""

    secrets: Mapping[tuple[str, str], _Secret]
    volumes: Mapping[str, Field]
    claims: Mapping[tuple[str, str], Field]


def is_object(document: Field) -> bool:
    """Whether a document is one of what pods name, and no pod."""
    return document.at("kind").text() in _KINDS


def read_objects(found: Iterable[Field]) -> Objects:
    """The objects among the documents of a file; what is wrong is noted in them."""
    secrets: dict[tuple[str, str], _Secret] = {}
    volumes: dict[str, Field] = {}
    claims: dict[tuple[str, str], Field] = {}
    for document in found:
        metadata = document.at("metadata")
        name, namespace = metadata.at("name").text(), metadata.at("namespace").text("default")
        match document.at("kind").text():
            case "Secret":
                secrets[namespace, name] = _secret(document)
            case "PersistentVolume":
                volumes[name] = document
            case "PersistentVolumeClaim":
                claims[namespace, name] = document
            case _:
                pass
    return Objects(secrets, volumes, claims)


def read_volume(item: Field, name: str, namespace: str, objects: Objects) -> Volume:
    """One of `spec.volumes`."""
    item.only({"name", *_SOURCES})
    present = [key for key, _ in item.members() if key in _SOURCES]
    if len(present) != 1:
        item.wrong(f"Required value: must specify exactly one of {', '.join(_SOURCES)}")
    host, empty = item.at("hostPath"), item.at("emptyDir")
    host.only({"path", "type"})
    empty.only({"medium", "sizeLimit"})
    if host and not host.at("path").text():
        host.at("path").wrong("Required value")
    return Volume(
        name=name,
        host_path=host.at("path").text() if host else None,
        kind=host.at("type").choice(_HOST_PATH_KINDS, ""),
        memory=empty.at("medium").choice(["", "Memory"], "") == "Memory",
        flex=_flex(item, name, namespace, objects),
    )


def _flex(item: Field, name: str, namespace: str, objects: Objects) -> FlexVolume | None:
    if inline := item.at("flexVolume"):
        return _flex_source(inline, name, namespace, objects)
    if claim := item.at("persistentVolumeClaim"):
        return _claimed(claim, namespace, objects)
    return None


def _flex_source(source: Field, name: str, namespace: str, objects: Objects) -> FlexVolume:
    source.only({"driver", "fsType", "options", "readOnly", "secretRef"})
    driver, options = source.at("driver"), source.at("options").mapping_of_texts()
    if not driver.text():
        driver.wrong("Required value")
    for key in options:
        prefix = key.partition("/")[0]
        if "/" in key and any(prefix == one or prefix.endswith(f".{one}") for one in _KUBERNETES):
            source.at("options").wrong(f"{key} is in a reserved namespace")
    reference = source.at("secretRef")
    reference.only({"name", "namespace"})
    where = reference.at("namespace").text(namespace)
    secret = _found(objects, reference, where, driver.text())
    return FlexVolume(
        driver=driver.text(),
        name=name,
        fs_type=source.at("fsType").text(),
        options=options,
        readonly=source.at("readOnly").flag(),
        secret=secret,
    )


def _found(objects: Objects, reference: Field, namespace: str, driver: str) -> Mapping[str, bytes]:
    if not reference:
        return {}
    name = reference.at("name").text()
    secret = objects.secrets.get((namespace, name))
    if secret is None:
        reference.wrong(f'secrets "{name}" not found')
        return {}
    if secret.kind != driver:  # kubelet: volume/util GetSecretForPV
        reference.wrong(f"cannot get secret of type {driver}: give the Secret `type: {driver}`")
    return secret.data


def _claimed(reference: Field, namespace: str, objects: Objects) -> FlexVolume | None:
    reference.only({"claimName", "readOnly"})
    name = reference.at("claimName").text()
    claim = objects.claims.get((namespace, name))
    if claim is None:
        reference.wrong(f'persistentvolumeclaim "{name}" not found')
        return None
    wanted = claim.at("spec").at("volumeName")
    volume = objects.volumes.get(wanted.text())
    if volume is None:
        wanted.wrong(f'persistentvolume "{wanted.text()}" not found: the sandbox binds by name')
        return None
    source = volume.at("spec").at("flexVolume")
    if not source:
        source.wrong("Required value: the sandbox mounts flexVolumes only")
        return None
    return _flex_source(source, wanted.text(), namespace, objects)


def _secret(document: Field) -> _Secret:
    data: dict[str, bytes] = {}
    for key, member in document.at("data").members():
        try:
            data[key] = base64.b64decode(member.text(), validate=True)
        except (binascii.Error, ValueError):
            member.wrong("illegal base64 data")
    for key, member in document.at("stringData").members():
        data[key] = member.text().encode()
    return _Secret(document.at("type").text("Opaque"), data)
