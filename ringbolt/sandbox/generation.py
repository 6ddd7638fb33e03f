"""What kubelet 1.20 and kubelet 1.36 do differently, as one frozen table.

Everything else in this package asks this table and never the version. Sources: kubelet 1.20.2 and
1.36.2, pkg/kubelet/cm/devicemanager, pkg/kubelet/pluginmanager, pkg/kubelet/apis/podresources.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


class Authority(enum.Enum):
    """The `:authority` a plugin sees when the kubelet dials it."""

    LOCALHOST = "localhost"
    RAW_PATH = "raw path"
    """The socket's path as it is: grpc-go before 1.34 did not encode it."""
    ENCODED_PATH = "encoded path"


@dataclass(frozen=True, slots=True)
class Generation:
    """One kubelet generation's behaviours."""

    name: str

    synchronous_register: bool
    """Register answers only after the kubelet has dialled back and asked for the options."""
    options_from_request: bool
    """`RegisterRequest.options` counts; otherwise GetDevicePluginOptions alone does."""
    clients_by_name: bool
    """Clients are kept by resource name alone, so that the late end of an old stream disconnects
    the client that has replaced it (kubernetes#121994)."""
    plugin_authority: Authority
    watcher_authority: Authority
    retries_refused_plugins: bool
    """A plugin below plugins_registry whose registration failed is tried again, with back-off."""

    wipes_files: bool
    """A starting kubelet removes ordinary files beside the plugins' sockets too."""

    checks_health_of_held: bool
    """Admission asks whether devices are healthy even for a container that already holds them."""
    unregistered_text: str
    """The admission error for a resource that nobody has registered; `{}` is its name."""
    crashes_on_vanished: bool
    """An id that leaves the list while its Allocate runs is a nil dereference."""
    rejection_prefix: str
    """What stands before the message of a rejected pod in its status."""

    numa_of_unaligned: int
    """Under which NUMA node a device without topology is written down."""
    entry_per_device: bool
    """PodResources: one ContainerDevices for each device, not one for each NUMA node."""
    active_pods_only: bool
    """PodResources List leaves out pods that have ended."""
    lists_sidecars: bool
    """PodResources List has init containers whose restart policy is Always."""
    pod_resources_methods: frozenset[str]
    pod_resources_rate: tuple[float, int] | None
    """Calls a second and burst; None for no limit."""

    resource_health: bool
    """Pod status has `allocatedResourcesStatus`."""
    cdi_devices: bool
    """CDI names of an answer reach the runtime."""


V1_20 = Generation(
    name="1.20",
    synchronous_register=False,
    options_from_request=True,
    clients_by_name=False,
    plugin_authority=Authority.RAW_PATH,
    watcher_authority=Authority.RAW_PATH,
    retries_refused_plugins=False,
    wipes_files=True,
    checks_health_of_held=False,
    unregistered_text="can't allocate unregistered device {}",
    crashes_on_vanished=False,
    rejection_prefix="Pod ",
    numa_of_unaligned=0,
    entry_per_device=False,
    active_pods_only=False,
    lists_sidecars=False,
    pod_resources_methods=frozenset({"List"}),
    pod_resources_rate=None,
    resource_health=False,
    cdi_devices=False,
)

V1_36 = Generation(
    name="1.36",
    synchronous_register=True,
    options_from_request=False,
    clients_by_name=True,
    plugin_authority=Authority.LOCALHOST,
    watcher_authority=Authority.ENCODED_PATH,
    retries_refused_plugins=True,
    wipes_files=False,
    checks_health_of_held=True,
    unregistered_text="cannot allocate unregistered device {}",
    crashes_on_vanished=True,
    rejection_prefix="Pod was rejected: ",
    numa_of_unaligned=-1,
    entry_per_device=True,
    active_pods_only=True,
    lists_sidecars=True,
    pod_resources_methods=frozenset({"List", "Get", "GetAllocatableResources"}),
    pod_resources_rate=(100.0, 10),
    resource_health=True,
    cdi_devices=True,
)

GENERATIONS: Mapping[str, Generation] = MappingProxyType({g.name: g for g in (V1_20, V1_36)})
