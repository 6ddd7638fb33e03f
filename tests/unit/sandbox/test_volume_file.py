"""Pods' volumes from YAML, with what they name in the cluster."""

import base64

import pytest

from ringbolt.sandbox.pod import FlexVolume, Pod
from ringbolt.sandbox.pod_file import PodError, parse_pods

POD = """\
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec:
  serviceAccountName: robot
  securityContext: {fsGroup: 2000}
  containers: [{name: main, command: [sh]}]
  volumes:
"""
FLEX = """\
    - name: data
      flexVolume:
        driver: ringbolt.dev/volume
        fsType: ext4
        readOnly: true
        options: {kind: loop, name: data}
        secretRef: {name: key}
"""
CLAIM = "    - {name: data, persistentVolumeClaim: {claimName: letters}}\n"
SECRET = """\
---
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: shop}
type: ringbolt.dev/volume
data: {password: c3dvcmRmaXNo}
stringData: {user: me}
"""
VOLUME = """\
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv-1}
spec:
  flexVolume: {driver: ringbolt.dev/volume, options: {kind: loop, name: letters}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: letters, namespace: shop}
spec: {volumeName: pv-1}
"""


def read(volumes: str, *objects: str) -> Pod:
    (pod,) = parse_pods(POD + volumes + "".join(objects))
    return pod


def test_an_inline_volume_has_its_options_and_its_secret() -> None:
    pod = read(FLEX, SECRET)
    assert (pod.fs_group, pod.service_account) == (2000, "robot")
    assert pod.volumes[0].flex == FlexVolume(
        driver="ringbolt.dev/volume",
        name="data",
        fs_type="ext4",
        options={"kind": "loop", "name": "data"},
        readonly=True,
        secret={"password": b"swordfish", "user": b"me"},
    )
    assert "swordfish" not in repr(pod)


def test_a_claim_leads_to_the_volume_that_it_is_bound_to() -> None:
    (volume,) = read(CLAIM, VOLUME).volumes
    assert volume.flex is not None
    assert (volume.name, volume.flex.name) == ("data", "pv-1"), "a kubelet names it by its PV"
    assert volume.flex.options == {"kind": "loop", "name": "letters"}


@pytest.mark.parametrize(
    ("volumes", "objects", "words"),
    [
        (FLEX, "", 'secrets "key" not found'),
        (FLEX, SECRET.replace("namespace: shop", "namespace: other"), 'secrets "key" not found'),
        (FLEX, SECRET.replace("type: r", "type: x"), "cannot get secret of type ringbolt.dev"),
        (FLEX, SECRET.replace("c3dvcmRmaXNo", "c3d_"), "illegal base64 data"),
        (CLAIM, "", 'persistentvolumeclaim "letters" not found'),
        (CLAIM, VOLUME.replace("volumeName: pv-1", "volumeName: pv-2"), '"pv-2" not found'),
        (CLAIM, VOLUME.replace("flexVolume", "hostPath"), "the sandbox mounts flexVolumes only"),
        ("    - {name: a, flexVolume: {options: {}}}\n", "", "driver: Required value"),
        ("    - {name: a, flexVolume: {driver: a/b, opts: {}}}\n", "", "does not support this"),
        ("    - {name: a, flexVolume: {driver: a/b, options: {size: 1}}}\n", "", "in quotes"),
        (
            "    - {name: a, flexVolume: {driver: a/b, options: {kubernetes.io/fsType: x}}}\n",
            "",
            "kubernetes.io/fsType is in a reserved namespace",
        ),
        ("    - {name: a, emptyDir: {}, flexVolume: {driver: a/b}}\n", "", "exactly one of"),
        ("    - {name: a}\n", "", "exactly one of"),
    ],
)
def test_what_the_api_server_or_a_kubelet_would_refuse_is_refused(
    volumes: str, objects: str, words: str
) -> None:
    with pytest.raises(PodError) as refused:
        read(volumes, objects)
    assert words in str(refused.value)
    assert base64.b64decode("c3dvcmRmaXNo").decode() not in str(refused.value)
