"""Which mount namespaces keep pods' volumes from kubelet and runtime, by their mountinfo alone."""

import pytest

from daemon.metrics import Metrics
from daemon.volume_propagation import judge
from ringbolt.linux.mount import parse_mountinfo

KUBELET = "/var/lib/kubelet"
CONTAINER = "1 0 0:5 / / rw - overlay overlay rw\n"
HOST = "1 0 8:1 / / rw master:1 - ext4 /dev/sda1 rw\n"


def mounted(target: str, tags: str = "") -> str:
    return f"2 1 8:1 /var/lib/kubelet {target} rw{tags} - ext4 /dev/sda1 rw\n"


@pytest.mark.parametrize(
    ("mountinfo", "words"),
    [
        (CONTAINER, "is not mounted into the agent's container"),
        (CONTAINER + mounted("/var/lib/kubelet/pods", " shared:7"), "is not mounted into"),
        (CONTAINER + mounted(KUBELET), "seen by the agent alone; in a DaemonSet"),
        (CONTAINER + mounted(KUBELET, " master:7"), "seen by the agent alone"),
        (CONTAINER + mounted(KUBELET, " shared:9 master:7"), ""),
        (CONTAINER + mounted("/var/lib", " shared:9"), ""),
        (CONTAINER + mounted("/var/lib/kube", " shared:9"), "is not mounted into"),
        (HOST, "seen by the agent alone"),
        (HOST.replace("master", "shared"), ""),
        ("", "is not mounted into"),
    ],
)
def test_only_a_shared_mount_shows_pods_their_volumes(mountinfo: str, words: str) -> None:
    lack = judge(parse_mountinfo(mountinfo), KUBELET)
    assert words in lack
    assert bool(lack) == bool(words)


def test_the_number_of_volumes_is_exposed_and_forgotten() -> None:
    metrics = Metrics()
    metrics.volumes({("loop", "mounted"): 2, ("loop", "unused"): 1})
    assert b'ringbolt_volumes{kind="loop",state="mounted"} 2.0' in metrics.exposition()
    metrics.volumes({})
    assert b"ringbolt_volumes{" not in metrics.exposition()
