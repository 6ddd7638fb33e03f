"""How one embedded kubelet is set up: its machine's NUMA nodes, its policy, its time limits."""

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass


class TopologyPolicy(enum.Enum):
    """`topologyManagerPolicy` of the kubelet's configuration; the scope is always `container`."""

    NONE = "none"
    BEST_EFFORT = "best-effort"
    RESTRICTED = "restricted"
    SINGLE_NUMA_NODE = "single-numa-node"


@dataclass(frozen=True, slots=True)
class Timings:
    """The kubelet's own time limits, in seconds (tests shorten those they wait for)."""

    dial_s: float = 10.0
    get_info_s: float = 1.0
    notify_s: float = 5.0
    prestart_s: float = 30.0
    grace_s: float = 300.0
    """From the end of a stream until its resource is dropped."""
    reconcile_s: float = 1.0
    """The plugin watcher's beat: found sockets are dialled at the next one."""
    first_back_off_s: float = 0.5
    longest_back_off_s: float = 122.0
    wiped_to_listening_s: float = 0.007
    """Between emptying device-plugins/ and making kubelet.sock anew; measured 5 to 10 ms."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`seed` orders what the kubelet's maps leave unordered; `clock` measures grace periods."""

    numa_nodes: tuple[int, ...] = (0,)
    policy: TopologyPolicy = TopologyPolicy.NONE
    timings: Timings = Timings()
    seed: int = 0
    clock: Callable[[], float] = time.monotonic
